#include "format/dtype.hpp"

#include <fmt/ranges.h>

#include <array>
#include <cstring>

#include "base/checked.hpp"

namespace stepless {
namespace {

struct Row {
  DType type;
  std::string_view token, safetensors;
  std::int64_t bytes;
};

// In the order of the enum.
constexpr std::array<Row, 14> kRows{{
    {DType::f32, "f32", "F32", 4},
    {DType::f16, "f16", "F16", 2},
    {DType::bf16, "bf16", "BF16", 2},
    {DType::f64, "f64", "F64", 8},
    {DType::u8, "u8", "U8", 1},
    {DType::u16, "u16", "U16", 2},
    {DType::u32, "u32", "U32", 4},
    {DType::u64, "u64", "U64", 8},
    {DType::i8, "i8", "I8", 1},
    {DType::i16, "i16", "I16", 2},
    {DType::i32, "i32", "I32", 4},
    {DType::i64, "i64", "I64", 8},
    {DType::boolean, "boolean", "BOOL", 1},
    {DType::complex64, "complex64", "C64", 8},
}};

constexpr bool rows_follow_enum() {
  for (std::size_t i = 0; i < kRows.size(); ++i)
    if (static_cast<std::size_t>(kRows[i].type) != i) return false;
  return true;
}
static_assert(rows_follow_enum());

const Row& row(DType type) { return kRows.at(static_cast<std::size_t>(type)); }

template <class From, class Convert>
void each_to_f32(const void* src, float* dst, std::int64_t n, Convert convert) {
  const char* bytes = static_cast<const char*>(src);
  for (std::int64_t i = 0; i < n; ++i) {
    From value;
    std::memcpy(&value, bytes + i * static_cast<std::int64_t>(sizeof value), sizeof value);
    dst[i] = convert(value);
  }
}

template <class From>
void cast_to_f32(const void* src, float* dst, std::int64_t n) {
  each_to_f32<From>(src, dst, n, [](From value) { return static_cast<float>(value); });
}

template <class To, class From, class Convert>
void each_from(const From* src, void* dst, std::int64_t n, Convert convert) {
  char* bytes = static_cast<char*>(dst);
  for (std::int64_t i = 0; i < n; ++i) {
    const To value = convert(src[i]);
    std::memcpy(bytes + i * static_cast<std::int64_t>(sizeof value), &value, sizeof value);
  }
}

}  // namespace

std::string_view to_string(DType type) { return row(type).token; }

std::int64_t size_of(DType type) { return row(type).bytes; }

std::string_view safetensors_name(DType type) { return row(type).safetensors; }

std::optional<DType> find_safetensors_dtype(std::string_view name) {
  for (const Row& each : kRows)
    if (each.safetensors == name) return each.type;
  return std::nullopt;
}

DType parse_float_dtype(std::string_view name, std::string_view what) {
  std::string_view bare = name;
  if (bare.starts_with("torch.")) bare.remove_prefix(6);
  if (bare == "float32") return DType::f32;
  if (bare == "float16") return DType::f16;
  if (bare == "bfloat16") return DType::bf16;
  fail(ErrorCode::unsupported, "{}: type \"{}\"; expected float32, float16 or bfloat16", what,
       name);
}

std::string_view torch_name(DType type) {
  if (type == DType::f32) return "float32";
  if (type == DType::f16) return "float16";
  if (type == DType::bf16) return "bfloat16";
  return to_string(type);
}

void to_f32(const void* src, DType type, float* dst, std::int64_t n) {
  switch (type) {
    case DType::f32:
      if (n > 0) std::memcpy(dst, src, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::f16:
      return each_to_f32<std::uint16_t>(src, dst, n, f16_to_f32);
    case DType::bf16:
      return each_to_f32<std::uint16_t>(src, dst, n, bf16_to_f32);
    case DType::f64:
      return cast_to_f32<double>(src, dst, n);
    case DType::u8:
      return cast_to_f32<std::uint8_t>(src, dst, n);
    case DType::u16:
      return cast_to_f32<std::uint16_t>(src, dst, n);
    case DType::u32:
      return cast_to_f32<std::uint32_t>(src, dst, n);
    case DType::u64:
      return cast_to_f32<std::uint64_t>(src, dst, n);
    case DType::i8:
      return cast_to_f32<std::int8_t>(src, dst, n);
    case DType::i16:
      return cast_to_f32<std::int16_t>(src, dst, n);
    case DType::i32:
      return cast_to_f32<std::int32_t>(src, dst, n);
    case DType::i64:
      return cast_to_f32<std::int64_t>(src, dst, n);
    case DType::boolean:
      return each_to_f32<std::uint8_t>(src, dst, n,
                                       [](std::uint8_t v) { return v != 0 ? 1.0f : 0.0f; });
    case DType::complex64:
      break;
  }
  fail(ErrorCode::unsupported, "to_f32: {} elements have no single f32 value", to_string(type));
}

void from_f32(const float* src, DType type, void* dst, std::int64_t n) {
  if (type == DType::f32) {
    if (n > 0) std::memcpy(dst, src, static_cast<std::size_t>(n) * sizeof(float));
  } else if (type == DType::f16) {
    each_from<std::uint16_t>(src, dst, n, f32_to_f16);
  } else if (type == DType::bf16) {
    each_from<std::uint16_t>(src, dst, n, f32_to_bf16);
  } else if (type == DType::f64) {
    each_from<double>(src, dst, n, [](float v) { return static_cast<double>(v); });
  } else {
    fail(ErrorCode::unsupported, "from_f32: {} is no floating type; expected f32, f16, bf16 or f64",
         to_string(type));
  }
}

void from_f64(const double* src, DType type, void* dst, std::int64_t n) {
  if (type == DType::f64) {
    if (n > 0) std::memcpy(dst, src, static_cast<std::size_t>(n) * sizeof(double));
  } else if (type == DType::f32) {
    each_from<float>(src, dst, n, [](double v) { return static_cast<float>(v); });
  } else if (type == DType::f16) {
    each_from<std::uint16_t>(src, dst, n, f64_to_f16);
  } else if (type == DType::bf16) {
    each_from<std::uint16_t>(src, dst, n, f64_to_bf16);
  } else {
    fail(ErrorCode::unsupported, "from_f64: {} is no floating type; expected f32, f16, bf16 or f64",
         to_string(type));
  }
}

std::int64_t count_of(const Shape& shape, std::string_view what) {
  // A zero anywhere makes the count zero, but must not hide factors that overflow in another order.
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count = checked_mul(count, size == 0 ? 1 : size, what);
  for (const std::int64_t size : shape)
    if (size == 0) return 0;
  return count;
}

std::int64_t bytes_of(const Shape& shape, DType type, std::string_view what) {
  return checked_mul(count_of(shape, what), size_of(type), what);
}

std::string shape_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace stepless
