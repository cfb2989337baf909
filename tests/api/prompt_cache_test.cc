// A prompt computed once, kept in a file, and continued in another engine: the bytes of the whole
// prompt computed at once.
#include "stepless/prompt_cache.hpp"

#include <gtest/gtest.h>

#include "stepless/engine.hpp"
#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

std::vector<std::int32_t> random_tokens(std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(3 + random.below(4000));
  return tokens;
}

Request request_of(const std::vector<std::int32_t>& head, const std::vector<std::int32_t>& tail,
                   std::int64_t max_tokens = 8) {
  Request r;
  r.tokens = head;
  r.tokens.insert(r.tokens.end(), tail.begin(), tail.end());
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  r.logprobs = 2;
  return r;
}

EngineOptions options_for(std::int64_t context = 512, bool reuse = true) {
  EngineOptions options;
  options.context = context;
  options.sequences = 2;
  options.prefix_reuse = reuse;
  return options;
}

std::string path() { return scratch_dir("api-prompt-cache") + "/cache.safetensors"; }

void write(const Model& model, const std::vector<std::int32_t>& tokens) {
  Engine engine(model, options_for());
  run_batch(engine, {request_of(tokens, {}, 1)});
  engine.save_prompt_cache(tokens, path());
}

TEST(PromptCache, ContinuingAFileHasTheBytesOfTheWholePrompt) {
  for (const std::int64_t length : {1, 63, 64, 65, 128, 200}) {
    SCOPED_TRACE(length);
    const auto head = random_tokens(length, 1);
    write(demo("tale-draft-4bit", 2, 48), head);
    const Model model = demo("tale-draft-4bit", 1, 64);
    const PromptCache cache = PromptCache::open(path(), model);
    EXPECT_EQ(cache.tokens(), head);
    EXPECT_EQ(cache.stored_tokens(), length / 64 * 64);
    Engine plain(model, options_for(512, false)), engine(model, options_for());
    engine.load_prompt_cache(cache);
    EXPECT_EQ(engine.stats().kv_pages_cached, length / 64);
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
    std::vector<Request> requests;
    for (const std::int64_t more : {1, 5, 64, 130})
      requests.push_back(request_of(head, random_tokens(more, 2)));
    EXPECT_EQ(run_batch(engine, requests), run_batch(plain, requests));
    EXPECT_GE(engine.stats().cached_tokens, 4 * (length / 64 * 64));
  }
}

TEST(PromptCache, TheWholePromptAgainComputesItsLastToken) {
  const auto head = random_tokens(128, 1);
  const Model model = demo("tale-draft-4bit");
  write(model, head);
  Engine engine(model, options_for());
  engine.load_prompt_cache(PromptCache::open(path(), model));
  EXPECT_EQ(run_batch(engine, {request_of(head, {})}), run_alone(model, {request_of(head, {})}));
  EXPECT_EQ(engine.stats().cached_tokens, 64);
}

TEST(PromptCache, LoadedTwiceOrKnownAlreadyTakesNoMorePages) {
  const auto head = random_tokens(200, 1);
  const Model model = demo("tale-draft-4bit");
  write(model, head);
  const PromptCache cache = PromptCache::open(path(), model);
  Engine engine(model, options_for());
  for (int i = 0; i < 2; ++i) {
    engine.load_prompt_cache(cache);
    EXPECT_EQ(engine.stats().kv_pages_cached, 3);
  }
  Engine other(model, options_for());
  run_batch(other, {request_of({head.begin(), head.begin() + 70}, {}, 1)});
  EXPECT_EQ(other.stats().kv_pages_cached, 1);
  other.load_prompt_cache(cache);
  EXPECT_EQ(other.stats().kv_pages_cached, 3);
  EXPECT_EQ(other.stats().kv_pages_used, 0);
}

TEST(PromptCache, WhatIsLoadedGivesWayLikeAnyOther) {
  const auto head = random_tokens(200, 1);
  const Model model = demo("tale-draft-4bit");
  write(model, head);
  EngineOptions options = options_for(256);
  options.kv_bytes = model.info().kv_bytes_per_token * 64 * 4;
  Engine engine(model, options);
  engine.load_prompt_cache(PromptCache::open(path(), model));
  const std::vector<Request> others = {request_of(random_tokens(200, 5), {}), request_of(head, {})};
  EXPECT_EQ(run_batch(engine, others), run_alone(model, others));
  EXPECT_EQ(engine.stats().cached_tokens, 0);
}

TEST(PromptCache, SavingFromARunningEngineLeavesTheOthersBytes) {
  const Model model = demo("tale-draft-4bit", 1, 16);
  const auto head = random_tokens(130, 1);
  Engine engine(model, options_for());
  run_batch(engine, {request_of(head, {}, 1)});
  const Request running = request_of(random_tokens(150, 3), {}, 60);
  Answer answer;
  engine.submit(running, [&](const Event& event) { answer.take(event); });
  engine.save_prompt_cache(head, path());
  engine.load_prompt_cache(PromptCache::open(path(), model));
  engine.wait_idle();
  EXPECT_EQ(answer, run_alone(model, {running})[0]);
  EXPECT_EQ(PromptCache::open(path(), model).tokens(), head);
}

TEST(PromptCache, WhatCannotBeDoneIsRefused) {
  const auto head = random_tokens(200, 1);
  const Model model = demo("tale-draft-4bit");
  write(model, head);
  const PromptCache cache = PromptCache::open(path(), model);
  Engine off(model, options_for(512, false));
  expect_error(ErrorCode::invalid_argument, "without prefix reuse",
               [&] { off.load_prompt_cache(cache); });
  run_batch(off, {request_of(head, {}, 1)});
  expect_error(ErrorCode::invalid_argument, "without prefix reuse",
               [&] { off.save_prompt_cache(head, path()); });
  Engine engine(model, options_for());
  expect_error(ErrorCode::invalid_argument, "0 of 3 KV pages of the prompt are computed",
               [&] { engine.save_prompt_cache(head, path()); });
  expect_error(ErrorCode::invalid_argument, "are computed",
               [&] { engine.save_prompt_cache({}, path()); });
  EngineOptions small = options_for();
  small.kv_bytes = model.info().kv_bytes_per_token * 64 * 2;
  Engine tight(model, small);
  expect_error(ErrorCode::exhausted, "3 KV pages of 64 tokens; 2 of the cache's 2 are free",
               [&] { tight.load_prompt_cache(cache); });
  EXPECT_EQ(tight.stats().kv_pages_used + tight.stats().kv_pages_cached, 0);
  Engine other(demo("tale-draft-4bit"), options_for());
  expect_error(ErrorCode::invalid_argument, "opened for another model",
               [&] { other.load_prompt_cache(cache); });
  expect_error(ErrorCode::corrupt, "made with model_digest",
               [&] { PromptCache::open(path(), demo("tale-4bit")); });
}

}  // namespace
}  // namespace stepless::test
