// Decoding and products in float64 loops: what every kernel is held against (contract.md, sections
// 2, 4 and 5).
#pragma once
#include <cstdint>
#include <vector>

#include "stepless/quant.hpp"
#include "tests/oracle/number.hpp"

namespace stepless::oracle {

struct Matrix {
  std::int64_t rows = 0, columns = 0;
  std::vector<double> data;
  Matrix() = default;
  Matrix(std::int64_t r, std::int64_t c) : rows(r), columns(c), data(size(r, c)) {}
  double& at(std::int64_t i, std::int64_t j) { return data[index(i, j)]; }
  double at(std::int64_t i, std::int64_t j) const { return data[index(i, j)]; }

 private:
  static std::size_t size(std::int64_t r, std::int64_t c) {
    return static_cast<std::size_t>(r * c);
  }
  std::size_t index(std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(i * columns + j);
  }
};

/// The stored bytes of a weight: packed, or dense elements of `type` (scales empty).
struct Stored {
  bool packed = true;
  QuantSpec spec;
  DType type = DType::f32;  // of scales and biases, or of the elements
  std::int64_t rows = 0, columns = 0;
  std::vector<std::uint8_t> w, scales, biases;
  float tensor_scale = 1;  // nvfp4: t / 2688
  std::int64_t row_bytes() const {
    return packed ? columns * spec.bits / 8 : columns * element_bytes(type);
  }
};

/// One weight without rounding error.
Long decode(const Stored& stored, std::int64_t row, std::int64_t column);
/// All of them as float64.
Matrix decode(const Stored& stored);

/// y = x · wᵀ.
Matrix product(const Matrix& x, const Matrix& w);
Matrix transposed(const Matrix& a);
/// Every `group` neighbours of a row as integers of -127 to 127 times their largest magnitude over
/// 127: in float32 to the nearest, halves to even.
Matrix rounded_to_bytes(const Matrix& x, std::int64_t group);
double norm(const Matrix& a);

/// The largest ‖y - ref‖ the contract allows for outputs of `type`; `expected` is E‖y‖.
double allowance(const Matrix& ref, DType type, double expected);
/// ‖y - ref‖ over the allowance: at most 1. A NaN counts as infinity.
double error_share(const Matrix& y, const Matrix& ref, DType type, double expected);

}  // namespace stepless::oracle
