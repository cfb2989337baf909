// Requests for the demo models and what came back, comparable byte by byte.
#pragma once
#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <vector>

#include "stepless/engine.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {

/// All that a listener was told.
struct Answer {
  std::vector<std::int32_t> tokens, top_ids;
  std::vector<std::uint32_t> logprobs;  // bits of chosen and of top logprobs
  std::string text, error;
  FinishReason reason = FinishReason::none;
  int finished = 0;                            // events of that kind
  std::vector<std::int64_t> prompt_done = {};  // of prefill events, not compared

  void take(const Event& event) {
    text += event.text;
    switch (event.kind) {
      case Event::Kind::prefill:
        prompt_done.push_back(event.prompt_done);
        break;
      case Event::Kind::token:
        tokens.push_back(event.token);
        logprobs.push_back(std::bit_cast<std::uint32_t>(event.logprobs.chosen));
        for (const auto& [id, logprob] : event.logprobs.top) {
          top_ids.push_back(id);
          logprobs.push_back(std::bit_cast<std::uint32_t>(logprob));
        }
        break;
      case Event::Kind::finished:
        ++finished;
        reason = event.reason;
        error = event.error;
    }
  }
  friend bool operator==(const Answer& a, const Answer& b) {
    return a.tokens == b.tokens && a.top_ids == b.top_ids && a.logprobs == b.logprobs &&
           a.text == b.text && a.error == b.error && a.reason == b.reason &&
           a.finished == b.finished;
  }
};

inline std::ostream& operator<<(std::ostream& out, const Answer& a) {
  out << to_string(a.reason) << " " << a.error << " \"" << a.text << "\" ids";
  for (const std::int32_t id : a.tokens) out << " " << id;
  return out;
}

inline Model demo(const std::string& name, int threads = 1, std::int64_t step_rows = 256) {
  ModelOptions options;
  options.threads = threads;
  options.step_rows = step_rows;
  return Model::open(models_dir() + "/" + name, options);
}

/// Prompts of one to some hundred tokens, greedy and with every filter and penalty by turns.
inline std::vector<Request> mixed_requests(std::size_t count, std::int32_t vocab = 4096) {
  constexpr std::size_t kLengths[] = {1,  63, 9,  200, 64, 65, 3,  127, 130,
                                      31, 2,  80, 17,  5,  33, 96, 8};
  Random random(11);
  std::vector<Request> all(count);
  for (std::size_t i = 0; i < count; ++i) {
    Request& r = all[i];
    for (std::size_t t = 0; t < kLengths[i % 17]; ++t)
      r.tokens.push_back(static_cast<std::int32_t>(3 + random.below(vocab - 3)));
    r.max_tokens = 6 + static_cast<std::int64_t>(i * 5 % 9);
    r.logprobs = static_cast<std::int32_t>(i % 3 * 2);
    r.ignore_eos = true;
    SamplingParams& s = r.sampling;
    s.seed = 100 + i;
    if (i % 4 == 1) s.temperature = 0.9f, s.top_p = 0.9f, s.top_k = 40;
    if (i % 4 == 2) s.temperature = 1.2f, s.min_p = 0.02f, s.repetition_penalty = 1.3f;
    if (i % 4 == 3) {
      s.temperature = 1, s.xtc_probability = 0.5f, s.presence_penalty = 0.4f;
      s.frequency_penalty = 0.3f, s.frequency_context = 8, s.logit_bias = {{17, 3}, {292, -5}};
    }
    if (i == 6) r.stop = {"the", "a"};
  }
  return all;
}

/// Submits all and waits for all.
inline std::vector<Answer> run_batch(Engine& engine, const std::vector<Request>& requests) {
  std::vector<Answer> answers(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i)
    engine.submit(requests[i], [&answers, i](const Event& event) { answers[i].take(event); });
  engine.wait_idle();
  return answers;
}

inline std::vector<Answer> run_batch(const Model& model, const std::vector<Request>& requests) {
  EngineOptions options;
  options.context = std::min<std::int64_t>(512, model.info().context);
  options.sequences = static_cast<std::int64_t>(requests.size());
  Engine engine(model, options);
  return run_batch(engine, requests);
}

/// Each request in an engine's whole attention.
inline std::vector<Answer> run_alone(const Model& model, const std::vector<Request>& requests) {
  EngineOptions options;
  options.context = std::min<std::int64_t>(512, model.info().context);
  Engine engine(model, options);
  std::vector<Answer> answers;
  for (const Request& request : requests) answers.push_back(run_batch(engine, {request})[0]);
  return answers;
}

}  // namespace stepless::test
