// The CPU backend: rows of any sequences in any order, on any number of threads, give the same
// bytes; what it refuses.
#include "ops/cpu/cpu_backend.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "ops/fuse.hpp"
#include "tests/ops/toy_program.hpp"
#include "tests/ops/toy_run.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

using Tokens = std::vector<std::int32_t>;
const Tokens kTokens = {3, 1, 4, 1, 5, 9, 2, 6, 49, 0, 7};

std::shared_ptr<const Program> toy(DType act, std::int64_t rows = 16, Mlp mlp = Mlp::mixture) {
  static ToyWeights weights(DType::bf16, QuantSpec{Mode::affine, 4, 32});
  return planned(fuse(toy_decoder(weights, act, mlp)), rows);
}

TEST(CpuBackend, CutsAndThreadsChangeNoBit) {
  for (const Mlp mlp : {Mlp::mixture, Mlp::biased_mixture})
    for (const DType act : {DType::f32, DType::f16, DType::bf16}) {
      const auto program = toy(act, 16, mlp);
      const auto want = run_toy(program, kTokens, 1);
      for (const std::size_t step : {1, 2, 3, 4, 7, 10})
        EXPECT_EQ(run_toy(program, kTokens, 1, step), want) << step;
      EXPECT_EQ(run_toy(program, kTokens, 2, 4), want) << "two threads";
      EXPECT_EQ(run_toy(program, kTokens, 5), want) << "five threads";
    }
}

TEST(CpuBackend, AProgramPlannedForAGpuIsRefused) {
  ToyWeights weights(DType::bf16, QuantSpec{Mode::affine, 4, 32});
  Program program = place(fuse(toy_decoder(weights, DType::bf16, Mlp::mixture)), 4, 4);
  plan_program(program, find_machine("h200"), {});
  const auto planned_for_gpu = std::make_shared<const Program>(std::move(program));
  expect_error(ErrorCode::unsupported, "which no CPU of this build runs",
               [&] { make_cpu_backend(1)->prepare(planned_for_gpu); });
}

/// Embedding, one matrix with a bias, the gate and the head in double arithmetic.
TEST(CpuBackend, ComputesWhatTheProgramSays) {
  ToyWeights weights(DType::f32);
  Builder b(weights, DType::f32, kToyVocab);
  const ValueId h = b.embed("embed", kToyHidden);
  const ValueId g =
      b.glu(b.linear(h, "gate", 32, true), b.linear(h, "up", 32), {kernels::Activation::relu});
  const ValueId sum = b.add(h, b.linear(g, "down", kToyHidden), -2);
  b.head(b.take_sampled(b.scale(sum, 0.5f)), "head");
  const std::vector<float> got = run_toy(planned(b.finish(), 4), {7, 31}, 2);
  const auto floats = [&](const TensorView& view) {
    return reinterpret_cast<const float*>(view.data);
  };
  const auto times = [&](const std::vector<double>& x, const std::string& name, std::int64_t n) {
    const auto k = static_cast<std::int64_t>(x.size());
    const float* w = floats(weights.matrix(name, n, k).w);
    std::vector<double> y;
    for (std::int64_t i = 0; i < n; ++i)
      y.push_back(std::inner_product(x.begin(), x.end(), w + i * k, 0.0));
    return y;
  };
  const float* table = floats(weights.matrix("embed", kToyVocab, kToyHidden).w);
  const float* bias = floats(weights.vector("gate.bias", 32).data);
  for (std::size_t row = 0; row < 2; ++row) {
    const std::int64_t id = row == 0 ? 7 : 31;
    std::vector<double> x(table + id * kToyHidden, table + (id + 1) * kToyHidden);
    std::vector<double> gate = times(x, "gate", 32);
    const std::vector<double> up = times(x, "up", 32);
    for (std::size_t i = 0; i < 32; ++i)
      gate[i] = std::max(gate[i] + static_cast<double>(bias[i]), 0.0) * up[i];
    const std::vector<double> down = times(gate, "down", kToyHidden);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - 2 * down[i]) / 2;
    const std::vector<double> want = times(x, "head", kToyVocab);
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(static_cast<double>(got[row * want.size() + i]), want[i], 2e-5);
  }
}

/// Weights of a toy model as doubles.
class Doubles {
 public:
  explicit Doubles(ToyWeights& weights) : weights_(weights) {}

  /// Matrix `which` of a stack times x, plus its bias.
  std::vector<double> expert(const std::string& name, std::size_t which, std::size_t n,
                             const std::vector<double>& x) {
    const auto rows = static_cast<std::int64_t>(n), k = static_cast<std::int64_t>(x.size());
    const float* w = floats(weights_.experts(name, kExperts, rows, k).w) + which * n * x.size();
    const float* bias = floats(weights_.table(name + ".bias", kExperts, rows).data) + which * n;
    return product(w, bias, n, x);
  }
  std::vector<double> router(const std::string& name, const std::vector<double>& x) {
    const auto k = static_cast<std::int64_t>(x.size());
    return product(floats(weights_.matrix(name, kExperts, k).w),
                   floats(weights_.vector(name + ".bias", kExperts).data), kExperts, x);
  }

  static constexpr std::int64_t kExperts = 5;

 private:
  static const float* floats(const TensorView& view) {
    return reinterpret_cast<const float*>(view.data);
  }
  static std::vector<double> product(const float* w, const float* bias, std::size_t n,
                                     const std::vector<double>& x) {
    std::vector<double> y;
    for (std::size_t i = 0; i < n; ++i)
      y.push_back(
          std::inner_product(x.begin(), x.end(), w + i * x.size(), static_cast<double>(bias[i])));
    return y;
  }

  ToyWeights& weights_;
};

/// A mixture with biases everywhere and a clamped, shifted swish, in double arithmetic.
TEST(CpuBackend, MixturesWithBiasesComputeWhatTheySay) {
  ToyWeights weights(DType::f32);
  MoeSpec moe;
  moe.experts = Doubles::kExperts, moe.per_token = 2, moe.inner = 32;
  moe.bias = true;
  moe.router = "chooser", moe.stack = "all";
  moe.glu = {kernels::Activation::swish, 1.702f, 0.5f, 1};
  Builder b(weights, DType::f32, kToyVocab);
  const ValueId h = b.embed("embed", kToyHidden);
  b.head(b.take_sampled(b.mixture(h, "moe", moe)), "embed");
  const Tokens tokens = {7, 31, 2, 2, 49};
  const std::vector<float> got = run_toy(planned(b.finish(), 8), tokens, 2);
  Doubles all(weights);
  const auto* table =
      reinterpret_cast<const float*>(weights.matrix("embed", kToyVocab, kToyHidden).w.data);
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const float* embedded = table + tokens[row] * kToyHidden;
    const std::vector<double> x(embedded, embedded + kToyHidden);
    const std::vector<double> logits = all.router("moe.chooser", x);
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](auto p, auto q) { return logits[p] > logits[q]; });
    const double first = 1 / (1 + std::exp(logits[order[1]] - logits[order[0]]));
    std::vector<double> y(x.size());
    for (std::size_t j = 0; j < 2; ++j) {
      const std::vector<double> gate = all.expert("moe.all.gate_proj", order[j], 32, x);
      std::vector<double> inner = all.expert("moe.all.up_proj", order[j], 32, x);
      for (std::size_t i = 0; i < inner.size(); ++i) {
        const double g = std::min(gate[i], 0.5);
        inner[i] = (std::clamp(inner[i], -0.5, 0.5) + 1) * g /
                   (1 + std::exp(-static_cast<double>(1.702f) * g));
      }
      const std::vector<double> down = all.expert("moe.all.down_proj", order[j], kToyHidden, inner);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += (j == 0 ? first : 1 - first) * down[i];
    }
    for (std::size_t v = 0; v < static_cast<std::size_t>(kToyVocab); ++v) {
      const double want = std::inner_product(y.begin(), y.end(),
                                             table + v * static_cast<std::size_t>(kToyHidden), 0.0);
      EXPECT_NEAR(static_cast<double>(got[row * static_cast<std::size_t>(kToyVocab) + v]), want,
                  2e-5);
    }
  }
}

TEST(CpuBackend, SequencesInOneStepDoNotSeeEachOther) {
  const auto program = toy(DType::bf16);
  const auto vocab = static_cast<std::size_t>(program->vocab);
  const Tokens other = {40, 41, 42, 43, 44};
  const auto want = run_toy(program, kTokens, 1), want_other = run_toy(program, other, 1);
  const auto backend = make_cpu_backend(2);
  backend->prepare(program);
  backend->allocate_kv(kv_shape_of(*program, 4), 9);
  const std::vector<std::int32_t> pages = {8, 1, 4}, other_pages = {2, 3};
  // Rows of both, interleaved and each sequence's newest first: positions say what is attended.
  RowGroup mixed;
  const RowGroup a = group_of(kTokens, 0, 11, pages), o = group_of(other, 0, 5, other_pages);
  std::vector<std::pair<const RowGroup*, std::size_t>> order;
  for (std::size_t i = 11; i-- > 0;) {
    order.emplace_back(&a, i);
    if (i < 5) order.emplace_back(&o, i);
  }
  for (const auto& [group, i] : order) {
    mixed.tokens.push_back(group->tokens[i]);
    mixed.seq.push_back(group->seq[i]);
    mixed.sampled.push_back(static_cast<std::int32_t>(mixed.tokens.size()) - 1);
    mixed.sampling.push_back(greedy_row());
  }
  std::vector<float> logits(16 * vocab);
  mixed.logits = logits.data();
  const Sampled sampled = backend->collect(backend->launch(mixed));
  for (std::size_t row = 0; row < order.size(); ++row) {
    const auto& all = order[row].first == &a ? want : want_other;
    const auto at = all.begin() + static_cast<std::ptrdiff_t>(order[row].second * vocab);
    EXPECT_TRUE(std::equal(at, at + static_cast<std::ptrdiff_t>(vocab),
                           logits.begin() + static_cast<std::ptrdiff_t>(row * vocab)))
        << "row " << row;
    EXPECT_EQ(sampled.tokens[row],
              std::max_element(at, at + static_cast<std::ptrdiff_t>(vocab)) - at);
  }
}

TEST(CpuBackend, OnlySampledRowsGiveLogits) {
  const auto program = toy(DType::f32);
  const auto want = run_toy(program, kTokens, 1);
  const auto backend = make_cpu_backend(2);
  backend->prepare(program);
  backend->allocate_kv(kv_shape_of(*program, 4), 4);
  const std::vector<std::int32_t> pages = {3, 1, 2};
  RowGroup group = group_of(kTokens, 0, 11, pages);
  group.sampled = {10, 4};
  group.sampling.resize(2);
  std::vector<float> logits(2 * static_cast<std::size_t>(kToyVocab));
  group.logits = logits.data();
  EXPECT_EQ(backend->collect(backend->launch(group)).tokens.size(), 2u);
  EXPECT_TRUE(std::equal(logits.begin(), logits.begin() + kToyVocab, want.end() - kToyVocab));
  EXPECT_TRUE(std::equal(logits.begin() + kToyVocab, logits.end(), want.begin() + 4 * kToyVocab));
  group.sampled.clear(), group.sampling.clear();
  group.logits = nullptr;
  EXPECT_TRUE(backend->collect(backend->launch(group)).tokens.empty());
}

TEST(CpuBackend, CopiedPagesHoldTheSame) {
  const auto program = toy(DType::bf16);
  const auto backend = make_cpu_backend(1);
  backend->prepare(program);
  backend->allocate_kv(kv_shape_of(*program, 4), 6);
  const std::vector<std::int32_t> pages = {1, 2, 3}, copied = {4, 5, 3};
  backend->collect(backend->launch(group_of(kTokens, 0, 8, pages)));
  const PageCopy copies[] = {{1, 4}, {2, 5}};
  backend->copy_pages(copies);
  // The originals are overwritten: the copies must not notice.
  backend->collect(backend->launch(group_of(Tokens(8, 44), 0, 8, pages)));
  std::vector<float> logits(3 * static_cast<std::size_t>(kToyVocab));
  RowGroup rest = group_of(kTokens, 8, 3, copied);
  rest.logits = logits.data();
  backend->collect(backend->launch(rest));
  const auto want = run_toy(program, kTokens, 1);
  EXPECT_TRUE(std::equal(logits.begin(), logits.end(), want.end() - 3 * kToyVocab));
}

TEST(CpuBackend, PagesReadAreThePagesWrittenElsewhere) {
  for (const DType type : {DType::bf16, DType::f32}) {
    const auto program = toy(type);
    const KvShape shape = kv_shape_of(*program, 4);
    const auto one = make_cpu_backend(1), other = make_cpu_backend(2);
    for (Backend* backend : {one.get(), other.get()}) {
      backend->prepare(program);
      backend->allocate_kv(shape, 7);
    }
    const std::vector<std::int32_t> pages = {2, 5, 3}, elsewhere = {6, 1, 4};
    one->collect(one->launch(group_of(kTokens, 0, 8, pages)));
    std::int64_t bytes = 0;
    for (int layer = 0; layer < static_cast<int>(shape.layers.size()); ++layer) {
      const PageBytes read = one->read_pages(layer, {pages.data(), 2});
      other->write_pages(layer, {elsewhere.data(), 2}, read.keys.data(), read.values.data());
      bytes += static_cast<std::int64_t>(read.keys.size() + read.values.size());
      const PageBytes again = other->read_pages(layer, {elsewhere.data(), 2});
      EXPECT_EQ(again.keys, read.keys);
      EXPECT_EQ(again.values, read.values);
    }
    EXPECT_EQ(bytes, 2 * shape.page_bytes());
    std::vector<float> logits(3 * static_cast<std::size_t>(kToyVocab));
    RowGroup rest = group_of(kTokens, 8, 3, elsewhere);
    rest.logits = logits.data();
    other->collect(other->launch(rest));
    const auto want = run_toy(program, kTokens, 1);
    EXPECT_TRUE(std::equal(logits.begin(), logits.end(), want.end() - 3 * kToyVocab));
  }
}

TEST(CpuBackend, RefusesWhatItCannotHold) {
  for (const int threads : {0, -1})
    expect_error(ErrorCode::invalid_argument, "threads: ", [&] { make_cpu_backend(threads); });
  const auto program = toy(DType::f32, 4);
  const auto backend = make_cpu_backend(1);
  EXPECT_GT(backend->free_bytes(), 0);
  backend->prepare(program);
  const KvShape shape = kv_shape_of(*program, 4);
  expect_error(ErrorCode::exhausted, "KV cache", [&] { backend->allocate_kv(shape, INT64_MAX); });
  expect_error(ErrorCode::exhausted, "KV cache",
               [&] { backend->allocate_kv(shape, std::int64_t{1} << 45); });
  backend->allocate_kv(shape, 4);
  const std::vector<std::int32_t> pages = {1, 2, 3};
  expect_error(ErrorCode::internal, "a step of 5 rows",
               [&] { backend->launch(group_of(kTokens, 0, 5, pages)); });
  const Ticket ticket = backend->launch(group_of(kTokens, 0, 4, pages));
  expect_error(ErrorCode::internal, "collect(", [&] { backend->collect(ticket + 1); });
}

TEST(KvShape, BytesOfAToken) {
  KvShape shape;
  shape.layers = {{2, 16, 16}, {1, 8, 24}};
  shape.type = DType::bf16;
  EXPECT_EQ(shape.token_bytes(), 2 * (2 * 32 + 32));
  EXPECT_EQ(shape.page_bytes(), 64 * shape.token_bytes());
}

}  // namespace
}  // namespace stepless::test
