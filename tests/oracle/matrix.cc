#include "tests/oracle/matrix.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stepless::oracle {
namespace {

unsigned code_of(const Stored& s, std::int64_t row, std::int64_t column) {
  const std::int64_t first = column * s.spec.bits, last = first + s.spec.bits - 1;
  const std::uint8_t* const bytes = &s.w[static_cast<std::size_t>(row * s.row_bytes())];
  const unsigned both = bytes[first / 8] | static_cast<unsigned>(bytes[last / 8]) << 8;
  return both >> (first % 8) & ((1u << s.spec.bits) - 1);
}

double group_value(const std::vector<std::uint8_t>& of, const Stored& s, std::int64_t group) {
  return value(&of[static_cast<std::size_t>(group * element_bytes(s.type))], s.type);
}

}  // namespace

Long decode(const Stored& s, std::int64_t row, std::int64_t column) {
  if (!s.packed)
    return {
        value(&s.w[static_cast<std::size_t>(row * s.row_bytes() + column * element_bytes(s.type))],
              s.type),
        0};
  const unsigned code = code_of(s, row, column);
  const std::int64_t group = row * (s.columns / s.spec.group_size) + column / s.spec.group_size;
  if (s.spec.mode == Mode::affine)
    return add(group_value(s.scales, s, group) * code, group_value(s.biases, s, group));
  const unsigned byte = s.scales[static_cast<std::size_t>(group)];
  switch (s.spec.mode) {
    case Mode::affine:
      break;
    case Mode::mxfp4:
      return {e8m0(byte) * e2m1(code), 0};
    case Mode::mxfp8:
      return {e8m0(byte) * e4m3(code), 0};
    case Mode::nvfp4:
      return {rounded(e4m3(byte) * static_cast<double>(s.tensor_scale), DType::f32) * e2m1(code),
              0};
  }
  return {std::numeric_limits<double>::quiet_NaN(), 0};
}

Matrix decode(const Stored& stored) {
  Matrix w(stored.rows, stored.columns);
  for (std::int64_t i = 0; i < stored.rows; ++i)
    for (std::int64_t j = 0; j < stored.columns; ++j) w.at(i, j) = decode(stored, i, j).high;
  return w;
}

Matrix product(const Matrix& x, const Matrix& w) {
  Matrix y(x.rows, w.rows);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < w.rows; ++j) {
      double sums[4] = {};  // four, so that the loop is not one chain of additions
      for (std::int64_t k = 0; k < x.columns; ++k) sums[k % 4] += x.at(i, k) * w.at(j, k);
      y.at(i, j) = sums[0] + sums[1] + sums[2] + sums[3];
    }
  return y;
}

Matrix transposed(const Matrix& a) {
  Matrix b(a.columns, a.rows);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.columns; ++j) b.at(j, i) = a.at(i, j);
  return b;
}

Matrix rounded_to_bytes(const Matrix& x, std::int64_t group) {
  Matrix y(x.rows, x.columns);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t first = 0; first < x.columns; first += group) {
      double most = 0;
      for (std::int64_t k = first; k < first + group; ++k)
        most = std::max(most, std::fabs(x.at(i, k)));
      const float factor = most == 0 ? 0 : 127 / static_cast<float>(most);
      for (std::int64_t k = first; k < first + group; ++k)
        y.at(i, k) = std::nearbyint(static_cast<float>(x.at(i, k)) * factor) * (most / 127);
    }
  return y;
}

double norm(const Matrix& a) {
  double squares = 0;
  for (const double value : a.data) squares += value * value;
  return std::sqrt(squares);
}

double allowance(const Matrix& ref, DType type, double expected) {
  const double c = type == DType::f32 ? 2e-5 : type == DType::f16 ? 1.6e-4 : 9e-4;
  Matrix rounding = ref;
  for (double& value : rounding.data) value -= rounded(value, type);
  return norm(rounding) + c * std::max(norm(ref), expected);
}

double error_share(const Matrix& y, const Matrix& ref, DType type, double expected) {
  Matrix difference = y;
  for (std::size_t i = 0; i < y.data.size(); ++i) difference.data[i] -= ref.data[i];
  const double error = norm(difference);
  if (error == 0) return 0;
  return std::isnan(error) ? std::numeric_limits<double>::infinity()
                           : error / allowance(ref, type, expected);
}

}  // namespace stepless::oracle
