#include <gtest/gtest.h>

#include <optional>

#include "tests/oracle/row_ops.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct NormCase {
  DType x_type = DType::f32, weight_type = DType::f32, y_type = DType::f32;
  std::int64_t rows = 1, k = 1, groups = 1;
  bool weighted = true;
  double offset = 0, epsilon = 1e-6, scale = 1;
};

class EachNorm : public EachRow {
 protected:
  static void run(const NormCase& c, const TypedRows& x, const TypedRows& weight,
                  const TypedRows& y, kernels::Slice slice, const Kernel& kernel = row()) {
    kernels::NormArgs args = {};
    args.x = x.data();
    args.y = y.data();
    args.weight = c.weighted ? weight.data() : nullptr;
    args.x_type = c.x_type;
    args.weight_type = c.weight_type;
    args.y_type = c.y_type;
    args.rows = c.rows;
    args.k = c.k;
    args.groups = c.groups;
    args.x_stride = x.stride();
    args.y_stride = y.stride();
    args.epsilon = static_cast<float>(c.epsilon);
    args.weight_offset = static_cast<float>(c.offset);
    kernel.entry->run(&args, slice);
  }

  static void check(const NormCase& c) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, k " << c.k << ", groups " << c.groups);
    Random random(static_cast<std::uint64_t>(c.k * 31 + c.rows));
    TypedRows x(c.x_type, c.rows, c.k * c.groups), weight(c.weight_type, 1, c.k);
    x.fill(random, c.scale);
    weight.fill(random);
    TypedRows y(c.y_type, c.rows, c.k * c.groups, 5);
    run(c, x, weight, y, {0, c.rows});
    EXPECT_TRUE(y.untouched_between());
    for (std::int64_t i = 0; i < c.rows; ++i)
      for (std::int64_t g = 0; g < c.groups; ++g) {
        const auto ref = oracle::rms_norm(
            x.run(i, g * c.k, c.k), c.weighted ? weight.row(0) : std::vector<double>{}, c.offset,
            static_cast<double>(static_cast<float>(c.epsilon)));
        for (std::int64_t j = 0; j < c.k; ++j) {
          const double want = ref[static_cast<std::size_t>(j)];
          // weight + offset is rounded before the product: its error counts against the offset.
          const double size = std::abs(want) *
                              (1 + (c.offset != 0 ? 1 / std::abs(weight.get(0, j) + c.offset) : 0));
          expect_rounded(y.get(i, g * c.k + j), want, c.y_type, 2.5e-7, size);
        }
      }
  }
};

TEST_P(EachNorm, EveryTypeAndWidth) {
  for (const DType x_type : kFloatTypes)
    for (const DType weight_type : kFloatTypes)
      for (const std::int64_t k : {1, 3, 7, 8, 9, 64, 255, 256, 257, 1030})
        check({.x_type = x_type, .weight_type = weight_type, .y_type = x_type, .rows = 3, .k = k});
  check({.x_type = DType::bf16,
         .weight_type = DType::f32,
         .y_type = DType::f32,
         .rows = 17,
         .k = 96});
}

TEST_P(EachNorm, HeadByHead) {
  for (const std::int64_t k : {64, 80, 128})
    check({.x_type = DType::bf16,
           .weight_type = DType::bf16,
           .y_type = DType::bf16,
           .rows = 5,
           .k = k,
           .groups = 7});
}

TEST_P(EachNorm, OffsetAndNoWeight) {
  check({.rows = 2, .k = 100, .offset = 1});
  check({.rows = 2, .k = 100, .weighted = false});
}

TEST_P(EachNorm, SmallAndLargeRows) {
  // 1e-5² is far below epsilon; 1e18² beyond float32.
  for (const double scale : {1e-5, 1e-20, 1e18, 1e30}) check({.rows = 1, .k = 300, .scale = scale});
}

TEST_P(EachNorm, RowAloneEqualsRowInCompany) {
  const NormCase many = {
      .x_type = DType::bf16, .y_type = DType::bf16, .rows = 17, .k = 200, .groups = 2};
  Random random(3);
  TypedRows x(many.x_type, many.rows, 400), weight(DType::f32, 1, 200);
  x.fill(random);
  weight.fill(random);
  x.set(4, 7, NAN);
  TypedRows together(many.y_type, many.rows, 400), split(many.y_type, many.rows, 400);
  run(many, x, weight, together, {0, 17});
  for (const kernels::Slice slice : {kernels::Slice{0, 1}, {1, 9}, {9, 17}})
    run(many, x, weight, split, slice);
  for (std::int64_t i = 0; i < many.rows; ++i) {
    EXPECT_EQ(together.row_bytes(i), split.row_bytes(i)) << i;
    EXPECT_EQ(std::isnan(together.get(i, 0)), i == 4) << i;  // a NaN stays in its row
    EXPECT_FALSE(std::isnan(together.get(i, 399))) << i;     // and in its head
  }
}

/// Both sides of a vector, of a block and of what is kept of a run; runs that are normed together
/// and those that are left. What is not a number is in one run alone.
TEST_P(EachNorm, BitsAreThoseOfOtherWidths) {
  for (const DType type : kFloatTypes)
    for (const std::int64_t k :
         {1, 7, 8, 15, 16, 17, 32, 33, 128, 256, 257, 1023, 1024, 1025, 2051})
      for (const std::int64_t groups : {1, 2, 3, 5, 9}) {
        const NormCase c = {.x_type = type,
                            .weight_type = type,
                            .y_type = type,
                            .rows = 3,
                            .k = k,
                            .groups = groups,
                            .weighted = k % 2 != 0,
                            .offset = groups == 2 ? 1.0 : 0.0};
        Random random(static_cast<std::uint64_t>(k + groups));
        TypedRows x(type, 3, k * groups), weight(type, 1, k);
        TypedRows y(type, 3, k * groups), other(type, 3, k * groups);
        x.fill(random);
        weight.fill(random);
        x.set(0, 0, 1e-40);
        x.set(1, k * groups - 1, INFINITY);
        x.set(2, k / 2, NAN);
        run(c, x, weight, y, {0, 3});
        run(c, x, weight, other, {0, 3}, *find_kernel("norm_fany_r1_cpu"));
        for (std::int64_t i = 0; i < 3; ++i)
          EXPECT_EQ(y.row_bytes(i), other.row_bytes(i)) << k << " x " << groups << ", row " << i;
        for (std::int64_t g = 0; g < groups; ++g) {
          EXPECT_EQ(std::isnan(y.get(2, g * k)), g == 0) << g;
          EXPECT_EQ(std::isnan(y.get(1, (g + 1) * k - 1)), g == groups - 1) << g;
        }
      }
}

TEST_P(EachNorm, InPlace) {
  const NormCase c = {.x_type = DType::f16, .y_type = DType::f16, .rows = 2, .k = 700};
  Random random(5);
  TypedRows x(c.x_type, 2, 700), weight(DType::f32, 1, 700), y(c.y_type, 2, 700);
  x.fill(random);
  weight.fill(random);
  run(c, x, weight, y, {0, 2});
  run(c, x, weight, x, {0, 2});
  for (std::int64_t i = 0; i < 2; ++i) EXPECT_EQ(x.row_bytes(i), y.row_bytes(i));
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachNorm, testing::ValuesIn(built_rows({KernelOp::norm})),
                         row_name);

}  // namespace
}  // namespace stepless::test
