// A step in flight shows in no byte: whatever ends, fails, is cancelled or comes while the next
// step is launched already, the answers are those of an engine that waits for every step.
#include "runtime/engine_core.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "tests/api/engine_case.hpp"
#include "tests/api/flying_backend.hpp"
#include "tests/support/tiny_next.hpp"

namespace stepless::test {
namespace {

std::shared_ptr<const LoadedModel> load(const std::string& folder, const KvOptions& kv = {},
                                        std::int64_t step_rows = 64) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.step_rows = step_rows;
  options.kv = kv;
  return load_model(folder, options);
}

std::shared_ptr<const LoadedModel> tale() {
  static const auto model = load(models_dir() + "/tale-draft-4bit");
  return model;
}

/// An engine without its thread, over a backend that flies or does not.
struct Flown {
  explicit Flown(std::shared_ptr<const LoadedModel> model, bool flies = true,
                 EngineOptions options = some())
      : log(std::make_shared<FlightLog>()),
        core(model, std::make_unique<FlyingBackend>(log, flies), options),
        made(std::exchange(log->calls, "")) {}
  static EngineOptions some() {
    EngineOptions options;
    options.sequences = 8;
    return options;
  }

  void add(Request request, std::function<void(const Event&)> also = {}) {
    const std::size_t at = answers.size();
    answers.emplace_back();
    Sequence s = make_sequence(core.model(), std::move(request), core.context(), core.room());
    s.id = static_cast<std::int64_t>(at) + 1;
    s.listener = [this, at, also = std::move(also)](const Event& event) {
      answers[at].take(event);
      if (also) also(event);
    };
    core.add(std::move(s));
  }
  void finish() {
    while (!core.idle()) core.step();
    EXPECT_EQ(core.stats().kv_pages_used, 0);
    EXPECT_EQ(core.stats().state_slots_used, 0);
    for (const Answer& answer : answers) EXPECT_EQ(answer.finished, 1);
  }

  std::shared_ptr<FlightLog> log;
  EngineCore core;
  std::string made;  // the calls that made it
  std::deque<Answer> answers;
};

std::deque<Answer> answers_of(std::shared_ptr<const LoadedModel> model,
                              const std::vector<Request>& requests, bool flies,
                              EngineOptions options = Flown::some()) {
  Flown run(std::move(model), flies, options);
  for (const Request& request : requests) run.add(request);
  run.finish();
  EXPECT_EQ(run.log->fed > 0, flies);
  return run.answers;
}

Request request_of(std::vector<std::int32_t> tokens, std::int64_t max_tokens) {
  Request request;
  request.tokens = std::move(tokens);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  return request;
}

/// What the first step would wait for, and only once all memory is had.
TEST(LoadKernels, ComesBehindAllMemory) {
  EXPECT_EQ(Flown(tale()).made, "mk");
  EXPECT_EQ(Flown(load(tiny_next_model().write("load-next"))).made, "mmk");
}

TEST(StepInFlight, LeavesEveryByteOfAMixedBatch) {
  const auto requests = mixed_requests(17);
  KvOptions packed;
  packed.bits = 4, packed.start = 0;
  KvOptions rotating;
  rotating.max_size = 128;
  for (const auto& model : {tale(), load(models_dir() + "/tale-draft-4bit", packed),
                            load(models_dir() + "/tale-draft-4bit", rotating, 16)})
    EXPECT_EQ(answers_of(model, requests, true), answers_of(model, requests, false));
}

TEST(StepInFlight, LeavesRecurrentStateAlone) {
  const auto model = load(tiny_next_model().write("flight-next"));
  auto requests = mixed_requests(9, 96);
  for (Request& request : requests) {
    request.stop.clear();
    if (!request.sampling.logit_bias.empty()) request.sampling.logit_bias = {{17, 3.0f}};
  }
  EXPECT_EQ(answers_of(model, requests, true), answers_of(model, requests, false));
}

/// More sequences than a step has rows: steps feed some of their rows, the others wait a turn.
TEST(StepInFlight, ServesMoreSequencesThanAStepHasRows) {
  const auto model = load(models_dir() + "/tale-draft-4bit", {}, 3);
  EXPECT_EQ(answers_of(model, mixed_requests(8), true),
            answers_of(model, mixed_requests(8), false));
}

TEST(StepInFlight, TheNextStepIsLaunchedBeforeThisOneIsCollected) {
  Flown run(tale());
  run.add(request_of({5, 6, 7}, 5));
  run.finish();
  EXPECT_EQ(run.log->calls, "LcLLcLcLcc");  // the prompt's step alone; none behind the last token
  EXPECT_EQ(run.log->most, 2u);
  Flown waits(tale(), false);
  waits.add(request_of({5, 6, 7}, 5));
  waits.finish();
  EXPECT_EQ(waits.log->calls, "LcLcLcLcLc");
  EXPECT_EQ(run.answers, waits.answers);
}

std::vector<std::int32_t> prompt_of(std::int64_t tokens, std::int32_t seed = 0) {
  std::vector<std::int32_t> prompt;
  for (std::int64_t i = 0; i < tokens; ++i)
    prompt.push_back(static_cast<std::int32_t>(3 + (i * 37 + seed) % 4000));
  return prompt;
}
/// Prompts in steps of 16 rows at most.
EngineOptions short_steps() {
  EngineOptions options = Flown::some();
  options.prefill_rows = 16;
  return options;
}

TEST(PromptInFlight, ItsNextStepIsLaunchedBeforeThisOneIsCollected) {
  Flown run(tale(), true, short_steps());
  run.add(request_of(prompt_of(40), 3));
  run.finish();
  // Three steps of the prompt, of which the last draws: none goes behind that.
  EXPECT_EQ(run.log->calls, "LLcLccLLcc");
  EXPECT_EQ(run.answers[0].prompt_done, (std::vector<std::int64_t>{16, 32, 40}));
  Flown waits(tale(), false, short_steps());
  waits.add(request_of(prompt_of(40), 3));
  waits.finish();
  EXPECT_EQ(waits.log->calls, "LcLcLcLcLc");
  EXPECT_EQ(run.answers, waits.answers);
}

/// What lies beyond a window is given back when a step lands, and a recurrent state passes from
/// step to step.
TEST(PromptInFlight, WaitsWhereAStepLeavesMoreThanPages) {
  KvOptions packed;
  packed.bits = 4, packed.start = 0;
  KvOptions rotating;
  rotating.max_size = 128;
  for (const auto& model : {load(models_dir() + "/tale-draft-4bit", packed),
                            load(models_dir() + "/tale-draft-4bit", rotating),
                            load(tiny_next_model().write("prompt-next"))}) {
    Flown run(model, true, short_steps());
    Request request = request_of(prompt_of(40), 1);
    for (std::int32_t& token : request.tokens) token %= 90;
    run.add(std::move(request));
    run.finish();
    EXPECT_EQ(run.log->calls, "LcLcLc");
  }
}

/// Prompts that share pages, come while others are under way, and are longer than a step.
TEST(PromptInFlight, LeavesEveryByteOfABatch) {
  std::vector<Request> requests = mixed_requests(9);
  for (const std::int64_t tokens : {200, 130, 70, 200})
    requests.push_back(request_of(prompt_of(tokens, static_cast<std::int32_t>(tokens / 100)), 5));
  const auto want = answers_of(tale(), requests, false, short_steps());
  EXPECT_EQ(answers_of(tale(), requests, true, short_steps()), want);
  for (const int between : {1, 2, 5}) {
    Flown run(tale(), true, short_steps());
    for (const Request& request : requests) {
      run.add(request);
      for (int step = 0; step < between; ++step) run.core.step();
    }
    run.finish();
    EXPECT_EQ(run.answers, want) << between;
    EXPECT_EQ(run.log->most, 2u);
    EXPECT_EQ(run.log->fed_beside_prompts, 0);
  }
}

/// An answer that a prompt's step begins goes on with the next step, as if none were in flight.
TEST(PromptInFlight, NoPromptGoesAheadOfAnAnswer) {
  Flown run(tale(), true, short_steps());
  run.add(request_of(prompt_of(9), 8));
  run.add(request_of(prompt_of(100, 5), 8));
  std::int64_t steps = 0;
  for (; run.answers[0].finished == 0; ++steps) run.core.step();
  EXPECT_EQ(steps, 8);
  run.finish();
}

TEST(PromptInFlight, ACancelledOneLeavesTheOthersAlone) {
  const std::vector<Request> requests = {request_of(prompt_of(150), 5),
                                         request_of(prompt_of(90, 7), 5)};
  const auto want = answers_of(tale(), requests, false, short_steps());
  Flown run(tale(), true, short_steps());
  run.add(requests[0], [&](const Event& event) {
    if (event.kind == Event::Kind::prefill && event.prompt_done == 48) run.core.cancel(1);
  });
  run.add(requests[1]);
  while (run.answers[0].finished == 0) run.core.step();
  EXPECT_EQ(run.log->most, 2u);
  run.add(requests[0]);  // takes the pages that discarded rows may still be writing
  run.finish();
  EXPECT_EQ(run.answers[0].reason, FinishReason::cancelled);
  EXPECT_EQ(run.answers[1], want[1]);
  EXPECT_EQ(run.answers[2], want[0]);
}

TEST(PromptInFlight, AFailureCommitsNothingOfWhatIsInFlight) {
  const Request request = request_of(prompt_of(100), 3);
  const auto want = answers_of(tale(), {request}, false, short_steps())[0];
  for (const bool in_launch : {true, false}) {
    Flown run(tale(), true, short_steps());
    (in_launch ? run.log->fail_launch : run.log->fail_collect) = 3;
    run.add(request);
    run.finish();
    EXPECT_EQ(run.answers[0].reason, FinishReason::failed);
    EXPECT_EQ(run.answers[0].error, in_launch ? "launch 3" : "collect 3");
    // Launch 3 is made before 2 is collected.
    EXPECT_EQ(run.answers[0].prompt_done.size(), in_launch ? 1u : 2u);
    EXPECT_EQ(std::ranges::count(run.log->calls, 'c'),
              std::ranges::count(run.log->calls, 'L') - (in_launch ? 1 : 0));
    run.add(request);
    run.finish();
    EXPECT_EQ(run.answers[1], want);
  }
}

TEST(StepInFlight, ATokenThatEndsTheTextCostsOneRow) {
  Flown first(tale());
  first.add(request_of({5, 6, 7}, 12));
  first.finish();
  const auto& tokens = first.answers[0].tokens;
  const auto third = static_cast<std::size_t>(
      std::find_if(tokens.begin() + 2, tokens.end(),
                   [&](auto t) {
                     return std::find(tokens.begin(), tokens.begin() + 2, t) == tokens.begin() + 2;
                   }) -
      tokens.begin());
  Flown run(tale());
  Request request = request_of({5, 6, 7}, 12);
  request.extra_eos = {tokens[third]};
  run.add(request);
  run.finish();
  EXPECT_EQ(run.answers[0].reason, FinishReason::stop);
  EXPECT_EQ(run.answers[0].tokens,
            std::vector(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(third)));
  // The prompt, a row for each token, and the one that is discarded.
  EXPECT_EQ(run.log->rows, 3 + static_cast<std::int64_t>(third) + 1);
  // What was in flight lands before the next request's first step.
  run.add(request_of({5, 6, 7}, 12));
  run.finish();
  EXPECT_EQ(run.answers[1], first.answers[0]);
}

TEST(StepInFlight, PromptsComeInBetween) {
  std::vector<Request> requests = mixed_requests(6);
  for (Request& request : requests) request.max_tokens += 10;
  const auto want = answers_of(tale(), requests, false);
  Flown run(tale());
  run.add(requests[0]);
  for (std::size_t i = 1; i < requests.size(); ++i) {
    for (int step = 0; step < 3; ++step) run.core.step();
    run.add(requests[i]);
  }
  run.finish();
  EXPECT_EQ(run.answers, want);
  EXPECT_GT(run.log->fed, 0);
}

/// Waiting for pages is no reason to wait for each step.
TEST(StepInFlight, GoesOnWhileOthersWaitForPages) {
  EngineOptions options;
  options.context = 128;
  options.sequences = 1;
  const std::vector<Request> requests(3, request_of({9, 8, 7}, 100));
  Flown run(tale(), true, options);
  for (const Request& request : requests) run.add(request);
  run.finish();
  EXPECT_EQ(run.answers[0], run.answers[2]);
  EXPECT_GT(run.log->fed, 250);
}

TEST(StepInFlight, ACancelledSequenceLeavesTheOthersAlone) {
  const std::vector<Request> requests = mixed_requests(5);
  const auto want = answers_of(tale(), requests, false);
  for (std::size_t victim = 0; victim < requests.size(); ++victim) {
    Flown run(tale());
    for (std::size_t i = 0; i < requests.size(); ++i)
      run.add(requests[i], [&, i](const Event&) {
        if (i == victim && run.answers[i].tokens.size() == 3)
          run.core.cancel(static_cast<std::int64_t>(i) + 1);
      });
    while (run.answers[victim].finished == 0) run.core.step();
    run.add(requests[victim]);  // takes the pages that a discarded row may still be writing
    run.finish();
    EXPECT_EQ(run.answers[victim].reason, FinishReason::cancelled);
    EXPECT_EQ(run.answers[victim].tokens.size(), 3u);
    for (std::size_t i = 0; i < requests.size(); ++i)
      EXPECT_EQ(run.answers[i == victim ? requests.size() : i], want[i]) << victim << " " << i;
  }
}

TEST(StepInFlight, AFailureCommitsNothingOfWhatIsInFlight) {
  const auto want = answers_of(tale(), {request_of({5, 6, 7}, 20)}, false)[0];
  for (const bool in_launch : {true, false}) {
    Flown run(tale());
    (in_launch ? run.log->fail_launch : run.log->fail_collect) = 5;
    run.add(request_of({5, 6, 7}, 20));
    run.add(request_of({9}, 20));
    run.finish();
    for (const Answer& answer : run.answers) {
      EXPECT_EQ(answer.reason, FinishReason::failed);
      EXPECT_EQ(answer.error, in_launch ? "launch 5" : "collect 5");
      // Launch 5 is made before 4 is collected; 4 is when 5 fails there.
      EXPECT_EQ(answer.tokens.size(), in_launch ? 3u : 4u);
    }
    // Nothing is left in flight: the engine serves the next request.
    EXPECT_EQ(std::ranges::count(run.log->calls, 'c'),
              std::ranges::count(run.log->calls, 'L') - (in_launch ? 1 : 0));
    run.add(request_of({5, 6, 7}, 20));
    run.finish();
    EXPECT_EQ(run.answers[2], want);
  }
}

/// The token of a row that can draw none is -1, and the step behind it has begun.
TEST(StepInFlight, LogitsThatAreNotFiniteEndOneSequence) {
  TinyModel tiny = tiny_model({DType::f32, {}, false});
  Tensor& table = tiny.at("model.embed_tokens.weight");
  std::vector<float> values = values_of(table);
  std::fill(values.begin() + 5 * 64, values.begin() + 6 * 64,
            std::numeric_limits<float>::quiet_NaN());
  table = tensor_of(DType::f32, table.shape, values);
  const auto model = load(tiny.write("flight-poison"));
  Request good = request_of({10, 20, 30}, 20), bad = good;
  good.sampling.logit_bias = {{5, -1e6f}};  // never drawn
  const auto want = answers_of(model, {good}, false)[0];
  bad.sampling.repetition_penalty = 1.5f;
  bad.sampling.logit_bias = {{5, 1e6f}};  // drawn first
  Flown run(model);
  run.add(good), run.add(bad), run.add(good);
  run.finish();
  EXPECT_EQ(run.answers[0], want);
  EXPECT_EQ(run.answers[2], want);
  EXPECT_EQ(run.answers[1].reason, FinishReason::failed);
  EXPECT_EQ(run.answers[1].tokens.size(), 1u);
}

TEST(StepInFlight, DraftsKeepNone) {
  std::vector<Request> requests = mixed_requests(3);
  EngineOptions options = Flown::some();
  options.prompt_lookup = 2;
  Flown run(tale(), true, options);
  for (const Request& request : requests) run.add(request);
  run.finish();
  EXPECT_EQ(run.log->fed, 0);
  EXPECT_EQ(run.log->most, 1u);
  EXPECT_EQ(run.answers, answers_of(tale(), requests, true));
}

}  // namespace
}  // namespace stepless::test
