// Angles and the rotation by them.
#include <gtest/gtest.h>

#include "tests/oracle/row_ops.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

std::vector<double> frequencies(std::int64_t pairs) {
  std::vector<double> inv_freq;
  for (std::int64_t i = 0; i < pairs; ++i)
    inv_freq.push_back(std::pow(1e4, -static_cast<double>(i) / static_cast<double>(pairs)));
  return inv_freq;
}

std::vector<float> angles_of(const Kernel& kernel, const std::vector<std::int64_t>& positions,
                             const std::vector<double>& inv_freq, double scale) {
  std::vector<float> y(positions.size() * inv_freq.size() * 2, NAN);
  kernels::AnglesArgs args = {};
  args.positions = positions.data();
  args.inv_freq = inv_freq.data();
  args.y = y.data();
  args.rows = std::ssize(positions);
  args.pairs = std::ssize(inv_freq);
  args.scale = scale;
  kernel.entry->run(&args, {0, args.rows});
  return y;
}

class EachAngles : public EachRow {};

TEST_P(EachAngles, AreRoundedFromDouble) {
  const std::vector<std::int64_t> positions = {0, 1, 2, 511, 131071, 10000000};
  for (const double scale : {1.0, 1.2079}) {
    const auto inv_freq = frequencies(40);
    const auto y = angles_of(row(), positions, inv_freq, scale);
    for (std::size_t r = 0; r < positions.size(); ++r)
      for (std::size_t i = 0; i < inv_freq.size(); ++i) {
        const double angle = static_cast<double>(positions[r]) * inv_freq[i];
        EXPECT_NEAR(static_cast<double>(y[r * 80 + i]), std::cos(angle) * scale, 7.5e-8 * scale);
        EXPECT_NEAR(static_cast<double>(y[r * 80 + 40 + i]), std::sin(angle) * scale,
                    7.5e-8 * scale);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachAngles, testing::ValuesIn(built_rows({KernelOp::angles})),
                         row_name);

struct RopeCase {
  DType type = DType::f32;
  std::int64_t rows = 1, heads = 1, head_dim = 2, pairs = 1;
  bool interleaved = false;
};

class EachRope : public EachRow {
 protected:
  static std::vector<std::int64_t> positions(std::int64_t rows) {
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < rows; ++i) all.push_back(i * 37 % 1000);
    return all;
  }

  static void run(const RopeCase& c, const TypedRows& x, const TypedRows& y, kernels::Slice slice,
                  const Kernel& kernel = row()) {
    const auto angles =
        angles_of(*find_kernel("angles_fany_r1_cpu"), positions(c.rows), frequencies(c.pairs), 1);
    kernels::RopeArgs args = {};
    args.x = x.data();
    args.y = y.data();
    args.angles = angles.data();
    args.type = c.type;
    args.rows = c.rows;
    args.heads = c.heads;
    args.head_dim = c.head_dim;
    args.pairs = c.pairs;
    args.x_stride = x.stride();
    args.y_stride = y.stride();
    args.interleaved = c.interleaved;
    kernel.entry->run(&args, slice);
  }

  static void check(const RopeCase& c) {
    SCOPED_TRACE(testing::Message() << c.heads << " heads of " << c.head_dim << ", pairs "
                                    << c.pairs << ", interleaved " << c.interleaved);
    Random random(static_cast<std::uint64_t>(c.head_dim));
    TypedRows x(c.type, c.rows, c.heads * c.head_dim), y(c.type, c.rows, c.heads * c.head_dim, 1);
    x.fill(random);
    run(c, x, y, {0, c.rows});
    EXPECT_TRUE(y.untouched_between());
    const auto where = positions(c.rows);
    for (std::int64_t i = 0; i < c.rows; ++i)
      for (std::int64_t h = 0; h < c.heads; ++h) {
        const auto before = x.run(i, h * c.head_dim, c.head_dim);
        const auto ref = oracle::rope(before, where[static_cast<std::size_t>(i)],
                                      frequencies(c.pairs), c.interleaved, 1);
        for (std::int64_t j = 0; j < c.head_dim; ++j)
          expect_rounded(y.get(i, h * c.head_dim + j), ref[static_cast<std::size_t>(j)], c.type,
                         3e-7, 3);
        for (std::int64_t j = 2 * c.pairs; j < c.head_dim; ++j)  // copied as they are
          EXPECT_EQ(y.get(i, h * c.head_dim + j), before[static_cast<std::size_t>(j)]);
      }
    run(c, x, x, {0, c.rows});  // in place
    for (std::int64_t i = 0; i < c.rows; ++i) EXPECT_EQ(x.row_bytes(i), y.row_bytes(i)) << i;
  }
};

TEST_P(EachRope, EveryTypeAndShape) {
  for (const DType type : kFloatTypes)
    for (const bool interleaved : {false, true}) {
      for (const std::int64_t dim : {2, 10, 64, 80, 96, 128, 256, 260, 600})
        check({type, 3, 2, dim, dim / 2, interleaved});
      check({type, 17, 3, 64, 16, interleaved});  // partial: the rest is copied
      check({type, 2, 1, 65, 32, interleaved});
    }
}

TEST_P(EachRope, BitsAreThoseOfOtherWidths) {
  for (const DType type : kFloatTypes)
    for (const bool interleaved : {false, true})
      for (const std::int64_t pairs : {1, 4, 15, 16, 17, 20, 33, 64, 127, 129}) {
        const RopeCase c = {type, 3, 2, 2 * pairs + 5, pairs, interleaved};
        Random random(static_cast<std::uint64_t>(pairs));
        TypedRows x(type, 3, 2 * c.head_dim), y(type, 3, 2 * c.head_dim);
        TypedRows other(type, 3, 2 * c.head_dim);
        x.fill(random);
        run(c, x, y, {0, 3});
        run(c, x, other, {0, 3}, *find_kernel("rope_fany_r1_cpu"));
        for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(y.row_bytes(i), other.row_bytes(i)) << pairs;
      }
}

TEST_P(EachRope, RowAloneEqualsRowInCompany) {
  const RopeCase c = {DType::bf16, 17, 3, 80, 40, false};
  Random random(1);
  TypedRows x(c.type, 17, 240), together(c.type, 17, 240), split(c.type, 17, 240);
  x.fill(random);
  run(c, x, together, {0, 17});
  for (const kernels::Slice slice : {kernels::Slice{0, 1}, {1, 9}, {9, 17}})
    run(c, x, split, slice);
  for (std::int64_t i = 0; i < 17; ++i) EXPECT_EQ(together.row_bytes(i), split.row_bytes(i)) << i;
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachRope, testing::ValuesIn(built_rows({KernelOp::rope})),
                         row_name);

}  // namespace
}  // namespace stepless::test
