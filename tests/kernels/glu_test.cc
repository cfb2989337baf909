#include <gtest/gtest.h>

#include "tests/oracle/row_ops.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

using kernels::Activation;
constexpr Activation kActivations[] = {Activation::silu, Activation::gelu,  Activation::gelu_tanh,
                                       Activation::relu, Activation::swish, Activation::sigmoid};
constexpr float kAlpha = 1.702f;

double activation(Activation which, double x) {
  switch (which) {
    case Activation::silu:
      return oracle::silu(x);
    case Activation::gelu:
      return oracle::gelu(x);
    case Activation::gelu_tanh:
      return oracle::gelu_tanh(x);
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::swish:
      return oracle::swish(x, static_cast<double>(kAlpha));
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
  }
  return NAN;
}

/// The relative error float32 may make: each rounding of an exponent counts as often as the
/// exponent is large.
double f32_error(Activation which, double x) {
  double exponent = 0;
  if (which == Activation::silu || which == Activation::sigmoid) exponent = std::abs(x);
  if (which == Activation::swish) exponent = 1.702 * std::abs(x);
  if (which == Activation::gelu) exponent = x * x / 2;
  if (which == Activation::gelu_tanh) exponent = 1.6 * std::abs(x + 0.044715 * x * x * x);
  return (6 + (x < 0 ? 5 * exponent : 0)) * 0x1p-24;
}

struct Shift {
  float limit = 0, up_offset = 0;
};

class EachGlu : public EachRow {
 protected:
  static void run(Activation which, const TypedRows& gate, const TypedRows& up, const TypedRows& y,
                  kernels::Slice slice, Shift shift = {}, const Kernel& kernel = row()) {
    kernels::GluArgs args = {};
    args.gate = gate.data();
    args.up = up.data();
    args.y = y.data();
    args.type = gate.type();
    args.rows = gate.rows();
    args.width = gate.width();
    args.gate_stride = gate.stride();
    args.up_stride = up.stride();
    args.y_stride = y.stride();
    args.activation = which;
    args.alpha = kAlpha;
    args.limit = shift.limit;
    args.up_offset = shift.up_offset;
    kernel.entry->run(&args, slice);
  }
};

TEST_P(EachGlu, EveryTypeWidthAndActivation) {
  for (const DType type : kFloatTypes)
    for (const Activation which : kActivations)
      for (const std::int64_t width : {1, 3, 4, 5, 64, 255, 256, 259, 700}) {
        SCOPED_TRACE(testing::Message() << "width " << width);
        Random random(static_cast<std::uint64_t>(width));
        TypedRows gate(type, 2, width, 1), up(type, 2, width), y(type, 2, width, 2);
        gate.fill(random, 3);
        up.fill(random);
        run(which, gate, up, y, {0, 2});
        EXPECT_TRUE(y.untouched_between());
        for (std::int64_t i = 0; i < 2; ++i)
          for (std::int64_t j = 0; j < width; ++j) {
            const double ref = activation(which, gate.get(i, j)) * up.get(i, j);
            expect_rounded(y.get(i, j), ref, type, f32_error(which, gate.get(i, j)), std::abs(ref));
          }
      }
}

// The whole range, relative to the answer itself: tails must not cancel away.
TEST_P(EachGlu, ActivationsHoldOverTheirRange) {
  constexpr std::int64_t kSteps = 40001;
  for (const Activation which : kActivations) {
    TypedRows gate(DType::f32, 1, kSteps), up(DType::f32, 1, kSteps), y(DType::f32, 1, kSteps);
    for (std::int64_t j = 0; j < kSteps; ++j) {
      gate.set(0, j, static_cast<double>(j - kSteps / 2) * 5e-4);  // -10 .. 10
      up.set(0, j, 1);
    }
    run(which, gate, up, y, {0, 1});
    double worst = 0;
    for (std::int64_t j = 0; j < kSteps; ++j) {
      const double x = gate.get(0, j), ref = activation(which, x);
      const double allowed = f32_error(which, x) * std::abs(ref) + 1e-37;
      worst = std::max(worst, std::abs(y.get(0, j) - ref) / allowed);
    }
    EXPECT_LE(worst, 1) << static_cast<int>(which);
  }
}

TEST_P(EachGlu, FarOutAndNaN) {
  for (const Activation which : kActivations) {
    TypedRows gate(DType::f32, 1, 6), up(DType::f32, 1, 6), y(DType::f32, 1, 6);
    const double inputs[] = {-200, 200, 1e20, -1e20, INFINITY, NAN};
    for (std::int64_t j = 0; j < 6; ++j) {
      gate.set(0, j, inputs[j]);
      up.set(0, j, 1);
    }
    run(which, gate, up, y, {0, 1});
    const bool bounded = which == Activation::sigmoid;
    EXPECT_EQ(y.get(0, 0), 0) << static_cast<int>(which);
    EXPECT_EQ(y.get(0, 1), bounded ? 1 : 200);
    EXPECT_EQ(y.get(0, 2), bounded ? 1 : static_cast<double>(1e20f));
    EXPECT_EQ(y.get(0, 3), 0);
    EXPECT_EQ(y.get(0, 4), bounded ? 1 : INFINITY);
    EXPECT_TRUE(std::isnan(y.get(0, 5)));
  }
}

/// The gate is cut from above only, up on both sides, and the offset is added after that.
TEST_P(EachGlu, LimitAndOffset) {
  constexpr Shift kShifts[] = {{2, 0}, {0, 1}, {7, 1}, {0.5f, -3}};
  for (const DType type : kFloatTypes)
    for (const Activation which : {Activation::silu, Activation::swish})
      for (const Shift& shift : kShifts) {
        constexpr std::int64_t kWidth = 515;
        Random random(11);
        TypedRows gate(type, 2, kWidth), up(type, 2, kWidth, 1), y(type, 2, kWidth, 2);
        gate.fill(random, 6);
        up.fill(random, 6);
        run(which, gate, up, y, {0, 2}, shift);
        EXPECT_TRUE(y.untouched_between());
        const auto limit = static_cast<double>(shift.limit);
        int cut = 0;
        for (std::int64_t i = 0; i < 2; ++i)
          for (std::int64_t j = 0; j < kWidth; ++j) {
            double g = gate.get(i, j), u = up.get(i, j);
            if (limit != 0) {
              cut += g > limit || std::abs(u) > limit ? 1 : 0;
              g = std::min(g, limit);
              u = oracle::clamped(u, limit);
            }
            const double size = activation(which, g) * (std::abs(u) + std::abs(shift.up_offset));
            const double ref = activation(which, g) * (u + static_cast<double>(shift.up_offset));
            expect_rounded(y.get(i, j), ref, type, f32_error(which, g), std::abs(size));
          }
        EXPECT_EQ(cut > 0, limit != 0);
      }
}

TEST_P(EachGlu, LimitsMeetInfinitiesAndKeepNaN) {
  TypedRows gate(DType::f32, 1, 5), up(DType::f32, 1, 5), y(DType::f32, 1, 5);
  const double gates[] = {INFINITY, 1e30, NAN, 3, -INFINITY}, ups[] = {-INFINITY, 1e30, 1, NAN, 2};
  for (std::int64_t j = 0; j < 5; ++j) {
    gate.set(0, j, gates[j]);
    up.set(0, j, ups[j]);
  }
  run(Activation::relu, gate, up, y, {0, 1}, {7, 1});
  EXPECT_EQ(y.get(0, 0), 7 * (-7 + 1));
  EXPECT_EQ(y.get(0, 1), 7 * (7 + 1));
  EXPECT_TRUE(std::isnan(y.get(0, 2)));
  EXPECT_TRUE(std::isnan(y.get(0, 3)));
  EXPECT_EQ(y.get(0, 4), 0);
}

TEST_P(EachGlu, OneGateForTheWholeRow) {
  for (const DType type : kFloatTypes) {
    Random random(2);
    TypedRows gate(type, 3, 1, 2), up(type, 3, 300), y(type, 3, 300);
    gate.fill(random, 2);
    up.fill(random);
    kernels::GluArgs args = {};
    args.gate = gate.data(), args.up = up.data(), args.y = y.data();
    args.type = type;
    args.rows = 3, args.width = 300;
    args.gate_stride = gate.stride(), args.up_stride = up.stride(), args.y_stride = y.stride();
    args.activation = Activation::sigmoid;
    args.one_gate = true;
    row().entry->run(&args, {0, 3});
    EXPECT_TRUE(y.untouched_between());
    for (std::int64_t i = 0; i < 3; ++i)
      for (std::int64_t j = 0; j < 300; ++j) {
        const double ref = up.get(i, j) / (1 + std::exp(-gate.get(i, 0)));
        expect_rounded(y.get(i, j), ref, type, f32_error(Activation::sigmoid, gate.get(i, 0)),
                       std::abs(ref));
      }
  }
}

/// From where e^-x is zero to where it is infinite, subnormal numbers of every type between.
TEST_P(EachGlu, BitsAreThoseOfOtherWidths) {
  for (const DType type : kFloatTypes)
    for (const Activation which : kActivations)
      for (const std::int64_t width : {1, 15, 16, 17, 31, 33, 255, 257, 4001}) {
        Random random(static_cast<std::uint64_t>(width));
        TypedRows gate(type, 2, width), up(type, 2, width), y(type, 2, width),
            other(type, 2, width);
        up.fill(random);
        for (std::int64_t j = 0; j < width; ++j) {
          gate.set(0, j, (static_cast<double>(j) / 2000 - 1) * 110);
          gate.set(1, j, random.normal() * 3);
        }
        gate.set(1, width / 2, -INFINITY);
        run(which, gate, up, y, {0, 2});
        run(which, gate, up, other, {0, 2}, {}, *find_kernel("glu_fany_r1_cpu"));
        for (std::int64_t i = 0; i < 2; ++i)
          EXPECT_EQ(y.row_bytes(i), other.row_bytes(i)) << width << ", row " << i;
      }
}

TEST_P(EachGlu, RowAloneEqualsRowInCompany) {
  Random random(9);
  TypedRows gate(DType::bf16, 17, 300), up(DType::bf16, 17, 300);
  TypedRows together(DType::bf16, 17, 300), split(DType::bf16, 17, 300);
  gate.fill(random);
  up.fill(random);
  run(Activation::silu, gate, up, together, {0, 17});
  for (const kernels::Slice slice : {kernels::Slice{0, 1}, {1, 9}, {9, 17}})
    run(Activation::silu, gate, up, split, slice);
  for (std::int64_t i = 0; i < 17; ++i) EXPECT_EQ(together.row_bytes(i), split.row_bytes(i)) << i;
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachGlu, testing::ValuesIn(built_rows({KernelOp::glu})),
                         row_name);

}  // namespace
}  // namespace stepless::test
