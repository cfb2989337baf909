// Prefix reuse is invisible but for the work it saves: the same bytes with and without it, for
// requests together and one after the other, and no page is ever read for other tokens than its
// own.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "stepless/engine.hpp"
#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

constexpr std::int64_t kPage = 64;

std::vector<std::int32_t> random_tokens(std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(3 + random.below(4000));
  return tokens;
}

std::vector<std::int32_t> joined(std::vector<std::int32_t> a, const std::vector<std::int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Request request_of(std::vector<std::int32_t> tokens, std::int64_t max_tokens = 5) {
  Request r;
  r.tokens = std::move(tokens);
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  r.logprobs = 2;
  return r;
}

/// Requests that begin with the same `shared` tokens, one of them with nothing else.
std::vector<Request> family(std::int64_t shared, std::size_t count, std::uint64_t seed = 1) {
  const auto head = random_tokens(shared, seed);
  std::vector<Request> all;
  for (std::size_t i = 0; i < count; ++i) {
    const auto tail = random_tokens(static_cast<std::int64_t>(i % 4) * 31, seed + 100 + i);
    all.push_back(request_of(joined(head, tail)));
    all.back().sampling.seed = i;
    if (i % 2 == 1) all.back().sampling.temperature = 1;
  }
  return all;
}

/// Tokens that a request need not compute when `shared` of them are known.
std::int64_t reusable(const Request& r, std::int64_t shared) {
  return std::min(shared, static_cast<std::int64_t>(r.tokens.size()) - 1) / kPage * kPage;
}

EngineOptions options_for(std::size_t sequences, bool reuse = true) {
  EngineOptions options;
  options.context = 512;
  options.sequences = static_cast<std::int64_t>(sequences);
  options.prefix_reuse = reuse;
  return options;
}

std::vector<Answer> without_reuse(const std::vector<Request>& requests) {
  Engine engine(demo("tale-draft-4bit"), options_for(1, false));
  std::vector<Answer> answers;
  for (const Request& r : requests) answers.push_back(run_batch(engine, {r})[0]);
  EXPECT_EQ(engine.stats().cached_tokens, 0);
  EXPECT_EQ(engine.stats().kv_pages_cached, 0);
  return answers;
}

TEST(PrefixReuse, ABatchComputesASharedBeginningOnce) {
  for (const std::int64_t shared : {1, 63, 64, 65, 127, 128, 129, 200}) {
    SCOPED_TRACE(shared);
    const auto requests = family(shared, 6);
    const auto want = without_reuse(requests);
    struct Case {
      int threads;
      std::int64_t step_rows, prefill_rows;
    };
    for (const Case& c : {Case{1, 256, 0}, {1, 32, 0}, {2, 256, 0}, {1, 64, 7}}) {
      Engine engine(demo("tale-draft-4bit", c.threads, c.step_rows), [&] {
        EngineOptions options = options_for(6);
        options.prefill_rows = c.prefill_rows;
        return options;
      }());
      EXPECT_EQ(run_batch(engine, requests), want) << c.step_rows << ", " << c.prefill_rows;
      // The first computes all, the others what it did not.
      std::int64_t cached = 0, total = 0;
      for (const Request& r : requests) {
        if (&r != &requests[0]) cached += reusable(r, shared);
        total += static_cast<std::int64_t>(r.tokens.size());
      }
      EXPECT_EQ(engine.stats().cached_tokens, cached);
      EXPECT_EQ(engine.stats().prompt_tokens, total - cached);
      EXPECT_EQ(engine.stats().kv_pages_used, 0);
    }
  }
}

TEST(PrefixReuse, BeginningsOfBeginningsAreShared) {
  // 100 tokens in common, then 100 more for half of them, then their own.
  const auto a = random_tokens(100, 1), b = joined(a, random_tokens(100, 2));
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 8; ++i)
    requests.push_back(request_of(joined(i % 2 == 0 ? a : b, random_tokens(40, 10 + i))));
  const auto want = without_reuse(requests);
  for (const std::int64_t step_rows : {16, 256}) {
    Engine engine(demo("tale-draft-4bit", 1, step_rows), options_for(8));
    EXPECT_EQ(run_batch(engine, requests), want);
    EXPECT_EQ(engine.stats().cached_tokens, 3 * 64 + 64 + 3 * 192);
  }
}

TEST(PrefixReuse, RequestsOneAfterTheOtherReuseWhatIsThere) {
  const auto requests = family(150, 6);
  const auto want = without_reuse(requests);
  Engine engine(demo("tale-draft-4bit", 1, 48), options_for(4));
  std::int64_t cached = 0;
  for (int round = 0; round < 2; ++round)
    for (std::size_t i = 0; i < requests.size(); ++i) {
      std::int64_t reported = -1, finished = -1;
      Answer answer;
      engine.submit(requests[i], [&](const Event& event) {
        answer.take(event);
        if (event.kind == Event::Kind::prefill) reported = event.cached_tokens;
        if (event.kind == Event::Kind::finished) finished = event.cached_tokens;
      });
      engine.wait_idle();
      EXPECT_EQ(answer, want[i]);
      const auto length = static_cast<std::int64_t>(requests[i].tokens.size());
      const std::int64_t expected = reusable(requests[i], round > 0 ? length : i > 0 ? 150 : 0);
      if (expected > 0 || round == 0) {
        EXPECT_GE(reported, expected) << i;
      }
      EXPECT_EQ(reported, finished);
      EXPECT_LT(reported, length) << "the last token is computed";
      EXPECT_EQ(answer.prompt_done.back(), length);
      cached += reported;
      EXPECT_EQ(engine.stats().cached_tokens, cached);
    }
}

TEST(PrefixReuse, TheSamePromptManyTimes) {
  for (const std::int64_t length : {64, 65, 128, 130}) {
    std::vector<Request> requests(5, request_of(random_tokens(length, 3), 8));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      requests[i].sampling.seed = i;
      requests[i].sampling.temperature = 1;
    }
    Engine engine(demo("tale-draft-4bit", 2, 64), options_for(5));
    EXPECT_EQ(run_batch(engine, requests), without_reuse(requests));
    EXPECT_EQ(engine.stats().cached_tokens, 4 * ((length - 1) / kPage * kPage));
  }
}

/// Chat: the next turn begins with the last prompt and its answer.
TEST(PrefixReuse, AFollowUpTurnReusesTheAnswer) {
  for (const std::int64_t drawn : {63, 64, 65, 100}) {
    Engine engine(demo("tale-draft-4bit", 1, 64), options_for(1));
    const Request first = request_of(random_tokens(90, 8), drawn);
    const Answer answer = run_batch(engine, {first})[0];
    ASSERT_EQ(static_cast<std::int64_t>(answer.tokens.size()), drawn);
    const Request second =
        request_of(joined(joined(first.tokens, answer.tokens), random_tokens(30, 9)), 20);
    EXPECT_EQ(run_batch(engine, {second})[0], without_reuse({second})[0]);
    // The last token drawn was never computed.
    EXPECT_EQ(engine.stats().cached_tokens, (90 + drawn - 1) / kPage * kPage);
  }
}

/// hardening S13: one other token, anywhere before or in a page, and the page is not read.
TEST(PrefixReuse, APageIsReadForItsOwnTokensOnly) {
  const auto tokens = random_tokens(200, 4);
  for (const std::size_t at : {0, 1, 62, 63, 64, 65, 127, 128, 191, 192, 199}) {
    SCOPED_TRACE(at);
    Engine engine(demo("tale-draft-4bit", 1, 256), options_for(2));
    const Request first = request_of(tokens);
    run_batch(engine, {first});
    Request other = first;
    other.tokens[at] ^= 1;
    EXPECT_EQ(run_batch(engine, {other})[0], without_reuse({other})[0]);
    EXPECT_EQ(engine.stats().cached_tokens, static_cast<std::int64_t>(at) / kPage * kPage);
    // The same page of tokens at another place is another page.
    const std::int64_t before = engine.stats().cached_tokens;
    const Request moved = request_of({tokens.begin() + 64, tokens.end()});
    EXPECT_EQ(run_batch(engine, {moved})[0], without_reuse({moved})[0]);
    EXPECT_EQ(engine.stats().cached_tokens, before);
  }
}

TEST(PrefixReuse, PagesAreGivenUpWhenOthersNeedThem) {
  const Model model = demo("tale-draft-4bit", 1, 32);
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 24; ++i) {
    const auto some = family(70 + static_cast<std::int64_t>(i % 3) * 64, 4, i % 5);
    requests.push_back(some[i % 4]);
  }
  const auto want = without_reuse(requests);
  for (const std::int64_t pages : {5, 6, 9, 16}) {
    SCOPED_TRACE(pages);
    EngineOptions options = options_for(1);
    options.kv_bytes = model.info().kv_bytes_per_token * kPage * pages;
    Engine engine(model, options);
    EXPECT_EQ(engine.stats().kv_pages, pages);
    EXPECT_EQ(run_batch(engine, requests), want);
    for (std::size_t i = 0; i < requests.size(); ++i)
      for (int again = 0; again < 2; ++again)
        EXPECT_EQ(run_batch(engine, {requests[i]})[0], want[i]);
    const EngineStats stats = engine.stats();
    EXPECT_GT(stats.cached_tokens, 0);
    EXPECT_EQ(stats.kv_pages_used, 0);
    EXPECT_LE(stats.kv_pages_cached, pages);
    EXPECT_GT(stats.kv_pages_cached, 0);
  }
}

/// Requests of one size on a pool that holds one of them finish in the order they came, whatever is
/// known of the later ones.
TEST(PrefixReuse, NoneOvertakesWhenPagesAreShort) {
  const Model model = demo("tale-draft-4bit", 1, 64);
  EngineOptions options = options_for(1);
  options.kv_bytes = model.info().kv_bytes_per_token * kPage * 4;
  Engine engine(model, options);
  const Request known = request_of(random_tokens(190, 1), 20);
  run_batch(engine, {known});
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < 6; ++i)
    engine.submit(i % 2 == 0 ? request_of(random_tokens(190, 50 + i), 20) : known,
                  [&order, i](const Event& event) {
                    if (event.kind == Event::Kind::finished) order.push_back(i);
                  });
  engine.wait_idle();
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
}

/// An id as soon as submit() has returned it: events may come before.
std::int64_t given(const std::atomic<std::int64_t>& id) {
  while (id == 0) std::this_thread::yield();
  return id;
}

TEST(PrefixReuse, ThoseThatWaitGoOnWhenTheFirstIsCancelled) {
  const auto requests = family(200, 5);
  const auto want = without_reuse(requests);
  for (const std::int64_t at : {16, 64, 80, 192}) {
    SCOPED_TRACE(at);
    Engine engine(demo("tale-draft-4bit", 1, 16), options_for(5));
    std::vector<Answer> answers(5);
    std::atomic<std::int64_t> first = 0;
    for (std::size_t i = 0; i < 5; ++i) {
      const std::int64_t id = engine.submit(requests[i], [&, i, at](const Event& event) {
        answers[i].take(event);
        if (i == 0 && event.kind == Event::Kind::prefill && event.prompt_done >= at)
          engine.cancel(given(first));
      });
      if (i == 0) first = id;
    }
    engine.wait_idle();
    EXPECT_EQ(answers[0].reason, FinishReason::cancelled);
    for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(answers[i], want[i]) << i;
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
  }
}

TEST(PrefixReuse, OneThatWaitsMayBeCancelled) {
  const auto requests = family(200, 4);
  const auto want = without_reuse(requests);
  Engine engine(demo("tale-draft-4bit", 1, 16), options_for(4));
  std::vector<Answer> answers(4);
  std::array<std::atomic<std::int64_t>, 4> ids{};
  for (std::size_t i = 0; i < 4; ++i)
    ids[i] = engine.submit(requests[i], [&, i](const Event& event) {
      answers[i].take(event);
      if (i == 0 && event.kind == Event::Kind::prefill) engine.cancel(given(ids[2]));
    });
  engine.wait_idle();
  EXPECT_EQ(answers[2].reason, FinishReason::cancelled);
  for (const std::size_t i : {0, 1, 3}) EXPECT_EQ(answers[i], want[i]) << i;
}

TEST(PrefixReuse, ARequestLargerThanThePoolIsRefusedWithBothCounts) {
  const Model model = demo("tale-draft-4bit");
  EngineOptions options = options_for(1);
  options.kv_bytes = model.info().kv_bytes_per_token * kPage * 3;
  Engine engine(model, options);
  const Request fits = request_of(random_tokens(190, 1), 2);
  run_batch(engine, {fits});
  // What is known of a prompt does not count: it may be gone when the request starts.
  expect_error(ErrorCode::invalid_argument, "need 4 KV pages of 64 tokens; the cache has 3",
               [&] { engine.submit(request_of(fits.tokens, 3), [](const Event&) { FAIL(); }); });
  engine.wait_idle();
}

}  // namespace
}  // namespace stepless::test
