#include "cli/flags.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iostream>
#include <sstream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "cli/cli.hpp"
#include "cli/locate.hpp"
#include "cli/terminal.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

constexpr const char* kModelGroup = "Model and device";
constexpr const char* kTemplateGroup = "Chat template";
constexpr const char* kSamplingGroup = "Sampling";
constexpr const char* kOutputGroup = "Output";

/// A template given on the command line: the text itself, or a file. Without a brace it is no
/// template but a mistyped name, which would say the same whatever the prompt.
std::string template_source(const ModelFlags& flags) {
  if (flags.default_template) return chatml_template();
  if (!flags.chat_template_file.empty())
    return read_given_file(flags.chat_template_file, "--chat-template-file");
  const std::string& given = flags.chat_template;
  std::error_code ignored;
  if (given.empty()) return "";
  if (std::filesystem::exists(given, ignored)) return read_given_file(given, "--chat-template");
  if (given.find('{') == std::string::npos)
    usage_error("--chat-template " + given +
                ": no such file, and no template: there is no {{ or {% in it");
  return given;
}

/// JSON that only the first prompt would find wrong, after the model is loaded.
void check_template_config(const std::string& text) {
  if (text.empty()) return;
  bool object = false;
  std::string why = "no JSON object";
  try {
    object = parse_ordered_json(text, "JSON").is_object();
  } catch (const Error& error) {
    why = error.what();
  }
  if (!object)
    usage_error(fmt::format("--chat-template-config {}: {}; e.g. {{\"enable_thinking\": false}}",
                            text, why));
}

void check_context(const ModelFlags& flags, const ModelInfo& info) {
  if (flags.ctx_size > info.context)
    usage_error(fmt::format("--ctx-size {}: {} was trained with {}; that or less", flags.ctx_size,
                            info.name, info.context));
}

void in_vocabulary(const char* flag, std::int64_t value, std::int64_t most) {
  if (value < 0 || value > most)
    usage_error(
        fmt::format("{} {}: not from 0 to {}, which the vocabulary has", flag, value, most));
}

}  // namespace

void check_device(const ModelFlags& flags) {
  if (flags.tensor_parallel != 1)
    usage_error(fmt::format("--tensor-parallel {}: one device runs a model until more is built; 1",
                            flags.tensor_parallel));
  try {
    stepless::check_device(flags.device);
  } catch (const Error& error) {
    usage_error(std::string("--") + error.what());
  }
}

void usage_error(const std::string& message) {
  throw ExitError(Exit::usage, ErrorCode::invalid_argument, message);
}

void add_output_flags(CLI::App& app, OutputFlags& flags, const char* quiet) {
  CLI::Option* json = app.add_flag("--json", flags.json, "one JSON object instead of text");
  json->group(kOutputGroup);
  app.add_flag("--jsonl", flags.jsonl, "an object per event, then the result")
      ->excludes(json)
      ->group(kOutputGroup);
  app.add_flag(quiet, flags.quiet, "only the result")->group(kOutputGroup);
  CLI::Option* none = app.add_flag("--no-progress", flags.no_progress, "no progress bars");
  none->group(kOutputGroup);
  app.add_flag("--progress", flags.progress, "a line per 10 % when stderr is no terminal")
      ->excludes(none)
      ->group(kOutputGroup);
  app.add_option("--color", flags.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str()
      ->group(kOutputGroup);
  add_log_flags(app, flags.log);
}

std::optional<int> json_indent(const OutputFlags& flags) {
  if (flags.jsonl) return -1;
  return flags.json ? std::optional(2) : std::nullopt;
}

void add_device_flags(CLI::App& app, ModelFlags& f, const char* model_names) {
  CLI::Option* model = app.add_option(
      model_names, f.model, "folder, name or Hugging Face id; demo: the model that comes along");
  model->type_name("MODEL")->group(kModelGroup);
  app.add_option("--synthetic", f.synthetic,
                 "random weights instead: qwen3-0.6b, llama-3.2-3b, qwen3-4b, qwen3-30b-a3b; bytes "
                 "of the prompt "
                 "are its tokens")
      ->excludes(model)
      ->group(kModelGroup);
  app.add_option("--models-dir", f.models_dir, "one more folder to look for models in")
      ->type_name("DIR")
      ->group(kModelGroup);
  app.add_option("--device", f.device,
                 "cpu, cuda:0 (or another GPU) or auto; -ngl 0 is cpu, -ngl 99 cuda")
      ->capture_default_str()
      ->group(kModelGroup);
  app.add_option("-t,--threads", f.threads, "threads; 0: the physical cores allowed")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group(kModelGroup);
  app.add_option("--act-dtype", f.act_dtype, "activations: auto, float32, float16, bfloat16")
      ->check(CLI::IsMember({"auto", "float32", "float16", "bfloat16"}))
      ->capture_default_str()
      ->group(kModelGroup);
  app.add_option("--tensor-parallel", f.tensor_parallel,
                 "devices that share a model; 1 until more is built")
      ->capture_default_str()
      ->group(kModelGroup);
  app.add_option("--max-isa", f.max_isa, kMaxIsaHelp)->group(kModelGroup);
  app.add_option("--kernel", f.kernel, "run this kernel where it can run; see docs/kernels.md")
      ->group(kModelGroup);
  app.add_flag("--fast-int8", f.fast_int8,
               "round activations to 8 bits: faster, less exact; prints its error")
      ->group(kModelGroup);
  app.add_flag("--trust-remote-code", f.trust_remote_code,
               "no-op: a checkpoint's code is never run")
      ->group(kModelGroup);
  refuse(app, "--adapter-path", "adapters are not applied; fuse it into the model first");
  refuse(app, "--image", "there are only text models");
  refuse(app, "--pipeline", "pipelines are not supported; a model runs on one device");
  refuse(app, "--qa", "activations are not quantized; Stepless is exact");
  refuse(app, "--hf", "nothing is downloaded; give --model");
  refuse(app, "--fa", "attention is always the fused one");
  refuse(app, "--upload-repo", "nothing is uploaded; use the hf command");
}

void add_memory_flags(CLI::App& app, ModelFlags& f) {
  app.add_option("-c,--ctx-size,--max-model-len", f.ctx_size, "longest sequence; 0: the model's")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(kMemoryGroup);
  app.add_option("--kv-cache-bytes", f.kv_cache_bytes,
                 "memory for KV pages, e.g. 512M; default: what the prompts need")
      ->group(kMemoryGroup);
  app.add_option("--prefill-step-size", f.prefill_step_size,
                 "prompt tokens computed together; default: 2048 on a GPU, 512 on a CPU")
      ->check(CLI::Range(1, 1 << 20))
      ->group(kMemoryGroup);
  add_kv_flags(app, f.kv);
  refuse(app, "--kv-host-bytes", "the host tier is not there yet");
}

namespace {

void add_template_flags(CLI::App& app, ModelFlags& f) {
  CLI::Option* text =
      app.add_option("--chat-template", f.chat_template,
                     "template text, or the file of that name; default: the model's");
  CLI::Option* file =
      app.add_option("--chat-template-file", f.chat_template_file, "the template's file");
  file->type_name("FILE")->excludes(text);
  CLI::Option* variables =
      app.add_option("--chat-template-config,--chat-template-args,--chat-template-kwargs",
                     f.chat_template_config, "JSON object of further template variables");
  CLI::Option* chatml = app.add_flag("--use-default-chat-template", f.default_template, "ChatML");
  chatml->excludes(text)->excludes(file);
  CLI::Option* raw =
      app.add_flag("--ignore-chat-template", f.ignore_template, "the prompt as it is");
  raw->excludes(text)->excludes(file)->excludes(variables)->excludes(chatml);
  for (CLI::Option* option : {text, file, variables, chatml, raw}) option->group(kTemplateGroup);
}

/// A bar for each upload: an engine more, and the weights travel once more.
std::function<void(std::int64_t, std::int64_t)> upload_bar(const OutputFlags& output) {
  return
      [output, bar = std::shared_ptr<Progress>()](std::int64_t done, std::int64_t total) mutable {
        constexpr std::int64_t kMegabyte = 1000000;
        if (bar == nullptr) bar = std::make_shared<Progress>("weights to the GPU", "MB", output);
        bar->update(done / kMegabyte, total / kMegabyte);
        if (done == total) bar.reset();
      };
}

}  // namespace

void add_model_flags(CLI::App& app, ModelFlags& f) {
  add_device_flags(app, f);
  add_memory_flags(app, f);
  add_template_flags(app, f);
}

Model open_model(const ModelFlags& flags, const OutputFlags& output, const std::string& machine) {
  check_device(flags);
  check_template_config(flags.chat_template_config);
  if (flags.trust_remote_code) note("--trust-remote-code: a checkpoint's code is never run");
  ModelOptions options;
  options.device = flags.device;
  options.act_dtype = flags.act_dtype;
  options.threads = flags.threads;
  options.machine = machine;
  options.max_isa = flags.max_isa;
  options.kernel = flags.kernel;
  options.fast_int8 = flags.fast_int8;
  options.chat_template = template_source(flags);
  options.step_rows = flags.prefill_step_size;
  options.kv = kv_options_of(flags.kv);
  options.uploading = upload_bar(output);
  const auto start = std::chrono::steady_clock::now();
  const auto opened = [&](Model model) {
    check_context(flags, model.info());
    if (!model.info().fast_int8.empty()) note(model.info().fast_int8);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    log_line(LogDepth::info,
             fmt::format("model {} {:.3f}s family={} act={}",
                         flags.synthetic.empty() ? flags.model : flags.synthetic, took.count(),
                         model.info().family, model.info().act_dtype));
    return model;
  };
  try {
    if (!flags.synthetic.empty()) return opened(Model::synthetic(flags.synthetic, options));
    if (flags.model.empty()) usage_error("--model: none given; a folder, a name, or demo");
    return opened(Model::open(locate_model(flags.model, flags.models_dir), options));
  } catch (const ExitError&) {
    throw;
  } catch (const Error& error) {
    if (!flags.synthetic.empty() && error.code() == ErrorCode::not_found)
      usage_error(std::string("--synthetic: ") + error.what());
    rethrow_for_model(error);
  }
}

void add_sampling_flags(CLI::App& app, SamplingFlags& f) {
  SamplingParams& p = f.params;
  constexpr double kAny = 1e6;
  constexpr double kAnyCount = INT32_MAX;
  const auto add = [&](const std::string& names, auto& value, double least, double most,
                       const char* text) {
    app.add_option(names, value, text)
        ->check(number_from(names.substr(0, names.find(',')), least, most))
        ->capture_default_str()
        ->group(kSamplingGroup);
  };
  add("--temp,--temperature", p.temperature, 0, kAny, "0: the most likely token");
  add("--top-p", p.top_p, 0, 1, "keep the likeliest tokens up to this probability");
  add("--min-p", p.min_p, 0, 1, "drop tokens below this share of the best one's probability");
  add("--top-k", p.top_k, 0, kAnyCount, "keep this many tokens; 0: all");
  add("--xtc-probability", p.xtc_probability, 0, 1,
      "chance of dropping all but the least of the tokens above the threshold");
  add("--xtc-threshold", p.xtc_threshold, 0, 0.5, "threshold of XTC, up to 0.5");
  add("--min-tokens-to-keep", p.min_tokens_to_keep, 1, kAnyCount, "min-p keeps at least this many");
  add("--repetition-penalty,--repeat-penalty", p.repetition_penalty, 0, kAny,
      "divides logits of recent tokens; 0: off");
  add("--repetition-context-size", p.repetition_context, 0, kAny,
      "how many recent tokens that looks at");
  add("--presence-penalty", p.presence_penalty, -kAny, kAny,
      "subtracted once from logits of recent tokens");
  add("--presence-context-size", p.presence_context, 0, kAny,
      "how many recent tokens that looks at");
  add("--frequency-penalty", p.frequency_penalty, -kAny, kAny,
      "subtracted per occurrence from logits of recent tokens");
  add("--frequency-context-size", p.frequency_context, 0, kAny,
      "how many recent tokens that looks at");
  app.add_option("--logit-bias", f.logit_bias, "ID:B, added to that token's logit; repeatable")
      ->allow_extra_args(false)
      ->group(kSamplingGroup);
  app.add_option("-s,--seed", f.seed,
                 "same seed, build and device: same text; default: random, and printed")
      ->check(whole_from("--seed", 0, UINT64_MAX))
      ->group(kSamplingGroup);
}

SamplingParams sampling_of(const SamplingFlags& flags) {
  SamplingParams params = flags.params;
  for (const std::string& text : flags.logit_bias) {
    int id = 0;
    float bias = 0;
    char colon = 0, more = 0;
    std::istringstream in(text);
    if (!(in >> id >> colon >> bias) || colon != ':' || (in >> more))
      usage_error("--logit-bias " + text + ": not ID:B, e.g. 42:-1.5");
    if (id < 0 || !(std::abs(bias) <= 1e6f))
      usage_error("--logit-bias " + text + ": not ID from 0 on, B from -1000000 to 1000000");
    params.logit_bias.emplace_back(id, bias);
  }
  return params;
}

void check_vocabulary(const SamplingParams& params, std::int64_t vocab) {
  in_vocabulary("--top-k", params.top_k, vocab);
  in_vocabulary("--min-tokens-to-keep", params.min_tokens_to_keep, vocab);
  for (const auto& [id, bias] : params.logit_bias) in_vocabulary("--logit-bias", id, vocab - 1);
}

}  // namespace stepless::cli
