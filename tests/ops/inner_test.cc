// inner() and dot(): NumPy's shapes, any strides, complex without conjugation.
#include <gtest/gtest.h>

#include <complex>

#include "ops/context.hpp"
#include "tests/ops/arrays.hpp"

namespace stepless {
namespace {
using test::Bytes;
using test::bytes_of;
using test::FloatArray;
using test::random_floats;

/// A complex64 array: real and imaginary parts ~ N(0, 1).
struct ComplexArray {
  FloatArray parts;
  Shape shape;
  TensorView view() const { return test::view_of(parts.bytes, DType::complex64, shape); }
  std::complex<double> at(std::int64_t i) const {
    const auto* bytes = parts.bytes.data() + i * 8;
    return {oracle::value(bytes, DType::f32), oracle::value(bytes + 4, DType::f32)};
  }
};

ComplexArray random_complex(Shape shape, std::uint64_t seed) {
  return {random_floats(DType::f32, {count_of(shape, "a") * 2}, seed), shape};
}

std::complex<double> complex_at(const Tensor& y, std::int64_t i) {
  const Bytes bytes = bytes_of(y);
  return {oracle::value(bytes.data() + i * 8, DType::f32),
          oracle::value(bytes.data() + i * 8 + 4, DType::f32)};
}

double real_at(const Tensor& y, std::int64_t i) {
  const Bytes bytes = bytes_of(y);
  return oracle::value(bytes.data() + i * size_of(y.type), y.type);
}

TEST(Inner, OfMatricesSumsOverTheLastAxes) {
  Context context(2);
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const FloatArray a = random_floats(type, {2, 3, 50}, 1), b = random_floats(type, {4, 50}, 2);
    const Tensor y = inner(context, a.view(), b.view());
    EXPECT_EQ(y.shape, (Shape{2, 3, 4}));
    EXPECT_EQ(y.type, type);
    const oracle::Matrix w = b.matrix(0, 4, 50), ref = oracle::product(a.matrix(0, 6, 50), w);
    EXPECT_LE(oracle::error_share(test::matrix_of(bytes_of(y), type, 6), ref, type,
                                  oracle::norm(w) * std::sqrt(6.0)),
              1.0);
    EXPECT_EQ(inner(context, random_floats(type, {50}, 3).view(), b.view()).shape, (Shape{4}));
    EXPECT_EQ(inner(context, a.view(), random_floats(type, {50}, 3).view()).shape, (Shape{2, 3}));
  }
}

TEST(Inner, OfComplexMatricesDoesNotConjugate) {
  Context context(1);
  const ComplexArray a = random_complex({3, 20}, 4), b = random_complex({2, 20}, 5);
  const Tensor y = inner(context, a.view(), b.view());
  ASSERT_EQ(y.shape, (Shape{3, 2}));
  EXPECT_EQ(y.type, DType::complex64);
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 2; ++j) {
      std::complex<double> ref = 0;
      for (std::int64_t k = 0; k < 20; ++k) ref += a.at(i * 20 + k) * b.at(j * 20 + k);
      EXPECT_LT(std::abs(complex_at(y, i * 2 + j) - ref), 1e-5) << i << ", " << j;
    }
}

TEST(Inner, TakesAnyStrides) {
  Context context(2);
  const FloatArray pool = random_floats(DType::f32, {4000}, 6);
  const TensorView base = pool.view();
  const auto element = [&](std::int64_t i) {
    return oracle::value(pool.bytes.data() + i * 4, DType::f32);
  };
  struct Case {
    std::int64_t offset, row, step;
  };
  for (const Case a : {Case{0, 30, 1}, Case{1000, -30, 1}, Case{2000, 1, -7}, Case{5, 0, 0}})
    for (const Case b : {Case{100, 30, 1}, Case{3000, 3, 5}}) {
      const StridedView left(base.data + a.offset * 4, DType::f32, {3, 30}, {a.row, a.step});
      const StridedView right(base.data + b.offset * 4, DType::f32, {2, 30}, {b.row, b.step});
      const Tensor y = inner(context, left, right);
      for (std::int64_t i = 0; i < 3; ++i)
        for (std::int64_t j = 0; j < 2; ++j) {
          double ref = 0;
          for (std::int64_t k = 0; k < 30; ++k)
            ref += element(a.offset + i * a.row + k * a.step) *
                   element(b.offset + j * b.row + k * b.step);
          EXPECT_NEAR(real_at(y, i * 2 + j), ref, 1e-4) << a.row << " " << a.step << " " << b.step;
        }
    }
}

TEST(Dot, OfVectorsAtAnyStrideAndThreadCount) {
  const std::int64_t k = 3 * 65536 + 17;  // four blocks
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const FloatArray a = random_floats(type, {2 * k}, 7), b = random_floats(type, {k}, 8);
    const std::int64_t size = size_of(type);
    for (const std::int64_t step : {1, 2, -1, 0}) {
      const std::int64_t first = step < 0 ? k - 1 : 0;
      const StridedView left(a.view().data + first * size, type, {k}, {step});
      Context one(1), three(3);
      const Tensor y = dot(one, left, b.view());
      EXPECT_EQ(y.shape, Shape{});
      EXPECT_EQ(dot(three, left, b.view()).data, y.data);
      double ref = 0, sum_abs = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        const double term = oracle::value(a.bytes.data() + (first + i * step) * size, type) *
                            oracle::value(b.bytes.data() + i * size, type);
        ref += term, sum_abs += std::fabs(term);
      }
      const double unit = type == DType::f32 ? 0x1p-24 : type == DType::f16 ? 0x1p-11 : 0x1p-8;
      EXPECT_NEAR(real_at(y, 0), ref, unit * std::fabs(ref) + 1e-7 * sum_abs)
          << to_string(type) << " step " << step;
    }
  }
}

TEST(Dot, AtAnyAddress) {
  Context context(1);
  const FloatArray a = random_floats(DType::f32, {100}, 9);
  Bytes odd(401);
  std::copy(a.bytes.begin(), a.bytes.end(), odd.begin() + 1);
  const StridedView shifted(reinterpret_cast<const std::byte*>(odd.data() + 1), DType::f32, {100},
                            {1});
  EXPECT_EQ(dot(context, shifted, a.view()).data, dot(context, a.view(), a.view()).data);
}

TEST(Dot, OfNothingIsZero) {
  Context context(1);
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::complex64}) {
    const Tensor y =
        dot(context, StridedView(nullptr, type, {0}, {1}), StridedView(nullptr, type, {0}, {1}));
    EXPECT_EQ(bytes_of(y), Bytes(static_cast<std::size_t>(size_of(type)), 0));
    EXPECT_EQ(inner(context, StridedView(nullptr, type, {2, 0}, {0, 1}),
                    StridedView(nullptr, type, {3, 0}, {0, 1}))
                  .shape,
              (Shape{2, 3}));
  }
}

TEST(StridedView, OfATensorIsContiguous) {
  const FloatArray a = random_floats(DType::f32, {2, 3, 4}, 10);
  EXPECT_EQ(StridedView(a.view()).strides, (Shape{12, 4, 1}));
}

}  // namespace
}  // namespace stepless
