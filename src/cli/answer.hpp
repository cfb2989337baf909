// One answer as generate and chat see it: the flags that shape it, the events it arrives in, and
// the JSON it leaves as.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "cli/flags.hpp"
#include "stepless/engine.hpp"

namespace stepless::cli {

struct AnswerFlags {
  std::string system_prompt;
  std::int64_t max_tokens = 100;
  std::vector<std::string> stop, extra_eos;
  bool verbose = true;
};
void add_answer_flags(CLI::App& app, AnswerFlags& flags);
/// A request with everything but tokens and sampling. Throws Error (invalid_argument): a token that
/// the vocabulary lacks.
Request request_of(const AnswerFlags& flags, const Model& model);

/// Events of all requests, from the engine's thread to the one that prints: a slow terminal must
/// not stall the engine.
class Inbox {
 public:
  void put(std::size_t request, const Event& event);
  /// False after a while without events, so that signals are seen.
  bool take(std::size_t& request, Event& event);

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::pair<std::size_t, Event>> events_;
};

struct Answer {
  std::string text;
  std::vector<std::int32_t> tokens;
  std::vector<TokenLogprobs> logprobs;
  FinishReason reason = FinishReason::none;  // none while events still come
  std::string error;
  std::int64_t prompt_done = 0, cached = 0, drafted = 0, accepted = 0;

  void add(const Event& event, bool keep_logprobs);
};

/// The log's line of an answer that ended: counts and why, no text.
void log_answer(std::size_t index, const Request& request, const Answer& answer);
/// A token for --jsonl: {token, text, logprob, top?}
OrderedJson token_json(const Event& event, bool with_top);
/// {text, tokens, finish_reason, seed, usage, timings, logprobs?}
OrderedJson answer_json(const Request& request, const Answer& answer, const EngineStats& stats);
/// JSON on one line; text that is no UTF-8 becomes the replacement character.
std::string one_line(const OrderedJson& json);

}  // namespace stepless::cli
