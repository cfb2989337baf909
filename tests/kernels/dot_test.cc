// Every dot row of the roll call: lengths around its blocks, every stride, results to the last bit
// of their type.
#include <gtest/gtest.h>

#include <cmath>

#include "stepless/tensor.hpp"
#include "tests/support/dot_case.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16, DType::complex64};

bool takes(const Kernel& kernel, DType type) { return !kernel.is.act || *kernel.is.act == type; }

/// Exactly the elements the strides reach, so that the guard page lies behind the last of them.
StridedVector vector_of(DType type, std::int64_t k, std::int64_t stride, Random& random) {
  const std::int64_t reach = k == 0 ? 0 : (k - 1) * std::abs(stride) + 1;
  const DType part = type == DType::complex64 ? DType::f32 : type;
  std::vector<double> numbers(static_cast<std::size_t>(reach * (type == DType::complex64 ? 2 : 1)));
  for (double& number : numbers) number = random.normal();
  return {oracle::bytes(numbers, part), stride < 0 ? reach - 1 : 0, stride};
}

DotProblem problem(DType type, std::int64_t k, std::int64_t a_stride, std::int64_t b_stride,
                   std::uint64_t seed) {
  Random random(seed);
  DotProblem p{type, k, {}, {}};
  p.a = vector_of(type, k, a_stride, random);
  p.b = vector_of(type, k, b_stride, random);
  return p;
}

/// |got - want| at most one rounding of the type (half a step of it), and what float64 sums cost.
void expect_close(double got, double want, double magnitude, DType type) {
  const DType part = type == DType::complex64 ? DType::f32 : type;
  const double rounding = std::fabs(oracle::rounded(want, part) - want);
  EXPECT_LE(std::fabs(got - want), rounding + 1e-12 * magnitude) << got << " instead of " << want;
}

class EachDot : public EachRow {};

TEST_P(EachDot, EveryLengthAndStride) {
  std::uint64_t seed = 0;
  for (const DType type : kTypes) {
    if (!takes(row(), type)) continue;
    for (const std::int64_t k : {0, 1, 2, 15, 16, 17, 31, 33, 255, 256, 257, 1000})
      for (const auto& [sa, sb] :
           {std::pair{1, 1}, {1, 2}, {-1, 1}, {3, -5}, {0, 1}, {1, 0}, {0, 0}}) {
        const DotProblem p = problem(type, k, sa, sb, ++seed);
        SCOPED_TRACE(std::string(to_string(type)) + ", k " + std::to_string(k) + ", strides " +
                     std::to_string(sa) + ", " + std::to_string(sb));
        const std::complex<double> y = dot_value(run_dot(row(), p, false), type);
        const DotReference ref = dot_reference(p);
        expect_close(y.real(), ref.sum.real(), ref.magnitude.real(), type);
        expect_close(y.imag(), ref.sum.imag(), ref.magnitude.imag(), type);
      }
  }
}

TEST_P(EachDot, BlocksAndTheirOrder) {
  constexpr std::int64_t kBlock = kernels::kDotBlock;
  for (const DType type : kTypes) {
    if (!takes(row(), type)) continue;
    for (const std::int64_t k :
         {kBlock - 1, kBlock, kBlock + 1, 3 * kBlock + 77, 40 * kBlock + 1}) {
      const DotProblem p = problem(type, k, 1, 1, static_cast<std::uint64_t>(k));
      SCOPED_TRACE(std::string(to_string(type)) + ", k " + std::to_string(k));
      const auto bytes = run_dot(row(), p, false);
      EXPECT_EQ(bytes, run_dot(row(), p, true)) << "blocks run one by one from the last";
      const std::complex<double> y = dot_value(bytes, type);
      const DotReference ref = dot_reference(p);
      expect_close(y.real(), ref.sum.real(), ref.magnitude.real(), type);
      expect_close(y.imag(), ref.sum.imag(), ref.magnitude.imag(), type);
    }
  }
}

TEST_P(EachDot, AStrideDoesNotChangeBits) {
  for (const DType type : kTypes) {
    if (!takes(row(), type)) continue;
    const std::int64_t k = 70001, size = oracle::element_bytes(type);
    const DotProblem dense = problem(type, k, 1, 1, 5);
    DotProblem sparse = problem(type, k, 2, 1, 6);
    for (std::int64_t i = 0; i < k * size; ++i)
      sparse.a.elements[static_cast<std::size_t>(2 * (i / size) * size + i % size)] =
          dense.a.elements[static_cast<std::size_t>(i)];
    sparse.b = dense.b;
    EXPECT_EQ(run_dot(row(), dense, false), run_dot(row(), sparse, false)) << to_string(type);
  }
}

TEST_P(EachDot, ExtremesRoundAsTheTypeDoes) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    if (!takes(row(), type)) continue;
    const double huge = type == DType::f16 ? 60000 : 3e38;
    const auto dot = [&](std::vector<double> a, std::vector<double> b) {
      DotProblem p{type, static_cast<std::int64_t>(a.size()), {}, {}};
      p.a.elements = oracle::bytes(a, type);
      p.b.elements = oracle::bytes(b, type);
      return dot_value(run_dot(row(), p, false), type).real();
    };
    EXPECT_EQ(dot({huge, huge}, {1, 1}), HUGE_VAL) << to_string(type);
    EXPECT_EQ(dot({huge, huge, huge}, {1, 1, -2}), 0) << to_string(type);
    EXPECT_TRUE(std::isnan(dot({1, std::nan(""), 1}, {1, 1, 1}))) << to_string(type);
    EXPECT_EQ(dot({1, -HUGE_VAL}, {1, 2}), -HUGE_VAL) << to_string(type);
  }
  if (!takes(row(), DType::f16)) return;
  // 1 + 2^-11 is half-way between two f16; what is a little more must not be rounded to it first.
  DotProblem p{DType::f16, 3, {}, {}};
  p.a.elements = oracle::bytes(std::vector<double>{1, 0x1p-11, 0x1p-20}, DType::f16);
  p.b.elements = oracle::bytes(std::vector<double>{1, 1, 0x1p-20}, DType::f16);
  EXPECT_EQ(dot_value(run_dot(row(), p, false), DType::f16).real(), 1 + 0x1p-10);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EachDot);
INSTANTIATE_TEST_SUITE_P(RollCall, EachDot, ::testing::ValuesIn(built_rows({KernelOp::dot})),
                         row_name);

}  // namespace
}  // namespace stepless::test
