// Models on a GPU: the CPU's text, the same bits alone and in any company, refusals in words.
// Without a GPU the cases that need one are skipped.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "stepless/convert.hpp"
#include "stepless/plan.hpp"
#include "tests/api/engine_case.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Model demo_on(const std::string& device, const std::string& act) {
  ModelOptions options;
  options.device = device;
  options.act_dtype = act;
  return Model::open(models_dir() + "/tale-4bit", options);
}

class OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpus().empty()) GTEST_SKIP() << why_no_gpu_here();
  }
};

/// The same answers alone, together, and with prompts cut anywhere.
void expect_answers_however_cut(const Model& model, const std::vector<Request>& requests) {
  const std::vector<Answer> alone = run_alone(model, requests);
  for (const std::int64_t rows : {0, 50, 100}) {
    EngineOptions cut;
    cut.context = 512;
    cut.sequences = static_cast<std::int64_t>(requests.size());
    cut.prefill_rows = rows;
    Engine engine(model, cut);
    EXPECT_EQ(run_batch(engine, requests), alone) << rows << " prompt rows a step";
  }
}

// In float32 nothing but the last bits differs: no token does, whatever draws it.
TEST_F(OnGpu, WritesWhatTheCpuWrites) {
  const std::vector<Request> requests = mixed_requests(32);
  const std::vector<Answer> cpu = run_batch(demo_on("cpu", "float32"), requests);
  const std::vector<Answer> gpu = run_batch(demo_on("cuda:0", "float32"), requests);
  for (std::size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_EQ(cpu[i].tokens, gpu[i].tokens) << "request " << i;
    EXPECT_EQ(cpu[i].text, gpu[i].text) << "request " << i;
  }
}

/// More weights than what travels at once.
TEST_F(OnGpu, WeightsOfManyMegabytesArriveWhole) {
  std::vector<Request> requests = mixed_requests(5);
  for (Request& request : requests) request.stop.clear();  // there is no text to stop at
  std::vector<Answer> answers[2];
  for (const bool gpu : {false, true}) {
    ModelOptions options;
    options.device = gpu ? "cuda:0" : "cpu";
    options.act_dtype = "float32";
    answers[gpu ? 1 : 0] = run_batch(Model::synthetic("qwen3-0.6b", options), requests);
  }
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(answers[0][i].tokens, answers[1][i].tokens) << "request " << i;
}

/// Each engine takes the weights there again.
TEST_F(OnGpu, UploadIsTold) {
  std::vector<std::pair<std::int64_t, std::int64_t>> told;
  ModelOptions options;
  options.device = "cuda:0";
  options.uploading = [&](std::int64_t done, std::int64_t total) {
    told.emplace_back(done, total);
  };
  const Model model = Model::synthetic("qwen3-0.6b", options);
  EXPECT_TRUE(told.empty());
  for (int engine = 0; engine < 2; ++engine) {
    told.clear();
    std::vector<Request> requests = mixed_requests(1);
    requests[0].stop.clear();
    run_batch(model, requests);
    ASSERT_GE(told.size(), 3u);
    EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
    EXPECT_EQ(told.back().first, told.back().second);
    EXPECT_GE(told.back().second, model.info().weight_bytes);
  }
}

TEST_F(OnGpu, AloneAsInABatchOf64ThreeTimes) {
  const std::vector<Request> requests = mixed_requests(64);
  for (const char* act : {"bfloat16", "float32"}) {
    const Model model = demo_on("cuda:0", act);
    EXPECT_EQ(model.info().device, "cuda:0");
    const std::vector<Answer> alone = run_alone(model, requests);
    for (int run = 0; run < 3; ++run)
      EXPECT_EQ(run_batch(model, requests), alone) << act << ", run " << run;
  }
}

/// Experts are chosen and sorted on the device, in graphs, several steps in flight.
TEST_F(OnGpu, MixturesAloneAsInABatch) {
  ModelOptions options;
  options.device = "cuda:0";
  options.act_dtype = "bfloat16";
  std::optional<Model> model;
  try {
    model = Model::synthetic("qwen3-30b-a3b", options);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::exhausted) GTEST_SKIP() << error.what();
    throw;
  }
  std::vector<Request> requests = mixed_requests(40);
  for (Request& request : requests) request.stop.clear();  // there is no text to stop at
  const std::vector<Answer> alone = run_alone(*model, requests);
  for (int run = 0; run < 2; ++run) EXPECT_EQ(run_batch(*model, requests), alone) << "run " << run;
}

/// Rows of whole pages of a prompt have an order of their own: which rows those are follows from
/// the prompt alone, not from its company or from where steps cut it.
TEST_F(OnGpu, PromptsAloneAsInABatchHoweverCut) {
  ModelOptions options;
  options.device = "cuda:0";
  options.act_dtype = "bfloat16";
  const Model model = Model::synthetic("qwen3-0.6b", options);
  std::vector<Request> requests = mixed_requests(34);
  for (Request& request : requests) request.stop.clear();  // there is no text to stop at
  expect_answers_however_cut(model, requests);
}

/// Weights that are not packed have rows of their own, whose blocks wait for each other by flags in
/// a workspace: it is no one else's.
TEST_F(OnGpu, DenseWeightsAloneAsInABatchHoweverCut) {
  for (const char* act : {"bfloat16", "float16"}) {
    SCOPED_TRACE(act);
    ConvertOptions floats;
    floats.source = models_dir() + "/tale-4bit";
    floats.target = scratch_dir("dense") + "/" + act;
    floats.dequantize = true;
    floats.dtype = act;
    convert(floats);
    ModelOptions options;
    options.device = "cuda:0";
    options.act_dtype = act;
    expect_answers_however_cut(Model::open(floats.target, options), mixed_requests(34));
  }
}

TEST(Devices, WhatIsNotThereIsRefusedByName) {
  for (const char* word : {"tpu", "cuda:", "cuda:-1", "cuda:x", "cuda:1x", "cuda1", ""}) {
    SCOPED_TRACE(word);
    expect_error(ErrorCode::invalid_argument, "expected cpu, cuda:0", [&] { check_device(word); });
  }
  expect_error(ErrorCode::unsupported, "cuda:99", [] { check_device("cuda:99"); });
  check_device("cpu");
  check_device("auto");
}

TEST(Devices, AutoIsTheCpuWhereThereIsNoGpuOrAnIsaIsAskedFor) {
  EXPECT_EQ(gpus().empty(), !why_no_gpu_here().empty());
  if (gpus().empty()) {
    EXPECT_EQ(demo_on("auto", "auto").info().device, "cpu");
    expect_error(ErrorCode::unsupported, why_no_gpu_here(), [] { demo_on("cuda", "auto"); });
  }
  ModelOptions options;
  options.max_isa = "cpu";
  EXPECT_EQ(Model::open(models_dir() + "/tale-4bit", options).info().device, "cpu");
}

}  // namespace
}  // namespace stepless::test
