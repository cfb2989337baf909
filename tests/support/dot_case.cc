#include "tests/support/dot_case.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/device.hpp"
#include "tests/support/guard.hpp"

namespace stepless::test {
namespace {

std::complex<double> element(const StridedVector& v, DType type, std::int64_t i) {
  const std::int64_t at = v.first + i * v.stride;
  if (type == DType::complex64) {
    const std::uint8_t* const pair = &v.elements[static_cast<std::size_t>(at * 8)];
    return {oracle::value(pair, DType::f32), oracle::value(pair + 4, DType::f32)};
  }
  return oracle::value(&v.elements[static_cast<std::size_t>(at * oracle::element_bytes(type))],
                       type);
}

}  // namespace

kernels::DotArgs dot_args(const DotProblem& p, const std::uint8_t* a, const std::uint8_t* b,
                          std::uint8_t* y) {
  const std::int64_t size = oracle::element_bytes(p.type);
  kernels::DotArgs args{};
  args.a = a + p.a.first * size;
  args.b = b + p.b.first * size;
  args.a_stride = p.a.stride;
  args.b_stride = p.b.stride;
  args.k = p.k;
  args.type = p.type;
  args.y = y;
  return args;
}

std::vector<std::uint8_t> run_dot(const Kernel& kernel, const DotProblem& p, bool backwards) {
  if (kernel.device != nullptr) return run_on_device(kernel, p);
  const std::int64_t size = oracle::element_bytes(p.type);
  const std::int64_t blocks = (p.k + kernels::kDotBlock - 1) / kernels::kDotBlock;
  const Guarded a(p.a.elements), b(p.b.elements), y(size), workspace(16 * blocks);
  kernels::DotArgs args = dot_args(p, a.data(), b.data(), y.data());
  args.workspace = reinterpret_cast<double*>(workspace.data());
  if (backwards)
    for (std::int64_t i = blocks; i > 0; --i) kernel.entry->run(&args, {i - 1, i});
  else if (blocks > 0)
    kernel.entry->run(&args, {0, blocks});
  if (kernel.entry->finish != nullptr) kernel.entry->finish(&args);
  EXPECT_TRUE(y.surroundings_intact()) << "written beside y";
  EXPECT_TRUE(workspace.surroundings_intact()) << "written beside the workspace";
  return {y.data(), y.data() + size};
}

DotReference dot_reference(const DotProblem& p) {
  long double real = 0, imaginary = 0, real_size = 0, imaginary_size = 0;
  for (std::int64_t i = 0; i < p.k; ++i) {
    const std::complex<double> a = element(p.a, p.type, i), b = element(p.b, p.type, i);
    const double rr = a.real() * b.real(), ii = a.imag() * b.imag();
    const double ri = a.real() * b.imag(), ir = a.imag() * b.real();
    real += static_cast<long double>(rr) - static_cast<long double>(ii);
    imaginary += static_cast<long double>(ri) + static_cast<long double>(ir);
    real_size += static_cast<long double>(std::fabs(rr) + std::fabs(ii));
    imaginary_size += static_cast<long double>(std::fabs(ri) + std::fabs(ir));
  }
  return {{static_cast<double>(real), static_cast<double>(imaginary)},
          {static_cast<double>(real_size), static_cast<double>(imaginary_size)}};
}

std::complex<double> dot_value(const std::vector<std::uint8_t>& bytes, DType type) {
  return element({bytes, 0, 1}, type, 0);
}

}  // namespace stepless::test
