// Launches that take pairs of rows and experts as they are give the bytes of one launch per pair.
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/roll_call.hpp"
#include "tests/support/device.hpp"
#include "tests/support/each_row.hpp"

namespace stepless::test {
namespace {

struct Mixture {
  std::int64_t k, rows, per_row, experts;
  /// Of experts that are drawn: few of many give each more pairs.
  std::int64_t drawn;
  Format format = {};  // of weights, x and y
};

class JoinedExperts : public ::testing::TestWithParam<const Kernel*> {
 protected:
  void SetUp() override {
    if (!device_runs(GetParam()->is.isa)) GTEST_SKIP() << "no GPU here that runs it";
  }
  const kernels::CudaEntry& entry() const { return *GetParam()->device; }
  std::uint8_t* poisoned(std::int64_t bytes) {
    return arrays_.put(Bytes(static_cast<std::size_t>(bytes), 0xff));
  }

  /// Every expert that may be drawn as often as any other, in no order.
  std::vector<std::int32_t> draw(const Mixture& c) {
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < c.rows * c.per_row; ++i)
      ids.push_back(static_cast<std::int32_t>(c.experts - 1 - random_.below(c.drawn)));
    return ids;
  }
  /// The stack of one part, and y of all pairs.
  kernels::MatmulArgs part(const Mixture& c, const std::uint8_t* x, std::int64_t n) {
    const Format& format = c.format;
    const oracle::Stored w = random_weight(format, c.experts * n, c.k, random_);
    kernels::MatmulArgs a{};
    a.x = x, a.x_stride = c.k, a.m = c.rows * c.per_row, a.n = n, a.k = c.k;
    // Every part's own.
    a.tensor_scale = format.spec.mode == Mode::nvfp4 ? w.tensor_scale * static_cast<float>(n) : 1;
    a.w = arrays_.put(w.w), a.scales = arrays_.put(w.scales), a.biases = arrays_.put(w.biases);
    a.w_row_bytes = w.row_bytes();
    a.mode = format.spec.mode, a.bits = format.spec.bits, a.group_size = format.spec.group_size;
    a.x_type = a.w_type = a.y_type = format.x_type;
    a.y = poisoned(a.m * n * 2), a.y_stride = n;
    return a;
  }
  Bytes y_of(const void* y, std::int64_t elements) const {
    return arrays_.get(static_cast<const std::uint8_t*>(y), elements * 2);
  }
  /// One pair after the other, into a result of its own.
  Bytes apart(const kernels::MatmulArgs& all, const Mixture& c,
              const std::vector<std::int32_t>& ids) {
    std::uint8_t* const y = poisoned(all.m * all.n * 2);
    for (std::int64_t i = 0; i < all.m; ++i) {
      kernels::MatmulArgs a = all;
      const std::int64_t row = ids[static_cast<std::size_t>(i)] * a.n;
      a.m = 1, a.y = y + i * a.n * 2;
      a.x = static_cast<const std::uint8_t*>(a.x) + i / c.per_row * c.k * 2;
      a.w += row * a.w_row_bytes;
      const std::int64_t scale_bytes = a.mode == Mode::affine ? 2 : 1;
      a.scales += row * (c.k / a.group_size) * scale_bytes;
      if (a.biases != nullptr) a.biases += row * (c.k / a.group_size) * scale_bytes;
      arrays_.run(entry().workspace_bytes == nullptr ? 0 : entry().workspace_bytes(&a),
                  [&](const kernels::CudaContext& context) { return entry().launch(&a, context); });
    }
    return y_of(y, all.m * all.n);
  }
  void run(const std::vector<kernels::MatmulArgs>& parts, const kernels::GluArgs* glu,
           const Mixture& c, const std::vector<std::int32_t>& ids) {
    Bytes bytes(ids.size() * 4);
    std::memcpy(bytes.data(), ids.data(), bytes.size());
    const kernels::ExpertPairs pairs{reinterpret_cast<std::int32_t*>(arrays_.put(bytes)),
                                     std::ssize(ids), c.per_row, c.experts};
    const auto count = std::ssize(parts);
    arrays_.run(entry().joined.experts_bytes(parts.data(), count, pairs),
                [&](const kernels::CudaContext& context) {
                  return entry().joined.experts(parts.data(), count, glu, pairs, context);
                });
  }
  /// The row's formats whose x, scales and y have one type of 16 bits.
  std::vector<Format> formats() const {
    std::vector<Format> some;
    for (Format f : all_formats(KernelOp::qmm)) {
      if (f.x_type == DType::f32) continue;
      f.y_type = f.x_type;
      if (f.spec.mode == Mode::affine && f.w_type != f.x_type) continue;
      if (accepts(*GetParam(), f)) some.push_back(f);
    }
    return some;
  }
  /// Each with the next of the row's formats in turn.
  template <class F>
  void each_case(F f) {
    const std::vector<Format> all = formats();
    ASSERT_FALSE(all.empty());
    std::size_t at = 0;
    for (Mixture c : {Mixture{2048, 1, 8, 9, 9},       // each expert once at most, or nearly
                      Mixture{768, 8, 8, 40, 40},      // few pairs per expert
                      Mixture{256, 7, 1, 3, 2},        // a row each
                      Mixture{2304, 32, 8, 64, 64},    // the most that blocks sort
                      Mixture{256, 33, 8, 5, 2},       // more of them, chunks of 16
                      Mixture{256, 75, 10, 700, 600},  // more experts than threads
                      Mixture{512, 150, 4, 8, 8},      // and no whole units of k:
                      Mixture{320, 3, 4, 8, 8}, Mixture{1408, 40, 4, 8, 3}}) {
      if (c.k % GetParam()->fields.k_multiple != 0) continue;
      c.format = all[at++ % all.size()];
      if (c.k % c.format.spec.group_size != 0) c.k = c.k / 128 * 128;
      SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.per_row << " of " << c.experts
                                      << ", k " << c.k << ", " << c.format.text());
      f(c);
    }
  }

  DeviceArrays arrays_;
  Random random_{11};
};

TEST_P(JoinedExperts, PairsEqualSeparateLaunches) {
  each_case([&](const Mixture& c) {
    const std::vector<std::int32_t> ids = draw(c);
    const auto* x = arrays_.put(random_rows(c.format.x_type, c.rows * c.k, 1, random_));
    std::vector<kernels::MatmulArgs> parts;
    for (const std::int64_t n : {16, 40}) parts.push_back(part(c, x, n));
    run(parts, nullptr, c, ids);
    for (const kernels::MatmulArgs& a : parts) EXPECT_EQ(y_of(a.y, a.m * a.n), apart(a, c, ids));
  });
}

TEST_P(JoinedExperts, GateEqualsSeparateLaunches) {
  each_case([&](const Mixture& c) {
    // An expert's arrays are multiples of 16 bytes.
    const std::int64_t n = 56, pairs = c.rows * c.per_row;
    const std::vector<std::int32_t> ids = draw(c);
    const auto* x = arrays_.put(random_rows(c.format.x_type, c.rows * c.k, 1, random_));
    const std::vector<kernels::MatmulArgs> parts = {part(c, x, n), part(c, x, n)};
    kernels::GluArgs glu{};
    glu.y = poisoned(pairs * n * 2), glu.type = c.format.x_type;
    glu.rows = pairs, glu.width = glu.gate_stride = glu.up_stride = glu.y_stride = n;
    run(parts, &glu, c, ids);
    const Bytes joined = y_of(glu.y, pairs * n);
    EXPECT_EQ(y_of(parts[0].y, pairs * n), Bytes(static_cast<std::size_t>(pairs * n * 2), 0xff))
        << "the gate itself is not stored";
    glu.gate = arrays_.put(apart(parts[0], c, ids)), glu.up = arrays_.put(apart(parts[1], c, ids));
    const Kernel& row = *find_kernel("glu_fany_r1_cuda");
    arrays_.run(
        0, [&](const kernels::CudaContext& context) { return row.device->launch(&glu, context); });
    EXPECT_EQ(joined, y_of(glu.y, pairs * n));
  });
}

std::vector<const Kernel*> rows_that_take_pairs() {
  std::vector<const Kernel*> rows;
  for (const Kernel* row : built_rows({KernelOp::qmm}))
    if (row->device != nullptr && row->device->joined.experts != nullptr) rows.push_back(row);
  return rows;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(JoinedExperts);
INSTANTIATE_TEST_SUITE_P(RollCall, JoinedExperts, testing::ValuesIn(rows_that_take_pairs()),
                         row_name);

}  // namespace
}  // namespace stepless::test
