#include "cli/answer.hpp"

#include <chrono>

#include "base/error.hpp"

namespace stepless::cli {

void add_answer_flags(CLI::App& app, AnswerFlags& f) {
  constexpr const char* kGroup = "Answer";
  app.add_option("--system-prompt", f.system_prompt, "system message")->group(kGroup);
  app.add_option("-m,-n,--max-tokens,--predict", f.max_tokens,
                 "longest answer; 0: until the context ends")
      ->check(whole_from("--max-tokens", 0, kMostTokens))
      ->capture_default_str()
      ->group(kGroup);
  // One value per use: else a second word is swallowed, and [a,b] is read as a list.
  app.add_option("-r,--stop", f.stop, "end the answer at this text; repeatable")
      ->allow_extra_args(false)
      ->group(kGroup);
  app.add_option("--extra-eos-token", f.extra_eos, "end the answer at this token; repeatable")
      ->allow_extra_args(false)
      ->group(kGroup);
}

Request request_of(const AnswerFlags& flags, const Model& model) {
  Request request;
  request.max_tokens = flags.max_tokens;
  request.stop = flags.stop;
  for (const std::string& token : flags.extra_eos) {
    const std::int32_t id = model.token_id(token);
    if (id < 0)
      fail(ErrorCode::invalid_argument, "--extra-eos-token {}: the vocabulary has no such token",
           token);
    request.extra_eos.push_back(id);
  }
  return request;
}

void Inbox::put(std::size_t request, const Event& event) {
  const std::lock_guard lock(mutex_);
  events_.emplace_back(request, event);
  ready_.notify_one();
}

bool Inbox::take(std::size_t& request, Event& event) {
  std::unique_lock lock(mutex_);
  if (!ready_.wait_for(lock, std::chrono::milliseconds(50), [&] { return !events_.empty(); }))
    return false;
  request = events_.front().first;
  event = std::move(events_.front().second);
  events_.pop_front();
  return true;
}

void Answer::add(const Event& event, bool keep_logprobs) {
  text += event.text;
  switch (event.kind) {
    case Event::Kind::prefill:
      prompt_done = event.prompt_done;
      cached = event.cached_tokens;
      break;
    case Event::Kind::token:
      tokens.push_back(event.token);
      if (keep_logprobs) logprobs.push_back(event.logprobs);
      break;
    case Event::Kind::finished:
      reason = event.reason;
      error = event.error;
      drafted = event.drafted;
      accepted = event.accepted;
      break;
  }
}

void log_answer(std::size_t index, const Request& request, const Answer& answer) {
  std::string line = fmt::format("req={} prompt={} cached={} out={}", index, request.tokens.size(),
                                 answer.cached, answer.tokens.size());
  if (answer.drafted > 0) line += fmt::format(" draft={}/{}", answer.accepted, answer.drafted);
  log_line(LogDepth::info, line + fmt::format(" finish={}", to_string(answer.reason)));
}

namespace {

OrderedJson top_json(const TokenLogprobs& logprobs) {
  OrderedJson top = OrderedJson::array();
  for (const auto& [id, value] : logprobs.top) top.push_back({{"token", id}, {"logprob", value}});
  return top;
}

}  // namespace

OrderedJson token_json(const Event& event, bool with_top) {
  OrderedJson json = {
      {"token", event.token}, {"text", event.text}, {"logprob", event.logprobs.chosen}};
  if (with_top) json["top"] = top_json(event.logprobs);
  return json;
}

OrderedJson answer_json(const Request& request, const Answer& answer, const EngineStats& stats) {
  const auto prompt_count = static_cast<std::int64_t>(request.tokens.size());
  const auto count = static_cast<std::int64_t>(answer.tokens.size());
  OrderedJson json = {{"text", answer.text},
                      {"tokens", answer.tokens},
                      {"finish_reason", to_string(answer.reason)},
                      {"seed", request.sampling.seed},
                      {"usage",
                       {{"prompt_tokens", prompt_count},
                        {"completion_tokens", count},
                        {"total_tokens", prompt_count + count},
                        {"prompt_tokens_details", {{"cached_tokens", answer.cached}}},
                        {"drafted", answer.drafted},
                        {"accepted", answer.accepted}}},
                      {"timings",
                       {{"prompt_seconds", stats.prefill_seconds},
                        {"generation_seconds", stats.decode_seconds},
                        {"floor_us_per_token", stats.floor_us_per_token},
                        {"drafted", stats.drafted},
                        {"accepted", stats.accepted}}}};
  if (!answer.error.empty()) json["error"] = answer.error;
  if (request.logprobs > 0) {
    OrderedJson all = OrderedJson::array();
    for (const TokenLogprobs& one : answer.logprobs)
      all.push_back({{"logprob", one.chosen}, {"top", top_json(one)}});
    json["logprobs"] = all;
  }
  return json;
}

std::string one_line(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace stepless::cli
