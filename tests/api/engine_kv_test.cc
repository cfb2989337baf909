// Engines with a quantized or a rotating cache: a request's bytes are its own, and memory is what
// was promised.
#include <gtest/gtest.h>

#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Model demo_kv(const KvOptions& kv, int threads = 1, std::int64_t step_rows = 256) {
  ModelOptions options;
  options.threads = threads;
  options.step_rows = step_rows;
  options.kv = kv;
  return Model::open(models_dir() + "/tale-draft-4bit", options);
}

KvOptions kv_of(int bits, std::int64_t start, std::int64_t window, std::int64_t max_size = 0) {
  KvOptions options;
  options.bits = bits;
  options.start = start;
  options.window = window;
  options.max_size = max_size;
  return options;
}

Request long_request(std::size_t prompt, std::int64_t max_tokens) {
  Random random(4);
  Request r;
  for (std::size_t i = 0; i < prompt; ++i)
    r.tokens.push_back(static_cast<std::int32_t>(3 + random.below(4000)));
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  r.sampling.temperature = 0.8f;
  return r;
}

TEST(EngineKv, ABatchGivesEachRequestItsLoneBytes) {
  const std::vector<Request> requests = mixed_requests(9);
  for (const KvOptions& kv :
       {kv_of(8, 0, 0), kv_of(4, 64, 20), kv_of(16, 0, 0, 40), kv_of(8, 0, 0, 90)}) {
    SCOPED_TRACE(testing::Message() << kv.bits << " bits, most " << kv.max_size);
    const std::vector<Answer> alone = run_alone(demo_kv(kv), requests);
    EXPECT_EQ(run_batch(demo_kv(kv, 2), requests), alone);
    EXPECT_EQ(run_batch(demo_kv(kv, 2, 37), requests), alone) << "prompts cut elsewhere";
    for (const Answer& answer : alone) EXPECT_EQ(answer.error, "");
  }
}

TEST(EngineKv, AStartBeyondTheTextGivesTheBytesOf16Bits) {
  const std::vector<Request> requests = mixed_requests(6);
  EXPECT_EQ(run_batch(demo_kv(kv_of(4, 5000, 0)), requests), run_batch(demo_kv({}), requests));
}

TEST(EngineKv, ALongPromptTakesAQuarterOfTheMemory) {
  const Request request = long_request(1500, 40);
  const auto peak_bytes = [&](const KvOptions& kv) {
    const Model model = demo_kv(kv, 2, 64);
    EngineOptions options;
    options.context = 1540;
    Engine engine(model, options);
    EXPECT_EQ(run_batch(engine, {request})[0].reason, FinishReason::length);
    const EngineStats stats = engine.stats();
    EXPECT_EQ(stats.kv_pages_used + stats.kv_packed_pages_used, 0);
    EXPECT_LE(stats.kv_pages_peak, stats.kv_pages);
    EXPECT_LE(stats.kv_packed_pages_peak, stats.kv_packed_pages);
    const std::int64_t bytes =
        stats.kv_pages_peak * kKvPageTokens * model.info().kv_bytes_per_token +
        stats.kv_packed_pages_peak * kKvPageTokens * model.info().kv_packed_bytes_per_token;
    // Page 0 of each form belongs to nobody.
    EXPECT_LE(bytes, stats.kv_bytes);
    EXPECT_GE(bytes + 2 * kKvPageTokens * model.info().kv_bytes_per_token, stats.kv_bytes);
    return bytes;
  };
  const std::int64_t plain = peak_bytes({}), page = kKvPageTokens * 512;  // 2 layers of 2 x 64
  EXPECT_EQ(plain, 25 * page);
  // 4.5 bits of 16, the page being written, the chunk of 64 positions, and a border of each.
  EXPECT_LE(peak_bytes(kv_of(4, 0, 0)), 25 * page * 9 / 32 + 3 * page);
  EXPECT_LE(peak_bytes(kv_of(4, 0, 128)), 25 * page * 9 / 32 + 5 * page);
  EXPECT_LE(peak_bytes(kv_of(8, 0, 0)), 25 * page * 17 / 32 + 3 * page);
  EXPECT_LE(peak_bytes(kv_of(16, 0, 0, 200)), 7 * page);
}

TEST(EngineKv, ARotatingCacheTellsOnBeyondItsSizeInTheSameMemory) {
  const Model model = demo_kv(kv_of(16, 0, 0, 70), 2, 64);
  EngineOptions options;
  options.context = 1000;
  Engine engine(model, options);
  const Answer answer = run_batch(engine, {long_request(10, 900)})[0];
  EXPECT_EQ(answer.tokens.size(), 900u);
  EXPECT_EQ(answer.reason, FinishReason::length);
  EXPECT_LE(engine.stats().kv_pages, 5);
}

TEST(EngineKv, RequestsWaitForBothFormsAndAllEnd) {
  const Model model = demo_kv(kv_of(4, 0, 0), 2, 64);
  const ModelInfo& info = model.info();
  EngineOptions options;
  options.context = 400;
  // Little more than one of these requests takes.
  options.kv_bytes =
      kKvPageTokens * (4 * info.kv_bytes_per_token + 8 * info.kv_packed_bytes_per_token);
  Engine engine(model, options);
  const std::vector<Request> requests(5, long_request(300, 30));
  const std::vector<Answer> answers = run_batch(engine, requests);
  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.reason, FinishReason::length) << answer.error;
    EXPECT_EQ(answer.tokens, answers[0].tokens);
  }
  EXPECT_EQ(engine.stats().kv_pages_used, 0);
}

TEST(EngineKv, SaysWhichPagesARequestLacks) {
  const Model model = demo_kv(kv_of(4, 0, 0), 1, 64);
  const ModelInfo& info = model.info();
  EngineOptions options;
  options.kv_bytes =
      kKvPageTokens * (4 * info.kv_bytes_per_token + 3 * info.kv_packed_bytes_per_token);
  Engine engine(model, options);
  expect_error(ErrorCode::invalid_argument, "packed KV pages of 64 tokens; the cache has",
               [&] { engine.submit(long_request(1000, 30), [](const Event&) {}); });
}

TEST(EngineKv, TheModelSaysWhatAPositionTakes) {
  const ModelInfo plain = demo_kv({}).info();
  EXPECT_EQ(plain.kv_bytes_per_token, 512);
  EXPECT_EQ(plain.kv_packed_bytes_per_token, 0);
  EXPECT_EQ(plain.kv_format, "");
  const ModelInfo packed = demo_kv(kv_of(8, 0, 0)).info();
  EXPECT_EQ(packed.kv_bytes_per_token, 512);
  EXPECT_EQ(packed.kv_packed_bytes_per_token, 512 * 17 / 32);
  EXPECT_EQ(packed.kv_format, "affine 8-bit g64");
  const std::string explained = demo_kv(kv_of(8, 0, 0)).explain(1, 1000, 0, "decode", -1, false);
  EXPECT_NE(explained.find("attn_affine_bany"), std::string::npos);
  EXPECT_NE(explained.find("kvpack_affine"), std::string::npos);
}

}  // namespace
}  // namespace stepless::test
