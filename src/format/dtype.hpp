// Element types: their names in files, and f16/bf16 to and from f32 (nearest even; NaN, infinities,
// subnormals kept).
#pragma once
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stepless/tensor.hpp"

namespace stepless {

inline float f16_to_f32(std::uint16_t code) {
  // 13 bits left, the f16 exponent sits in the f32 field 112 too low: times 2^112, which is exact
  // for subnormals too.
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x8000u) << 16;
  const std::uint32_t rest = static_cast<std::uint32_t>(code & 0x7fffu) << 13;
  const std::uint32_t scaled = std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest) * 0x1p112f);
  const bool special = (code & 0x7c00u) == 0x7c00u;  // infinity or NaN: payload kept
  return std::bit_cast<float>(sign | (special ? rest | 0x7f800000u : scaled));
}

inline std::uint16_t f32_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t rest = bits & 0x7fffffffu;
  std::uint32_t code = 0;
  if (rest > 0x7f800000u) {
    code = 0x7e00u | ((rest >> 13) & 0x3ffu);  // a quiet NaN
  } else if (rest >= 0x477ff000u) {
    code = 0x7c00u;  // 65520, half a step above the largest, and beyond
  } else if (rest < 0x38800000u) {
    // Below 2^-14: adding 0.5, whose step is 2^-24 as a subnormal's, lets the adder round.
    code = std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000u;
  } else {
    code = (rest + 0xfffu + ((rest >> 13) & 1u) - 0x38000000u) >> 13;
  }
  return static_cast<std::uint16_t>(sign | code);
}

inline float bf16_to_f32(std::uint16_t code) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16);
}

inline std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t nan = (bits >> 16) | 0x40u;
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

/// f64 rounded to odd: a second rounding, to f16 or bf16, then gives what one rounding of the f64
/// gives.
inline float f64_to_f32_odd(double value) {
  const float near = static_cast<float>(value);
  const double back = static_cast<double>(near);
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(near);
  if (back == value || value != value || (bits & 1u) != 0) return near;
  const bool beyond = value < 0 ? back < value : back > value;  // rounded away from zero
  return std::bit_cast<float>(beyond ? bits - 1 : bits + 1);
}

/// f64 rounded once to f16, bf16.
inline std::uint16_t f64_to_f16(double value) { return f32_to_f16(f64_to_f32_odd(value)); }
inline std::uint16_t f64_to_bf16(double value) { return f32_to_bf16(f64_to_f32_odd(value)); }

/// n elements of any real type, at any address, as f32 (f64 and wide integers are rounded once).
/// Throws Error (unsupported) for complex64.
void to_f32(const void* src, DType type, float* dst, std::int64_t n);

/// n values rounded once to f32, f16, bf16 or f64, at any address. Throws Error (unsupported) for
/// other types.
void from_f32(const float* src, DType type, void* dst, std::int64_t n);
void from_f64(const double* src, DType type, void* dst, std::int64_t n);

/// "F32", "BF16", "BOOL" ...: the names in safetensors headers. Nothing for types we do not hold
/// (F8_E4M3 ...).
std::optional<DType> find_safetensors_dtype(std::string_view name);
/// The name in a safetensors header; "C64" for complex64.
std::string_view safetensors_name(DType type);

/// "float32", "float16", "bfloat16", also with "torch." before: config.json and --act-dtype.
/// Throws Error (unsupported), naming `what` and the known names.
DType parse_float_dtype(std::string_view name, std::string_view what);
/// "float32", "float16", "bfloat16"; for other types their token.
std::string_view torch_name(DType type);

/// Elements of a shape; 1 for an empty one. Throws Error: invalid_argument (negative), exhausted
/// (overflow).
std::int64_t count_of(const Shape& shape, std::string_view what);
/// Bytes of an array of this shape; errors as count_of.
std::int64_t bytes_of(const Shape& shape, DType type, std::string_view what);
/// "[2, 64]", as messages print shapes.
std::string shape_text(const Shape& shape);

}  // namespace stepless
