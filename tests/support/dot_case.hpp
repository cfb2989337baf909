// Inner products for the dot rows of the roll call, run behind guard pages.
#pragma once
#include <complex>
#include <cstdint>
#include <vector>

#include "kernels/kernel.hpp"
#include "tests/oracle/number.hpp"

namespace stepless::test {

/// A strided vector: element i is at `first` + i * `stride` of `elements` (bytes of `type`).
struct StridedVector {
  std::vector<std::uint8_t> elements;
  std::int64_t first = 0, stride = 1;
};

struct DotProblem {
  DType type = DType::f32;
  std::int64_t k = 0;
  StridedVector a, b;
};

/// The arguments of a problem whose elements lie at a and b; no workspace.
kernels::DotArgs dot_args(const DotProblem& problem, const std::uint8_t* a, const std::uint8_t* b,
                          std::uint8_t* y);
/// One element of `type`. On a CPU the blocks run ascending at once, or `backwards` one by one; a
/// GPU has one launch for both.
std::vector<std::uint8_t> run_dot(const Kernel& kernel, const DotProblem& problem, bool backwards);

/// Σ a b without conjugation, and Σ |a b| per component (of a complex product: of its two real
/// products).
struct DotReference {
  std::complex<double> sum, magnitude;
};
DotReference dot_reference(const DotProblem& problem);
/// The result's components; a real type's imaginary part is 0.
std::complex<double> dot_value(const std::vector<std::uint8_t>& bytes, DType type);

}  // namespace stepless::test
