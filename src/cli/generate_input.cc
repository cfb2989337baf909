#include "cli/generate_input.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <random>
#include <sstream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "cli/cli.hpp"

namespace stepless::cli {
namespace {

std::uint64_t random_seed() {
  std::random_device device;
  return device();  // 32 bits: short enough to type again
}

std::string prompt_text(const GenerateFlags& flags) {
  if (!flags.prompt_file.empty()) return read_given_file(flags.prompt_file, "--prompt-file");
  return flags.prompt == "-" ? read_given_stream(std::cin, "--prompt -") : flags.prompt;
}

/// What one line of --prompts may say beside the flags.
struct Wish {
  std::string prompt;
  OrderedJson messages;  // null: one user message, the prompt
  std::string system;
  std::int64_t max_tokens = 0;
  SamplingParams sampling;
  std::vector<std::string> stop;
  std::optional<PromptCache> cache;  // the prompt is appended to its tokens
};

/// Without a tokenizer (synthetic models) each byte of the prompt is a token: enough to see speed
/// and memory.
std::vector<std::int32_t> byte_tokens(const std::string& text) {
  std::vector<std::int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

bool uses_template(const GenerateFlags& flags, const Model& model) {
  return model.info().has_template && !flags.model.ignore_template;
}

std::string messages_of(const Wish& wish) {
  if (!wish.messages.is_null() && !wish.system.empty())
    fail(ErrorCode::invalid_argument, "system_prompt: messages hold their own; give one of them");
  OrderedJson messages = wish.messages;
  if (messages.is_null()) {
    messages = OrderedJson::array();
    if (!wish.system.empty()) messages.push_back({{"role", "system"}, {"content", wish.system}});
    messages.push_back({{"role", "user"}, {"content", wish.prompt}});
  }
  return messages.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

/// What stands before a prompt is in the cache already.
void check_continues(const Wish& wish) {
  if (!wish.cache) return;
  if (!wish.system.empty())
    fail(ErrorCode::invalid_argument,
         "--system-prompt: it stands before what --prompt-cache-file holds; give it to "
         "cache-prompt");
  if (!wish.messages.is_null())
    fail(ErrorCode::invalid_argument,
         "messages: --prompt-cache-file is continued by a prompt, as one user message");
}

const char* no_template(const GenerateFlags& flags) {
  return flags.model.ignore_template
             ? "--ignore-chat-template takes the prompt alone"
             : "the model has no chat template; --use-default-chat-template";
}

std::vector<std::int32_t> tokens_of(const GenerateFlags& flags, const Model& model,
                                    const Wish& wish) {
  check_continues(wish);
  if (!model.info().has_tokenizer && (!wish.system.empty() || !wish.messages.is_null()))
    fail(ErrorCode::invalid_argument, "{}: synthetic weights take a prompt alone",
         wish.system.empty() ? "messages" : "--system-prompt");
  if (!model.info().has_tokenizer) return byte_tokens(wish.prompt + flags.prefill_response);
  if (!uses_template(flags, model)) {
    if (!wish.system.empty())
      fail(ErrorCode::invalid_argument, "--system-prompt: {}", no_template(flags));
    if (!wish.messages.is_null())
      fail(ErrorCode::invalid_argument, "messages: {}", no_template(flags));
    // The tokenizer's frame (a leading BOS, say) belongs before the cached tokens, not here.
    return model.encode(wish.prompt + flags.prefill_response, true, !wish.cache);
  }
  const std::string messages = messages_of(wish);
  const std::string& variables = flags.model.chat_template_config;
  std::vector<std::int32_t> ids =
      wish.cache ? model.encode_chat_part(messages, variables, ChatPart::from_content)
                 : model.encode_chat(messages, variables, true);
  if (!flags.prefill_response.empty()) {
    const auto more = model.encode(flags.prefill_response, false, false);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

Prompt make_prompt(const GenerateFlags& flags, const Model& model, const Wish& wish) {
  Prompt prompt{request_of(flags.answer, model)};
  Request& request = prompt.request;
  if (wish.cache) request.tokens = wish.cache->tokens();
  const std::vector<std::int32_t> own = tokens_of(flags, model, wish);
  request.tokens.insert(request.tokens.end(), own.begin(), own.end());
  request.sampling = wish.sampling;
  request.max_tokens = wish.max_tokens;
  request.stop = wish.stop;
  request.logprobs = flags.logprobs;
  return prompt;
}

[[noreturn]] void bad_field(const std::string& key, const OrderedJson& value,
                            const std::string& right) {
  fail(ErrorCode::invalid_argument, "\"{}\" is {}; {}", key, one_line(value), right);
}

std::string text_field(const std::string& key, const OrderedJson& value) {
  if (!value.is_string()) bad_field(key, value, "a string");
  return value.get<std::string>();
}

/// JSON's numbers convert to whatever is asked for: -1 to a seed of 20 digits, true to 1.
std::uint64_t whole_field(const std::string& key, const OrderedJson& value, std::uint64_t most) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
    bad_field(key, value, fmt::format("a whole number from 0 to {}", most));
  return value.get<std::uint64_t>();
}

float number_field(const std::string& key, const OrderedJson& value, double most) {
  if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= most))
    bad_field(key, value, fmt::format("a number from 0 to {:.15g}", most));
  return value.get<float>();
}

std::vector<std::string> stop_field(const OrderedJson& value) {
  std::vector<std::string> stop;
  if (!value.is_array()) return {text_field("stop", value)};
  for (const OrderedJson& one : value) stop.push_back(text_field("stop", one));
  return stop;
}

void take_field(Wish& wish, const std::string& key, const OrderedJson& value) {
  if (key == "prompt") {
    wish.prompt = text_field(key, value);
  } else if (key == "messages") {
    if (!value.is_array()) bad_field(key, value, "an array of {\"role\", \"content\"}");
    wish.messages = value;
  } else if (key == "system_prompt") {
    wish.system = text_field(key, value);
  } else if (key == "max_tokens") {
    wish.max_tokens = static_cast<std::int64_t>(whole_field(key, value, kMostTokens));
  } else if (key == "seed") {
    wish.sampling.seed = whole_field(key, value, UINT64_MAX);
  } else if (key == "temp" || key == "temperature") {
    wish.sampling.temperature = number_field(key, value, 1e6);
  } else if (key == "top_p") {
    wish.sampling.top_p = number_field(key, value, 1);
  } else if (key == "stop") {
    wish.stop = stop_field(value);
  } else {
    fail(ErrorCode::invalid_argument,
         "\"{}\" is not known; prompt, messages, system_prompt, max_tokens, seed, temp, top_p, "
         "stop are",
         key);
  }
}

/// One line of --prompts; fields that are not known are refused.
Wish parse_line(const OrderedJson& line, const Wish& defaults) {
  if (!line.is_object()) fail(ErrorCode::invalid_argument, "not a JSON object");
  Wish wish = defaults;
  wish.prompt.clear();
  for (const auto& [key, value] : line.items()) take_field(wish, key, value);
  const bool prompt = line.contains("prompt"), messages = line.contains("messages");
  if (prompt && messages)
    fail(ErrorCode::invalid_argument, "a prompt and messages; give one of them");
  if (!prompt && !messages) fail(ErrorCode::invalid_argument, "neither a prompt nor messages");
  return wish;
}

std::vector<Prompt> read_batch(const GenerateFlags& flags, const Model& model,
                               const Wish& defaults) {
  std::istringstream lines(read_given_file(flags.prompts_file, "--prompts"));
  std::vector<Prompt> prompts;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string what = fmt::format("{}:{}", flags.prompts_file, number);
    try {
      prompts.push_back(
          make_prompt(flags, model, parse_line(parse_ordered_json(line, what), defaults)));
    } catch (const Error& error) {
      const std::string text = error.what();
      throw ExitError(Exit::usage, error.code(),
                      text.starts_with(what) ? text : what + ": " + text);
    }
  }
  if (prompts.empty()) usage_error("--prompts " + flags.prompts_file + ": no prompt in it");
  return prompts;
}

}  // namespace

void add_generate_flags(CLI::App& app, GenerateFlags& f) {
  constexpr const char* kGroup = "Prompt";
  CLI::Option* prompt = app.add_option("-p,--prompt", f.prompt, "text; - reads stdin");
  prompt->capture_default_str()->group(kGroup);
  CLI::Option* file =
      app.add_option("-f,--prompt-file", f.prompt_file, "read the prompt from a file");
  file->type_name("FILE")->excludes(prompt)->group(kGroup);
  app.add_option("--prompts", f.prompts_file,
                 "a JSON object per line {\"prompt\": ...}: one batch, order kept")
      ->type_name("FILE")
      ->excludes(prompt)
      ->excludes(file)
      ->group(kGroup);
  app.add_option("--prefill-response", f.prefill_response, "begin the answer with this")
      ->group(kGroup);
  add_answer_flags(app, f.answer);
  app.add_option("--logprobs", f.logprobs, "best alternatives per token, in --json")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--verbose", f.answer.verbose, "mlx-lm's frame and the figures at the end")
      ->default_str("true")
      ->group(kGroup);
  add_prompt_cache_flags(app, f.cache);
  add_sampling_flags(app, f.sampling);
  add_model_flags(app, f.model);
  add_draft_flags(app, f.draft);
  add_output_flags(app, f.output);
}

std::vector<Prompt> read_prompts(const GenerateFlags& flags, const Model& model,
                                 const std::optional<PromptCache>& cache) {
  if (flags.logprobs > 0 && !flags.output.json && !flags.output.jsonl)
    usage_error(fmt::format("--logprobs {}: they show in JSON; add --json", flags.logprobs));
  Wish wish;
  wish.cache = cache;
  wish.system = flags.answer.system_prompt;
  wish.max_tokens = flags.answer.max_tokens;
  wish.stop = flags.answer.stop;
  wish.sampling = sampling_of(flags.sampling);
  check_vocabulary(wish.sampling, model.info().vocab);
  const bool draws = wish.sampling.temperature > 0;
  wish.sampling.seed = flags.sampling.seed.value_or(draws ? random_seed() : 0);
  if (draws && !flags.sampling.seed && !flags.output.quiet)
    std::cerr << "seed: " << wish.sampling.seed << "\n";
  if (!flags.prompts_file.empty()) return read_batch(flags, model, wish);
  wish.prompt = prompt_text(flags);
  return {make_prompt(flags, model, wish)};
}

std::vector<std::int32_t> cached_prompt_tokens(const GenerateFlags& flags, const Model& model) {
  Wish wish;
  wish.system = flags.answer.system_prompt;
  wish.prompt = prompt_text(flags);
  if (!uses_template(flags, model)) return tokens_of(flags, model, wish);
  return model.encode_chat_part(messages_of(wish), flags.model.chat_template_config,
                                ChatPart::until_content_ends);
}

std::int64_t longest_sequence(const GenerateFlags& flags, const Model& model,
                              const std::vector<Prompt>& prompts) {
  if (flags.model.ctx_size > 0) return flags.model.ctx_size;
  const std::int64_t context = model.info().context;
  std::int64_t longest = 1;
  for (const Prompt& prompt : prompts) {
    if (prompt.request.max_tokens == 0 || prompt.request.max_tokens >= context) return context;
    // A prompt that fills the context is refused by submit(), with both counts.
    longest = std::max(longest, static_cast<std::int64_t>(prompt.request.tokens.size()) +
                                    prompt.request.max_tokens);
  }
  return std::min(longest, context);
}

}  // namespace stepless::cli
