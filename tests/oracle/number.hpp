// Element types by arithmetic on float64 and integers, written from contract.md and sharing nothing
// with the library.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "stepless/dtype.hpp"

namespace stepless::oracle {

/// A real number too long for a float64: high + low, where high is the sum rounded.
struct Long {
  double high = 0, low = 0;
};
/// a + b without error, barring overflow.
Long add(double a, double b);

/// Bytes of an element of f32, f16, bf16 (complex64: 8).
std::int64_t element_bytes(DType type);
/// The value of one f32, f16 or bf16 element at any address.
double value(const std::uint8_t* at, DType type);
/// The nearest value of `type`, ties to even; beyond the largest, infinity.
double rounded(Long number, DType type);
double rounded(double number, DType type);
/// Writes rounded(number, type) to any address.
void store(double number, DType type, std::uint8_t* at);
/// Elements one after the other.
std::vector<double> values(std::span<const std::uint8_t> bytes, DType type);
std::vector<std::uint8_t> bytes(std::span<const double> numbers, DType type);

/// What MLX's promotion makes of two float types: the type of an affine product.
DType promote(DType a, DType b);

double e2m1(unsigned code);  // 4 bits
double e4m3(unsigned code);  // 8 bits; NaN for 0x7f and 0xff
double e8m0(unsigned code);  // 2^(code - 127); NaN for 255

}  // namespace stepless::oracle
