// stepless chat: a conversation at the terminal or through a pipe. One engine lives as long as the
// chat, so that the pages of what was said already are used again.
#include <fmt/format.h>

#include <csignal>
#include <iostream>

#include "base/error.hpp"
#include "base/memory.hpp"
#include "cli/answer.hpp"
#include "cli/chat_line.hpp"
#include "cli/cli.hpp"
#include "cli/conversation.hpp"
#include "cli/line_reader.hpp"
#include "cli/settings.hpp"
#include "cli/terminal.hpp"
#include "cli/usage.hpp"

namespace stepless::cli {
namespace {

struct ChatFlags {
  ModelFlags model;
  DraftFlags draft;
  SamplingFlags sampling;
  AnswerFlags answer;
  OutputFlags output;
  std::string prompt;
};

constexpr const char* kQuotes = "\"\"\"";

EngineOptions engine_options(const ChatFlags& flags) {
  EngineOptions options;
  options.context = flags.model.ctx_size;
  options.prefill_rows = flags.model.prefill_step_size;
  if (!flags.model.kv_cache_bytes.empty())
    options.kv_bytes = parse_bytes(flags.model.kv_cache_bytes, "--kv-cache-bytes");
  set_drafts(flags.draft, flags.model, flags.output, options);
  return options;
}

class Chat {
 public:
  Chat(ChatFlags& flags, const Model& model)
      : flags_(flags),
        model_(model),
        context_(flags.model.ctx_size > 0 ? flags.model.ctx_size : model.info().context),
        engine_(model, engine_options(flags)),
        conversation_(flags.answer.system_prompt),
        reader_(chat_history_path()) {}

  Exit run();

 private:
  void greet() const;
  LineReader::Got read_message(std::string& line, bool& quoted);
  bool obey(const ChatLine& line);
  void say(const std::string& text);
  void retry();
  void set(const std::string& text);
  void answer(std::uint64_t seed);
  Request request(std::uint64_t seed) const;
  Answer stream(const Request& request);
  void footer(const Request& request, const Answer& answer, const EngineStats& before) const;
  void show_stats() const;
  void report(const std::string& what);
  bool quiet() const { return flags_.output.quiet; }
  bool json() const { return flags_.output.json || flags_.output.jsonl; }

  ChatFlags& flags_;
  const Model& model_;
  std::int64_t context_;
  Engine engine_;
  Conversation conversation_;
  LineReader reader_;
  std::uint64_t retries_ = 0;
  std::int64_t answers_ = 0;
  Exit exit_ = Exit::done;
};

void Chat::greet() const {
  if (reader_.interactive() && !quiet())
    std::cerr << fmt::format("{}, {}, context {}; h for help, q to quit\n", model_.info().name,
                             model_.info().family, context_);
}

/// An error ends the command it belongs to, not the conversation. A script learns of the first one
/// by the exit code.
void Chat::report(const std::string& what) {
  std::cerr << "error: " << what << "\n";
  if (exit_ == Exit::done && !reader_.interactive()) exit_ = Exit::failed;
}

/// A line, or all lines from """ to """.
LineReader::Got Chat::read_message(std::string& line, bool& quoted) {
  quoted = false;
  LineReader::Got got = reader_.read("> ", line);
  if (got != LineReader::Got::line) return got;
  reader_.remember(line);
  if (!line.starts_with(kQuotes)) return got;
  quoted = true;
  line.erase(0, 3);
  while (!line.ends_with(kQuotes)) {
    std::string more;
    got = reader_.read("... ", more);
    if (got == LineReader::Got::end) {
      report(std::string(kQuotes) + ": the message has no end; nothing was sent");
      return got;
    }
    if (got != LineReader::Got::line) return got;
    line += "\n" + more;
  }
  line.erase(line.size() - 3);
  if (line.starts_with("\n")) line.erase(0, 1);
  if (line.ends_with("\n")) line.pop_back();
  return LineReader::Got::line;
}

Request Chat::request(std::uint64_t seed) const {
  const std::string messages = one_line(conversation_.json());
  Request request = request_of(flags_.answer, model_);
  request.tokens = model_.encode_chat(messages, flags_.model.chat_template_config, true);
  request.sampling = sampling_of(flags_.sampling);
  request.sampling.seed = seed;
  const auto count = static_cast<std::int64_t>(request.tokens.size());
  if (count >= context_)
    fail(ErrorCode::invalid_argument,
         "context: the conversation takes {} tokens, {} fit; /reset begins anew{}", count, context_,
         context_ < model_.info().context ? ", --ctx-size may be larger" : "");
  return request;
}

Answer Chat::stream(const Request& request) {
  Inbox inbox;
  Progress bar("prefill", "tok", flags_.output);
  Answer answer;
  const std::int64_t id =
      engine_.submit(request, [&inbox](const Event& event) { inbox.put(0, event); });
  const auto total = static_cast<std::int64_t>(request.tokens.size());
  bool cancelled = false;
  while (answer.reason == FinishReason::none) {
    // Nobody reads on, or the disk is full: what follows would be computed for nothing.
    if ((pending_signal() != 0 || !std::cout) && !cancelled) {
      engine_.cancel(id);
      cancelled = true;
    }
    std::size_t index = 0;
    Event event;
    if (!inbox.take(index, event)) continue;
    answer.add(event, false);
    if (event.kind == Event::Kind::prefill && event.prompt_done < total)
      bar.update(event.prompt_done, total);
    else
      bar.finish();
    if (!json())
      std::cout << printable(event.text) << std::flush;
    else if (flags_.output.jsonl && event.kind == Event::Kind::token)
      std::cout << one_line(token_json(event, false)) << "\n" << std::flush;
  }
  engine_.wait_idle();  // the last step's figures are in once the engine rests
  // At a prompt the first Ctrl-C ends the answer only; a script it ends.
  if (pending_signal() == SIGINT && reader_.interactive()) clear_signal();
  return answer;
}

EngineStats difference(EngineStats after, const EngineStats& before) {
  after.prompt_tokens -= before.prompt_tokens;
  after.cached_tokens -= before.cached_tokens;
  after.generated_tokens -= before.generated_tokens;
  after.drafted -= before.drafted;
  after.accepted -= before.accepted;
  after.prefill_seconds -= before.prefill_seconds;
  after.decode_seconds -= before.decode_seconds;
  return after;
}

double rate(std::int64_t count, double seconds) {
  return count > 0 && seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string peak() {
  return fmt::format("peak {:.2f} GB", static_cast<double>(peak_resident_bytes()) / 1e9);
}

void Chat::footer(const Request& request, const Answer& answer, const EngineStats& before) const {
  const EngineStats now = difference(engine_.stats(), before);
  const auto count = static_cast<std::int64_t>(answer.tokens.size());
  if (json())
    std::cout << one_line(answer_json(request, answer, now)) << "\n" << std::flush;
  else
    std::cout << "\n" << std::flush;
  if (quiet() || !flags_.answer.verbose) return;
  // The first token falls out of the prompt's last step.
  std::string text = fmt::format("{} tokens · {:.1f} tok/s · prompt {:.0f} tok/s", count,
                                 rate(count - 1, now.decode_seconds),
                                 rate(now.prompt_tokens, now.prefill_seconds));
  if (answer.cached > 0) text += fmt::format(" · cached {}", answer.cached);
  if (answer.drafted > 0) text += fmt::format(" · draft {}/{}", answer.accepted, answer.drafted);
  std::cerr << text << " · " << peak() << "\n";
  if (answer.reason == FinishReason::cancelled) std::cerr << "interrupted\n";
  if (answer.reason != FinishReason::length) return;
  if (static_cast<std::int64_t>(request.tokens.size()) + count >= context_)
    std::cerr << fmt::format("note: the context of {} tokens is full; /reset begins anew\n",
                             context_);
  else
    std::cerr << fmt::format("note: the answer ends at --max-tokens {}\n", request.max_tokens);
}

/// Answers the last message, which is the user's. Fails with the conversation as it was before.
void Chat::answer(std::uint64_t seed) {
  const Request asked = request(seed);
  const EngineStats before = engine_.stats();
  const Answer got = stream(asked);
  log_answer(static_cast<std::size_t>(answers_), asked, got);
  footer(asked, got, before);
  if (!got.error.empty()) throw Error(ErrorCode::internal, got.error);
  ++answers_;
  if (!got.text.empty() || got.reason != FinishReason::cancelled)
    conversation_.add("assistant", got.text);
  else
    conversation_.drop_last("user");  // stopped before a word of it
}

void Chat::say(const std::string& text) {
  conversation_.add("user", text);
  retries_ = 0;
  try {
    answer(flags_.sampling.seed.value_or(0));
  } catch (const Error&) {
    conversation_.drop_last("user");
    throw;
  }
}

void Chat::retry() {
  const Conversation before = conversation_;
  conversation_.drop_last("assistant");
  if (!conversation_.waits()) {
    conversation_ = before;
    fail(ErrorCode::invalid_argument, "/retry: there is no message to answer again");
  }
  if (flags_.sampling.params.temperature == 0 && !quiet())
    std::cerr << "note: at temp 0 the answer is always the same; /set temp 0.7\n";
  try {
    answer(flags_.sampling.seed.value_or(0) + ++retries_);
  } catch (const Error&) {
    conversation_ = before;
    throw;
  }
  if (conversation_.size() < before.size()) conversation_ = before;  // stopped before a word of it
}

/// The sampling flags themselves read the name and the value; the copy is kept when all is well.
void Chat::set(const std::string& text) {
  SamplingFlags sampling = flags_.sampling;
  AnswerFlags answer = flags_.answer;
  CLI::App app("settings");
  add_sampling_flags(app, sampling);
  add_answer_flags(app, answer);
  if (text.empty()) {
    for (const CLI::Option* option : app.get_options())
      if (option->get_expected_max() == 1 && !option->get_default_str().empty())
        std::cerr << fmt::format("{:<28} {}\n", option->get_lnames()[0], option->get_default_str());
    std::cerr << fmt::format("{:<28} {}\n", "seed", sampling.seed.value_or(0));
    return;
  }
  const std::size_t space = text.find_first_of(" \t=");
  std::string name = text.substr(0, space);
  const CLI::Option* option = app.get_option_no_throw("--" + name);
  if (name == "system-prompt")
    fail(ErrorCode::invalid_argument, "/set system-prompt: /system TEXT sets it");
  if (name == "stop" || name == "extra-eos-token" || name == "logit-bias")
    fail(ErrorCode::invalid_argument,
         "/set {}: a list holds for the whole conversation; give --{} when the chat starts", name,
         name);
  if (option == nullptr) {
    const std::string near = nearest_flag(app, "--" + name);
    fail(ErrorCode::invalid_argument, "/set {}: no setting of a conversation; {}", name,
         near.empty() ? "/set alone lists them" : "did you mean " + near.substr(2) + "?");
  }
  const std::size_t value =
      space == std::string::npos ? std::string::npos : text.find_first_not_of(" \t=", space);
  if (value == std::string::npos)
    fail(ErrorCode::invalid_argument, "/set {}: needs a value, e.g. /set temp 0.7", name);
  try {
    app.parse(std::vector<std::string>{"--" + name + "=" + text.substr(value)});
  } catch (const CLI::ParseError& error) {
    const std::string what = usage_message(error, &app, {});
    fail(ErrorCode::invalid_argument, "/set {}", what.starts_with("--") ? what.substr(2) : what);
  }
  // Here, not with the next message, which would be lost.
  check_vocabulary(sampling.params, model_.info().vocab);
  flags_.sampling = sampling;
  flags_.answer = answer;
}

void Chat::show_stats() const {
  const EngineStats stats = engine_.stats();
  const std::string text = fmt::format(
      "{} answers, {} messages; {} prompt tokens at {:.0f} tok/s, {} generated at "
      "{:.1f} tok/s; KV {} of {} pages, {:.3f} GB; {}\n",
      answers_, conversation_.size(), stats.prompt_tokens,
      rate(stats.prompt_tokens, stats.prefill_seconds), stats.generated_tokens,
      rate(stats.generated_tokens - answers_, stats.decode_seconds), stats.kv_pages_used,
      stats.kv_pages, static_cast<double>(stats.kv_bytes) / 1e9, peak());
  std::cerr << text;
}

/// False: the chat ends.
bool Chat::obey(const ChatLine& line) {
  switch (line.kind) {
    case ChatLine::Kind::empty:
      break;
    case ChatLine::Kind::message:
      say(line.text);
      break;
    case ChatLine::Kind::quit:
      return false;
    case ChatLine::Kind::reset:
      conversation_.reset();
      break;
    case ChatLine::Kind::help:
      std::cerr << chat_help();
      break;
    case ChatLine::Kind::system:
      conversation_.set_system(line.text);
      break;
    case ChatLine::Kind::save:
      conversation_.save(line.text);
      break;
    case ChatLine::Kind::load:
      conversation_.load(line.text);
      break;
    case ChatLine::Kind::retry:
      retry();
      break;
    case ChatLine::Kind::stats:
      show_stats();
      break;
    case ChatLine::Kind::set:
      set(line.text);
      break;
  }
  return true;
}

Exit Chat::run() {
  install_signal_handlers();
  greet();
  std::string line = flags_.prompt;
  bool quoted = true, first = !line.empty(), warned = false;
  for (bool more = true; more && std::cout;) {
    const LineReader::Got got = first ? LineReader::Got::line : read_message(line, quoted);
    first = false;
    if (got == LineReader::Got::end) break;
    if (got == LineReader::Got::signal) {
      if (pending_signal() == SIGTERM) return Exit::terminated;
      // Who typed since the warning wanted to be rid of that line, not of the chat.
      if ((warned && !reader_.was_touched()) || !reader_.interactive()) return Exit::interrupted;
      clear_signal();
      warned = true;
      if (!quiet()) std::cerr << "Ctrl-C again or Ctrl-D quits\n";
      continue;
    }
    warned = false;
    try {
      more = obey(quoted ? ChatLine{ChatLine::Kind::message, line} : parse_chat_line(line));
    } catch (const Error& error) {
      report(error.what());
    }
  }
  return exit_;
}

void add_chat_flags(CLI::App& app, ChatFlags& f) {
  f.answer.max_tokens = 256;
  app.add_option("-p,--prompt", f.prompt, "the first message")->group("Answer");
  add_answer_flags(app, f.answer);
  app.add_option("--verbose", f.answer.verbose, "the figures after each answer")
      ->default_str("true")
      ->group("Answer");
  for (const char* name : {"--prompt-file", "--prompts", "--prefill-response", "--logprobs",
                           "--prompt-cache-file", "--prompt-cache-size"})
    refuse(app, name, "not in a conversation; generate has it");
  f.sampling.seed = 0;
  add_sampling_flags(app, f.sampling);
  add_model_flags(app, f.model);
  add_draft_flags(app, f.draft);
  add_output_flags(app, f.output);
}

}  // namespace

Run attach_chat(CLI::App& app) {
  auto flags = std::make_shared<ChatFlags>();
  add_chat_flags(app, *flags);
  return [flags] {
    if (flags->model.ignore_template)
      throw ExitError(Exit::usage, ErrorCode::unsupported,
                      "--ignore-chat-template: a conversation needs a template; generate takes "
                      "prompts as they are");
    sampling_of(flags->sampling);  // what is wrong with the flags shows before the model loads
    const Model model = open_model(flags->model, flags->output);
    if (!model.info().has_tokenizer)
      throw ExitError(Exit::usage, ErrorCode::unsupported,
                      model.info().name + ": has no tokenizer; generate --synthetic shows speed");
    if (!model.info().has_template)
      throw ExitError(Exit::usage, ErrorCode::unsupported,
                      model.info().name +
                          ": has no chat template; --use-default-chat-template (ChatML) or "
                          "--chat-template FILE");
    check_vocabulary(sampling_of(flags->sampling), model.info().vocab);
    return Chat(*flags, model).run();
  };
}

}  // namespace stepless::cli
