// Batching is invisible: every request gives the same bytes alone and in any company, on any
// number of threads, however its prompt is cut.
#include "stepless/engine.hpp"

#include <gtest/gtest.h>
#include <atomic>

#include <algorithm>
#include <cmath>
#include <thread>

#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

const std::vector<Answer>& alone() {
  static const auto answers = run_alone(demo("tale-draft-4bit"), mixed_requests(17));
  return answers;
}

void expect_same(const std::vector<Answer>& got, const std::vector<Answer>& want) {
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], want[i]) << "request " << i;
}

TEST(Engine, AnswersAreWhole) {
  const auto requests = mixed_requests(17);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Answer& answer = alone()[i];
    EXPECT_EQ(answer.finished, 1);
    EXPECT_EQ(answer.reason, i == 6 ? answer.reason : FinishReason::length) << i;
    if (i != 6) {
      EXPECT_EQ(static_cast<std::int64_t>(answer.tokens.size()), requests[i].max_tokens);
    }
    EXPECT_EQ(answer.top_ids.size(),
              answer.tokens.size() * static_cast<std::size_t>(requests[i].logprobs));
    EXPECT_EQ(answer.prompt_done.back(), static_cast<std::int64_t>(requests[i].tokens.size()));
    EXPECT_TRUE(std::is_sorted(answer.prompt_done.begin(), answer.prompt_done.end()));
  }
  // Different seeds and prompts draw different texts: a batch that mixed them up would show.
  for (std::size_t i = 1; i < 17; ++i) EXPECT_NE(alone()[i].tokens, alone()[i - 1].tokens);
}

TEST(Engine, BatchesGiveTheBytesOfEachPromptAlone) {
  struct Case {
    int threads;
    std::int64_t step_rows;
    std::vector<std::size_t> counts;
  };
  const Case cases[] = {
      {1, 8, {1, 3, 17}}, {1, 32, {3, 17}}, {1, 256, {17}}, {2, 32, {1, 3}}, {2, 256, {17}}};
  for (const Case& c : cases) {
    const Model model = demo("tale-draft-4bit", c.threads, c.step_rows);
    for (const std::size_t count : c.counts) {
      SCOPED_TRACE(testing::Message() << count << " prompts, " << c.threads << " threads, "
                                      << c.step_rows << " rows a step");
      expect_same(run_batch(model, mixed_requests(count)), alone());
    }
  }
}

TEST(Engine, TheLargerDemoInABatch) {
  const auto requests = mixed_requests(5);
  const auto want = run_alone(demo("tale-4bit"), requests);
  expect_same(run_batch(demo("tale-4bit", 2, 24), requests), want);
}

TEST(Engine, PromptRowsPerStepChangeNothing) {
  const Model model = demo("tale-draft-4bit", 1, 64);
  for (const std::int64_t prefill_rows : {1, 7, 64}) {
    EngineOptions options;
    options.context = 512;
    options.sequences = 3;
    options.prefill_rows = prefill_rows;
    Engine engine(model, options);
    const auto got = run_batch(engine, mixed_requests(3));
    expect_same(got, alone());
    // 63 tokens in steps of at most prefill_rows.
    EXPECT_GE(static_cast<std::int64_t>(got[1].prompt_done.size()), 63 / prefill_rows);
  }
}

TEST(Engine, ASmallPagePoolQueuesAndChangesNothing) {
  const Model model = demo("tale-draft-4bit", 1, 32);
  EngineOptions options;
  options.context = 512;
  options.kv_bytes = model.info().kv_bytes_per_token * 64 * 5;  // the longest needs 4 pages
  Engine engine(model, options);
  EXPECT_EQ(engine.stats().kv_pages, 5);
  expect_same(run_batch(engine, mixed_requests(17)), alone());
  EXPECT_EQ(engine.stats().kv_pages_used, 0);
}

TEST(Engine, TheSameSeedDrawsTheSameTextAndAnotherDoesNot) {
  const Model model = demo("tale-draft-4bit");
  Request r = mixed_requests(2)[1];
  r.sampling.top_k = 0, r.sampling.top_p = 1, r.sampling.temperature = 1;
  Request other = r;
  other.sampling.seed += 1;
  const auto answers = run_batch(model, {r, r, other});
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_NE(answers[0].tokens, answers[2].tokens);
}

TEST(Engine, CancellingOneLeavesTheOthersBytes) {
  for (const int threads : {1, 2}) {
    const Model model = demo("tale-draft-4bit", threads, threads == 1 ? 32 : 256);
    EngineOptions options;
    options.context = 512;
    options.sequences = 17;
    Engine engine(model, options);
    const auto requests = mixed_requests(17);
    std::vector<Answer> answers(17);
    std::vector<std::int64_t> ids(17);
    std::atomic<bool> submitted = false;
    for (std::size_t i = 0; i < 17; ++i)
      ids[i] = engine.submit(requests[i], [&, i](const Event& event) {
        answers[i].take(event);
        submitted.wait(false);  // all numbers are known, however slow this thread is
        // Mid-decode, mid-prompt, and one that has not begun.
        if (i == 0 && answers[0].tokens.size() == 3)
          for (const std::size_t other : {0, 3, 8}) engine.cancel(ids[other]);
      });
    submitted = true;
    submitted.notify_all();
    engine.wait_idle();
    for (std::size_t i = 0; i < 17; ++i) {
      if (i != 0 && i != 3 && i != 8) {
        EXPECT_EQ(answers[i], alone()[i]) << "request " << i;
        continue;
      }
      EXPECT_EQ(answers[i].reason, FinishReason::cancelled) << i;
      EXPECT_EQ(answers[i].finished, 1);
      EXPECT_LT(answers[i].tokens.size(), alone()[i].tokens.size());
      EXPECT_TRUE(std::equal(answers[i].tokens.begin(), answers[i].tokens.end(),
                             alone()[i].tokens.begin()));
    }
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
    EXPECT_EQ(run_batch(engine, {requests[3]})[0], alone()[3]) << "the pages are clean";
  }
}

TEST(Engine, CancelOfUnknownNumbersDoesNothing) {
  Engine engine(demo("tale-draft-4bit"));
  for (const std::int64_t id : {-1, 0, 1, 2, 99}) engine.cancel(id);
  const auto request = mixed_requests(1)[0];
  EXPECT_EQ(run_batch(engine, {request})[0], alone()[0]);
  engine.cancel(1);
  EXPECT_EQ(run_batch(engine, {request})[0], alone()[0]);
}

TEST(Engine, EndingTheEngineCancelsWhatRuns) {
  Answer running, queued;
  {
    EngineOptions options;
    options.context = 64;
    Engine engine(demo("tale-draft-4bit"), options);
    Request r;
    r.tokens = {5, 6};
    r.max_tokens = 0;
    r.ignore_eos = true;
    engine.submit(r, [&](const Event& event) { running.take(event); });
    engine.submit(r, [&](const Event& event) { queued.take(event); });
  }
  EXPECT_EQ(running.finished, 1);
  EXPECT_EQ(queued.finished, 1);
  EXPECT_EQ(queued.reason, FinishReason::cancelled);
}

TEST(Engine, SubmitsTogetherOrNotAtAll) {
  EngineOptions options;
  options.context = 64;
  options.sequences = 8;
  Engine engine(demo("tale-draft-4bit"), options);
  std::vector<Answer> answers(8);
  const auto eight = [&](std::int32_t last) {
    std::vector<Engine::Submission> all;
    for (std::size_t i = 0; i < 8; ++i) {
      Request r;
      r.tokens = {i == 7 ? last : 5};
      r.max_tokens = 6;
      r.ignore_eos = true;
      all.push_back({r, [&, i](const Event& event) { answers[i].take(event); }});
    }
    return all;
  };
  expect_error(ErrorCode::invalid_argument, "token 4096", [&] { engine.submit(eight(4096)); });
  engine.wait_idle();
  EXPECT_EQ(engine.stats().generated_tokens, 0);
  const std::vector<std::int64_t> ids = engine.submit(eight(6));
  engine.wait_idle();
  EXPECT_TRUE(std::ranges::is_sorted(ids)) << testing::PrintToString(ids);
  for (const Answer& each : answers) EXPECT_EQ(each.finished, 1);
  EXPECT_EQ(engine.stats().generated_tokens, 8 * 6);
  EXPECT_EQ(engine.stats().steps, 6);  // one more if one of them had come late
}

TEST(Engine, SubmittingFromSeveralThreads) {
  const Model model = demo("tale-draft-4bit", 1, 32);
  EngineOptions options;
  options.context = 512;
  options.sequences = 17;
  Engine engine(model, options);
  const auto requests = mixed_requests(12);
  std::vector<Answer> answers(12);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < 12; i += 3)
        engine.submit(requests[i], [&, i](const Event& event) { answers[i].take(event); });
    });
  for (std::thread& thread : threads) thread.join();
  engine.wait_idle();
  expect_same(answers, alone());
}

TEST(Engine, MaxTokensZeroRunsToTheEndOfTheContext) {
  EngineOptions options;
  options.context = 40;
  Engine engine(demo("tale-draft-4bit"), options);
  Request r;
  r.tokens = {2870, 701, 261, 536};
  r.max_tokens = 0;
  r.ignore_eos = true;
  const Answer answer = run_batch(engine, {r})[0];
  EXPECT_EQ(answer.tokens.size(), 36u);
  EXPECT_EQ(answer.reason, FinishReason::length);
}

TEST(Engine, StopTokensAndStopStringsEndAnAnswer) {
  const Model model = demo("tale-draft-4bit");
  Request r;
  r.tokens = {2870, 701, 261, 536, 447, 310, 261, 648};
  r.max_tokens = 24;
  const Answer whole = run_batch(model, {r})[0];
  ASSERT_GT(whole.tokens.size(), 8u);
  EXPECT_EQ(whole.text, model.decode(whole.tokens, false));
  Request at_token = r;
  at_token.extra_eos = {whole.tokens[5]};
  const auto first = std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[5]);
  const Answer cut = run_batch(model, {at_token})[0];
  EXPECT_EQ(cut.reason, FinishReason::stop);
  EXPECT_EQ(cut.tokens, std::vector<std::int32_t>(whole.tokens.begin(), first));
  EXPECT_EQ(cut.text, model.decode(cut.tokens, false));
  Request at_text = r;
  at_text.stop = {whole.text.substr(9, 6)};
  const Answer stopped = run_batch(model, {at_text})[0];
  EXPECT_EQ(stopped.reason, FinishReason::stop);
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(at_text.stop[0])));
}

TEST(Engine, LogprobsAreTheBestAndInOrder) {
  Request r;
  r.tokens = {2870, 701, 261};
  r.max_tokens = 4;
  r.logprobs = 4096;
  r.ignore_eos = true;
  std::vector<TokenLogprobs> all;
  Engine engine(demo("tale-draft-4bit"));
  engine.submit(r, [&](const Event& event) {
    if (event.kind == Event::Kind::token) all.push_back(event.logprobs);
  });
  engine.wait_idle();
  ASSERT_EQ(all.size(), 4u);
  for (const TokenLogprobs& one : all) {
    ASSERT_EQ(one.top.size(), 4096u);
    EXPECT_EQ(one.top[0].second, one.chosen) << "greedy";
    double sum = 0;
    for (std::size_t i = 0; i < one.top.size(); ++i) {
      sum += std::exp(static_cast<double>(one.top[i].second));
      if (i > 0) {
        EXPECT_GE(one.top[i - 1].second, one.top[i].second);
      }
    }
    EXPECT_NEAR(sum, 1, 1e-4);
  }
}

TEST(Engine, StatsAddUp) {
  Engine engine(demo("tale-draft-4bit", 1, 32));
  const auto requests = mixed_requests(3);
  run_batch(engine, requests);
  const EngineStats stats = engine.stats();
  std::int64_t prompt = 0, drawn = 0, longest = 0;
  for (const Request& r : requests) {
    prompt += static_cast<std::int64_t>(r.tokens.size()), drawn += r.max_tokens;
    longest = std::max(longest, r.max_tokens);
  }
  EXPECT_EQ(stats.prompt_tokens, prompt);
  EXPECT_EQ(stats.generated_tokens, drawn);
  EXPECT_GE(stats.steps, longest);  // a step draws one token of a sequence
  EXPECT_EQ(stats.kv_pages, 2048 / 64);
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_GT(stats.prefill_seconds, 0);
  EXPECT_GT(stats.decode_seconds, 0);
  EXPECT_GT(stats.floor_us_per_token, 0);
}

TEST(Engine, RefusesWhatCannotRun) {
  const Model model = demo("tale-draft-4bit", 1, 8);
  EngineOptions options;
  options.context = 2049;
  expect_error(ErrorCode::invalid_argument, "context: 2049", [&] { Engine e(model, options); });
  options.context = 0;
  options.kv_bytes = 1;
  expect_error(ErrorCode::exhausted, "one page of 64 positions", [&] { Engine e(model, options); });
  options.kv_bytes = INT64_MAX;
  expect_error(ErrorCode::exhausted, "KV cache", [&] { Engine e(model, options); });
  expect_error(ErrorCode::exhausted, "a step of",
               [&] { Engine e(demo("tale-draft-4bit", 1, std::int64_t{1} << 36)); });
  ModelOptions elsewhere;
  elsewhere.machine = "aarch64";
  const Model foreign = Model::open(models_dir() + "/tale-draft-4bit", elsewhere);
  expect_error(ErrorCode::unsupported, "planned for aarch64", [&] { Engine e(foreign); });
  Engine engine(model);
  const auto submit = [&](const Request& r) { engine.submit(r, [](const Event&) { FAIL(); }); };
  expect_error(ErrorCode::invalid_argument, "prompt: empty", [&] { submit({}); });
  Request r;
  r.tokens = {4096};
  expect_error(ErrorCode::invalid_argument, "token 4096", [&] { submit(r); });
  r.tokens.assign(2048, 5);
  expect_error(ErrorCode::invalid_argument, "2048", [&] { submit(r); });
  engine.wait_idle();
}

TEST(FinishReasons, HaveNames) {
  EXPECT_EQ(to_string(FinishReason::none), "none");
  EXPECT_EQ(to_string(FinishReason::stop), "stop");
  EXPECT_EQ(to_string(FinishReason::length), "length");
  EXPECT_EQ(to_string(FinishReason::cancelled), "cancelled");
  EXPECT_EQ(to_string(FinishReason::failed), "failed");
}

}  // namespace
}  // namespace stepless::test
