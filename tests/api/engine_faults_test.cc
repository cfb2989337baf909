// Requests that fail: alone, with a message, and without a trace in the pages they leave.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "stepless/engine.hpp"
#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Model open_tiny(const TinyModel& tiny, const std::string& name, int threads = 1) {
  ModelOptions options;
  options.threads = threads;
  options.step_rows = 16;
  return Model::open(tiny.write(name), options);
}

Request tiny_request(std::vector<std::int32_t> tokens, std::int64_t max_tokens = 20) {
  Request r;
  r.tokens = std::move(tokens);
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  return r;
}

/// A model whose token 5 is not a number; nothing else knows.
TinyModel with_poison() {
  TinyModel tiny = tiny_model({DType::f32, {}, false});
  Tensor& table = tiny.at("model.embed_tokens.weight");
  std::vector<float> values = values_of(table);
  std::fill(values.begin() + 5 * 64, values.begin() + 6 * 64, kNan);
  table = tensor_of(DType::f32, table.shape, values);
  return tiny;
}

TEST(EngineFaults, ARequestWithoutFiniteLogitsFailsAlone) {
  const Model model = open_tiny(with_poison(), "poison");
  std::vector<Request> good;
  for (std::int32_t i = 0; i < 6; ++i) {
    Request r = tiny_request({10 + i, 20, 30 + i});
    r.sampling.logit_bias = {{5, -1e6f}};  // never drawn
    good.push_back(r);
  }
  const auto want = run_alone(model, good);
  std::vector<Request> mixed = good;
  mixed.insert(mixed.begin() + 2, tiny_request({7, 5, 9}));
  mixed.push_back(tiny_request({5}));
  EngineOptions options;
  options.sequences = 8;
  Engine engine(model, options);
  for (int round = 0; round < 2; ++round) {  // the second on pages that held NaN
    const auto got = run_batch(engine, mixed);
    for (const std::size_t bad : {2, 7}) {
      EXPECT_EQ(got[bad].reason, FinishReason::failed);
      EXPECT_TRUE(got[bad].tokens.empty());
      EXPECT_NE(got[bad].error.find("not finite"), std::string::npos) << got[bad].error;
    }
    for (std::size_t i = 0; i < good.size(); ++i)
      EXPECT_EQ(got[i < 2 ? i : i + 1], want[i]) << "request " << i << ", round " << round;
  }
  EXPECT_EQ(engine.stats().kv_pages_used, 0);
}

TEST(EngineFaults, PagesThatHeldNanAreCleanForTheNext) {
  const Model model = open_tiny(with_poison(), "poison-pages");
  EngineOptions options;
  options.context = 128;  // two pages, used by one request after another
  Engine engine(model, options);
  Request good = tiny_request({10, 20, 30}, 80);
  good.sampling.logit_bias = {{5, -1e6f}};
  const Answer want = run_batch(engine, {good})[0];
  EXPECT_EQ(want.tokens.size(), 80u);
  std::vector<std::int32_t> poison(100, 5);
  EXPECT_EQ(run_batch(engine, {tiny_request(poison)})[0].reason, FinishReason::failed);
  EXPECT_EQ(run_batch(engine, {good})[0], want);
}

TEST(EngineFaults, ANormThatIsNoNumberFailsEveryRequest) {
  TinyModel tiny = tiny_model();
  std::vector<float> values(64, 1);
  values[13] = kNan;
  tiny.at("model.norm.weight") = tensor_of(DType::bf16, {64}, values);
  const Model model = open_tiny(tiny, "nan-norm");
  for (const Answer& answer : run_batch(model, {tiny_request({1}), tiny_request({2, 3})})) {
    EXPECT_EQ(answer.reason, FinishReason::failed);
    EXPECT_EQ(answer.finished, 1);
    EXPECT_TRUE(answer.tokens.empty());
  }
}

/// hardening L7: the file shrinks while it is mapped.
TEST(EngineFaults, AFileCutWhileInUseEndsRequestsWithAnError) {
  const std::string folder = tiny_model({DType::f32, {}, false}).write("cut");
  const std::string file = folder + "/model.safetensors";
  ModelOptions options;
  options.threads = 2;
  Engine engine(Model::open(folder, options));
  Answer running;
  std::vector<Answer> other(1);
  engine.submit(tiny_request({1, 2, 3}, 200), [&](const Event& event) {
    running.take(event);
    if (running.tokens.size() == 4) fs::resize_file(file, 8192);
  });
  engine.submit(tiny_request({1, 2, 3}, 200), [&](const Event& event) { other[0].take(event); });
  engine.wait_idle();
  const auto later = run_batch(engine, {tiny_request({4})});
  for (const Answer* answer :
       std::initializer_list<const Answer*>{&running, &other[0], &later[0]}) {
    EXPECT_EQ(answer->reason, FinishReason::failed);
    EXPECT_NE(answer->error.find("model.safetensors"), std::string::npos) << answer->error;
  }
  EXPECT_EQ(running.tokens.size(), 4u) << "nothing computed from a cut file is reported";
  EXPECT_EQ(engine.stats().kv_pages_used, 0);
  expect_error(ErrorCode::corrupt, "model.safetensors", [&] { Model::open(folder); });
}

TEST(EngineFaults, AModelWithoutTokenizerTakesAndGivesIds) {
  const Model model = open_tiny(tiny_model(), "no-text");
  EXPECT_FALSE(model.info().has_tokenizer);
  const Answer answer = run_batch(model, {tiny_request({1, 2, 3}, 5)})[0];
  EXPECT_EQ(answer.tokens.size(), 5u);
  EXPECT_EQ(answer.text, "");
  expect_error(ErrorCode::unsupported, "has no tokenizer",
               [&] { model.encode("a", false, false); });
  expect_error(ErrorCode::unsupported, "has no tokenizer", [&] { model.decode({1}, false); });
  expect_error(ErrorCode::unsupported, "has no chat template",
               [&] { model.render_chat("[]", "", true); });
}

}  // namespace
}  // namespace stepless::test
