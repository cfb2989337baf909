// stepless perplexity: how well a model predicts a text of the user's, by mlx-lm's protocol; how
// far it is from another one.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "base/json.hpp"
#include "base/memory.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/terminal.hpp"
#include "stepless/evaluate.hpp"

namespace stepless::cli {
namespace {

struct PerplexityFlags {
  ModelFlags model;
  OutputFlags output;
  WindowOptions windows;
  std::string data_path, reference;
  std::int64_t batch = 8;
};

std::vector<Window> windows_of(const PerplexityFlags& flags, const Model& model) {
  WindowOptions options = flags.windows;
  options.template_variables = flags.model.chat_template_config;
  options.use_template = !flags.model.ignore_template;
  try {
    return read_windows(model, flags.data_path, options);
  } catch (const Error& error) {
    throw ExitError(Exit::usage, error.code(), std::string("--data-path ") + error.what());
  }
}

/// Two models can be compared when one text is the same ids to both.
void check_same_text(const PerplexityFlags& flags, const Model& reference,
                     const std::vector<Window>& windows) {
  if (reference.info().has_tokenizer && windows_of(flags, reference) != windows)
    usage_error("--kl-with " + flags.reference +
                ": its tokenizer makes other ids of the text than --model's");
}

/// --ctx-size and --kv-cache-bytes are limits, as elsewhere.
void check_limits(const PerplexityFlags& flags, const Model& model,
                  const std::vector<Window>& windows) {
  const std::int64_t read = flags.windows.length - 1;
  if (flags.model.ctx_size > 0 && read > flags.model.ctx_size)
    usage_error(fmt::format("--sequence-length {}: {} tokens are read; --ctx-size is {}",
                            flags.windows.length, read, flags.model.ctx_size));
  if (flags.model.kv_cache_bytes.empty()) return;
  const std::int64_t most = parse_bytes(flags.model.kv_cache_bytes, "--kv-cache-bytes");
  const std::int64_t batch = std::min<std::int64_t>(flags.batch, std::ssize(windows));
  if (model.info().kv_bytes_per_token > most / (batch * read))
    throw ExitError(Exit::memory, ErrorCode::exhausted,
                    fmt::format("--kv-cache-bytes {}: {} windows of {} tokens take {} bytes of KV "
                                "cache; give --batch-size less",
                                flags.model.kv_cache_bytes, batch, read,
                                batch * read * model.info().kv_bytes_per_token));
}

Evaluation run_evaluation(const PerplexityFlags& flags, const Model& model, const Model* reference,
                          const std::vector<Window>& windows) {
  Progress bar("perplexity", "tok", flags.output);
  EvaluateOptions options;
  options.batch = flags.batch;
  options.reference = reference;
  options.progress = [&](std::int64_t done, std::int64_t total) {
    bar.update(done, total);
    return pending_signal() == 0;
  };
  return evaluate(model, windows, options);
}

double tokens_per_second(const Evaluation& e) {
  return static_cast<double>(e.predictions) / std::max(e.seconds, 1e-9);
}

OrderedJson json_of(const PerplexityFlags& flags, const Evaluation& e) {
  OrderedJson json = {{"model", flags.model.model},
                      {"data_path", flags.data_path},
                      {"perplexity", e.perplexity},
                      {"perplexity_error", e.perplexity_error},
                      {"mean_nll", e.mean_nll},
                      {"samples", e.windows},
                      {"tokens", e.tokens},
                      {"predictions", e.predictions},
                      {"sequence_length", flags.windows.length},
                      {"seed", flags.windows.seed},
                      {"seconds", e.seconds},
                      {"tokens_per_second", tokens_per_second(e)},
                      {"peak_memory_bytes", peak_resident_bytes()}};
  if (e.divergence)
    json["kl"] = {{"with", flags.reference},
                  {"mean", e.divergence->kl_mean},
                  {"p99", e.divergence->kl_p99},
                  {"top1_agreement", e.divergence->top1_agreement}};
  return json;
}

void print_text(const PerplexityFlags& flags, const Evaluation& e) {
  std::string out = fmt::format("Perplexity: {:.3f} ± {:.3f}\n", e.perplexity, e.perplexity_error);
  if (e.divergence)
    out += fmt::format("KL divergence: {:.6f} mean, {:.6f} p99\nTop-1 agreement: {:.2f} %\n",
                       e.divergence->kl_mean, e.divergence->kl_p99,
                       e.divergence->top1_agreement * 100);
  if (!flags.output.quiet)
    out += fmt::format(
        "Evaluation time: {:.2f} seconds\nPeak memory: {}\nTokens per second: {:.0f}\n"
        "Total samples: {}\nTotal tokens: {}\n",
        e.seconds, peak_memory_text(), tokens_per_second(e), e.windows, e.tokens);
  std::cout << out;
}

Exit run(const PerplexityFlags& flags) {
  if (flags.data_path.empty())
    usage_error("--data-path: none given; a file F.txt or F.jsonl of yours");
  install_signal_handlers();  // before the reading of a long text, which an interruption ends, too
  const Model model = open_model(flags.model, flags.output);
  const std::vector<Window> windows = windows_of(flags, model);
  check_limits(flags, model, windows);
  std::optional<Model> reference;
  if (!flags.reference.empty()) {
    ModelFlags other = flags.model;
    other.model = flags.reference;
    reference.emplace(open_model(other, flags.output));
    check_same_text(flags, *reference, windows);
  }
  if (!flags.output.quiet && flags.windows.samples > std::ssize(windows))
    note(fmt::format("{} holds {} of the {} samples asked for", flags.data_path, windows.size(),
                     flags.windows.samples));
  try {
    const Evaluation result =
        run_evaluation(flags, model, reference ? &*reference : nullptr, windows);
    if (const auto indent = json_indent(flags.output))
      std::cout << json_of(flags, result).dump(*indent) << "\n";
    else
      print_text(flags, result);
    return Exit::done;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
    std::cerr << "interrupted: " << error.what() << "\n";
    return pending_signal() == 15 ? Exit::terminated : Exit::interrupted;
  }
}

}  // namespace

Run attach_perplexity(CLI::App& app) {
  auto flags = std::make_shared<PerplexityFlags>();
  constexpr const char* kGroup = "Text";
  app.add_option("--data-path", flags->data_path,
                 "F.txt, one document, or F.jsonl, one per line: {\"text\": ...}, {\"messages\": "
                 "...} or {\"prompt\": ..., \"completion\": ...}")
      ->group(kGroup);
  app.add_option("--sequence-length", flags->windows.length, "tokens of a sample")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--num-samples", flags->windows.samples, "samples to evaluate; -1: all there are")
      ->check(CLI::Validator(
          [](std::string& text) -> std::string {
            return text == "-1" ? "" : whole_from("--num-samples", 1, INT32_MAX)(text);
          },
          ""))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--batch-size", flags->batch, "samples computed together; changes no figure")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--seed", flags->windows.seed,
                 "order of the documents, mlx-lm's for the same seed; a .txt is one document")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--kl-with", flags->reference,
                 "a model to compare with: KL divergence from it, agreement of the best tokens")
      ->group(kGroup);
  add_model_flags(app, flags->model);
  add_output_flags(app, flags->output);
  return [flags] { return run(*flags); };
}

}  // namespace stepless::cli
