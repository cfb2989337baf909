// Routing of a mixture of experts, and the weighted sum of what the experts computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "tests/support/device.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/random.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct Routed {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

class EachRoute : public EachRow {
 protected:
  static Routed run(const std::vector<float>& logits, std::int64_t rows, std::int64_t k,
                    bool normalize) {
    const auto experts = static_cast<std::int64_t>(logits.size()) / rows;
    Routed out{std::vector<std::int32_t>(static_cast<std::size_t>(rows * k), -7),
               std::vector<float>(static_cast<std::size_t>(rows * k), -7)};
    const kernels::RouteArgs args{
        logits.data(), out.ids.data(), out.weights.data(), rows, experts, k, normalize};
    row().entry->run(&args, {0, rows});
    return out;
  }
};

TEST_P(EachRoute, TakesTheLargestBestFirstWithTheirProbabilities) {
  for (const std::int64_t experts : {1, 2, 7, 64, 129}) {
    Random random(static_cast<std::uint64_t>(experts));
    const std::int64_t rows = 5, k = std::min<std::int64_t>(experts, 8);
    std::vector<float> logits(static_cast<std::size_t>(rows * experts));
    for (float& v : logits) v = static_cast<float>(random.normal() * 3);
    for (const bool normalize : {false, true}) {
      const Routed got = run(logits, rows, k, normalize);
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* z = logits.data() + r * experts;
        std::vector<std::int32_t> order(static_cast<std::size_t>(experts));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return z[a] > z[b]; });
        double all = 0, chosen = 0;
        for (std::int64_t e = 0; e < experts; ++e) all += std::exp(static_cast<double>(z[e]));
        for (std::int64_t j = 0; j < k; ++j)
          chosen += std::exp(static_cast<double>(z[order[static_cast<std::size_t>(j)]]));
        for (std::int64_t j = 0; j < k; ++j) {
          const auto at = static_cast<std::size_t>(r * k + j);
          EXPECT_EQ(got.ids[at], order[static_cast<std::size_t>(j)]);
          const double want =
              std::exp(static_cast<double>(z[got.ids[at]])) / (normalize ? chosen : all);
          EXPECT_NEAR(static_cast<double>(got.weights[at]), want, 1e-6);
        }
      }
    }
  }
}

TEST_P(EachRoute, TiesGoToTheLowerIdAndNanIsTakenLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(run({1, 2, 2, 0}, 1, 3, true).ids, (std::vector<std::int32_t>{1, 2, 0}));
  const Routed got = run({1, nan, 2, nan}, 1, 2, true);
  EXPECT_EQ(got.ids, (std::vector<std::int32_t>{2, 0}));
  EXPECT_EQ(run({nan, 1, nan, 2}, 1, 3, true).ids, (std::vector<std::int32_t>{3, 1, 0}));
  // Whatever a row holds, its ids are ids: they index weights.
  for (const std::int32_t id : run({nan, nan, nan}, 1, 2, true).ids) EXPECT_TRUE(id >= 0 && id < 3);
}

/// Divided by their sum, the probabilities are the softmax over the chosen logits alone, however
/// far the others lie below.
TEST_P(EachRoute, NormalizedIsTheSoftmaxOfTheChosen) {
  for (const float low : {2.5f, -50.0f, -3e38f}) {
    const Routed all = run({low, 700, 698.5f, low, 699, low}, 1, 3, true);
    const Routed alone = run({700, 698.5f, 699}, 1, 3, true);
    EXPECT_EQ(all.ids, (std::vector<std::int32_t>{1, 4, 2}));
    EXPECT_EQ(all.weights, alone.weights);
    EXPECT_NEAR(std::accumulate(all.weights.begin(), all.weights.end(), 0.0), 1, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, EachRoute, testing::ValuesIn(built_rows({KernelOp::route})),
                         row_name);

/// What a GPU keeps in registers and what it reads again, ties and NaNs among them.
TEST(RouteOnGpu, TakesWhatTheHostTakes) {
  if (!device_runs(Isa::cuda)) GTEST_SKIP() << "no GPU here";
  for (const std::int64_t experts : {1, 7, 64, 128, 129, 256, 257, 700})
    for (const std::int64_t k : {1, 8, 33}) {
      if (k > experts) continue;
      SCOPED_TRACE(testing::Message() << k << " of " << experts);
      Random random(static_cast<std::uint64_t>(experts * k));
      const std::int64_t rows = 5;
      std::vector<float> logits(static_cast<std::size_t>(rows * experts));
      for (float& v : logits) {
        v = static_cast<float>(std::round(random.normal() * 40)) / 16;
        if (random.below(20) == 0) v = std::numeric_limits<float>::quiet_NaN();
      }
      DeviceArrays arrays;
      Bytes bytes(logits.size() * 4);
      std::memcpy(bytes.data(), logits.data(), bytes.size());
      const Bytes none(static_cast<std::size_t>(rows * k * 4), 0xff);
      const auto* z = reinterpret_cast<float*>(arrays.put(bytes));
      for (const bool normalize : {false, true}) {
        Routed want{std::vector<std::int32_t>(static_cast<std::size_t>(rows * k)),
                    std::vector<float>(static_cast<std::size_t>(rows * k))};
        const kernels::RouteArgs host{
            logits.data(), want.ids.data(), want.weights.data(), rows, experts, k, normalize};
        find_kernel("route_f32_r1_cpu")->entry->run(&host, {0, rows});
        const kernels::RouteArgs args{z,
                                      reinterpret_cast<std::int32_t*>(arrays.put(none)),
                                      reinterpret_cast<float*>(arrays.put(none)),
                                      rows,
                                      experts,
                                      k,
                                      normalize};
        arrays.run(0, [&](const kernels::CudaContext& context) {
          return find_kernel("route_f32_r1_cuda")->device->launch(&args, context);
        });
        const auto read = [&](const void* from, void* to) {
          const Bytes got = arrays.get(static_cast<const std::uint8_t*>(from), rows * k * 4);
          std::memcpy(to, got.data(), got.size());
        };
        Routed got = want;
        read(args.ids, got.ids.data()), read(args.weights, got.weights.data());
        EXPECT_EQ(got.ids, want.ids);
        for (std::size_t i = 0; i < got.weights.size(); ++i)
          EXPECT_TRUE(std::abs(got.weights[i] - want.weights[i]) <= 1e-6f ||
                      (std::isnan(got.weights[i]) && std::isnan(want.weights[i])))
              << got.weights[i] << " and " << want.weights[i];
      }
    }
}

class EachCombine : public EachRow {};

TEST_P(EachCombine, SumsInOrderAndRoundsOnce) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    for (const std::int64_t width : {1, 5, 255, 256, 257}) {
      const std::int64_t rows = 3, k = 4;
      Random random(static_cast<std::uint64_t>(width));
      std::vector<float> weights(static_cast<std::size_t>(rows * k));
      for (float& v : weights) v = static_cast<float>(random.normal());
      TypedRows in(type, 1, rows * k * width), out(type, 1, rows * width);  // contiguous
      in.fill(random, 1);
      const kernels::CombineArgs args{in.data(), weights.data(), out.data(), type, rows, k, width};
      row().entry->run(&args, {0, 1});
      row().entry->run(&args, {1, rows});  // any slicing, the same rows
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < width; ++c) {
          double want = 0, size = 0;
          for (std::int64_t j = 0; j < k; ++j) {
            const double term = static_cast<double>(weights[static_cast<std::size_t>(r * k + j)]) *
                                in.get(0, (r * k + j) * width + c);
            want += term;
            size += std::abs(term);
          }
          expect_rounded(out.get(0, r * width + c), want, type, 5e-7, size);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, EachCombine, testing::ValuesIn(built_rows({KernelOp::combine})),
                         row_name);

}  // namespace
}  // namespace stepless::test
