#include "format/quantized.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/scalar.hpp"

namespace stepless {
namespace {

std::string spec_text(const QuantSpec& spec) {
  return fmt::format("{} {} bit{}, group {}", to_string(spec.mode), spec.bits,
                     spec.bits == 1 ? "" : "s", spec.group_size);
}

void check_spec(const QuantSpec& spec, std::string_view what) {
  try {
    make_spec(spec.mode, spec.bits, spec.group_size);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", what, error.what());
  }
}

// The packed array alone; returns k.
std::int64_t check_packed(const QuantizedView& view, std::string_view what) {
  const auto& [spec, packed, scales, biases, tensor_scale] = view;
  if (packed.type != DType::u32)
    fail(ErrorCode::invalid_argument, "{}.weight: type {}; a packed weight is u32", what,
         to_string(packed.type));
  if (packed.shape.size() < 2)
    fail(ErrorCode::invalid_argument, "{}.weight: shape {}; expected two dimensions or more", what,
         shape_text(packed.shape));
  bytes_of(packed.shape, packed.type, what);  // overflow and negative sizes
  const std::int64_t bits = checked_mul(packed.shape.back(), 32, what);
  const std::int64_t k = bits / spec.bits;
  if (bits == 0 || bits % spec.bits != 0 || k % spec.group_size != 0)
    fail(
        ErrorCode::invalid_argument,
        "{}.weight: shape {}: {} packed columns hold no whole groups of {}; expected a multiple of "
        "{} columns",
        what, shape_text(packed.shape), packed.shape.back(), spec_text(spec),
        std::max(1, spec.group_size * spec.bits / 32));
  return k;
}

void check_scales(const QuantizedView& view, std::int64_t k, std::string_view what) {
  const bool affine = view.spec.mode == Mode::affine;
  const TensorView& scales = view.scales;
  if (is_absent(scales))
    fail(ErrorCode::invalid_argument, "{}.scales: missing; mode {} needs them", what,
         to_string(view.spec.mode));
  if (affine ? !is_float(scales.type) : scales.type != DType::u8)
    fail(ErrorCode::invalid_argument, "{}.scales: type {} in mode {}; expected {}", what,
         to_string(scales.type), to_string(view.spec.mode), affine ? "f32, f16 or bf16" : "u8");
  Shape expected = view.packed.shape;
  expected.back() = groups_of(view.spec, k);
  if (scales.shape != expected)
    fail(ErrorCode::invalid_argument, "{}.scales: shape {} does not fit weight {}, {}; expected {}",
         what, shape_text(scales.shape), shape_text(view.packed.shape), spec_text(view.spec),
         shape_text(expected));
}

void check_biases(const QuantizedView& view, std::string_view what) {
  const TensorView& biases = view.biases;
  if (view.spec.mode != Mode::affine) {
    if (is_absent(biases)) return;
    fail(ErrorCode::invalid_argument, "{}.biases: present, shape {}; mode {} has none", what,
         shape_text(biases.shape), to_string(view.spec.mode));
  }
  if (is_absent(biases))
    fail(ErrorCode::invalid_argument, "{}.biases: missing; mode affine needs them", what);
  if (biases.type != view.scales.type)
    fail(ErrorCode::invalid_argument, "{}.biases: type {}; expected {}, as the scales", what,
         to_string(biases.type), to_string(view.scales.type));
  if (biases.shape != view.scales.shape)
    fail(ErrorCode::invalid_argument, "{}.biases: shape {}; expected {}, as the scales", what,
         shape_text(biases.shape), shape_text(view.scales.shape));
}

// How many matrices are stacked: the product of all dimensions but the last two.
std::int64_t matrices_of(const TensorView& packed) {
  std::int64_t count = 1;
  for (std::size_t i = 0; i + 2 < packed.shape.size(); ++i) count *= packed.shape[i];
  return count;
}

float read_f32(const std::byte* at) {
  float value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void check_tensor_scale(const QuantizedView& view, std::string_view what) {
  const TensorView& scale = view.tensor_scale;
  if (is_absent(scale)) return;
  if (view.spec.mode != Mode::nvfp4)
    fail(ErrorCode::invalid_argument, "{}.global_scale: present in mode {}; only nvfp4 has one",
         what, to_string(view.spec.mode));
  if (scale.type != DType::f32)
    fail(ErrorCode::invalid_argument, "{}.global_scale: type {}; expected f32", what,
         to_string(scale.type));
  const std::int64_t count = count_of(scale.shape, what), matrices = matrices_of(view.packed);
  if (count != 1 && count != matrices)
    fail(ErrorCode::invalid_argument,
         "{}.global_scale: shape {}; expected {} element{}, one per matrix", what,
         shape_text(scale.shape), matrices, matrices == 1 ? "" : "s");
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = read_f32(scale.data + 4 * i);
    if (!(value > 0) || !std::isfinite(2688.0f / value) || 2688.0f / value == 0)
      fail(ErrorCode::invalid_argument, "{}.global_scale: {} at {}; expected a positive number",
           what, value, i);
  }
}

// The first byte with (byte & mask) == mask, or -1. Blocks of fixed size, so that the compiler uses
// vectors.
std::int64_t find_nan(const std::byte* data, std::int64_t bytes, std::uint8_t mask) {
  constexpr std::int64_t kBlock = 1024;
  std::int64_t i = 0;
  for (; i + kBlock <= bytes; i += kBlock) {
    std::array<std::uint8_t, kBlock> block;
    std::memcpy(block.data(), data + i, kBlock);
    std::uint8_t met = 0;
    for (const std::uint8_t each : block)
      met = static_cast<std::uint8_t>(met | ((each & mask) == mask ? 1 : 0));
    if (met != 0) break;
  }
  for (; i < bytes; ++i)
    if ((std::to_integer<std::uint8_t>(data[i]) & mask) == mask) return i;
  return -1;
}

void check_bytes(const TensorView& view, std::uint8_t mask, std::string_view what, const char* part,
                 const char* format) {
  const std::int64_t bytes = bytes_of(view.shape, view.type, what);
  const std::int64_t at = find_nan(view.data, bytes, mask);
  if (at >= 0)
    fail(ErrorCode::corrupt, "{}.{}: byte {} is {:#04x}, the NaN of {}; weights are numbers", what,
         part, at, std::to_integer<int>(view.data[at]), format);
}

}  // namespace

std::int64_t columns_of(const QuantizedView& view) {
  return view.packed.shape.back() * 32 / view.spec.bits;
}

std::int64_t rows_of(const TensorView& view) {
  std::int64_t count = 1;
  for (std::size_t i = 0; i + 1 < view.shape.size(); ++i)
    count = checked_mul(count, view.shape[i], "rows");
  return count;
}

void check_quantized(const QuantizedView& view, std::string_view what) {
  check_spec(view.spec, what);
  const std::int64_t k = check_packed(view, what);
  check_scales(view, k, what);
  check_biases(view, what);
  check_tensor_scale(view, what);
}

void check_codes(const QuantizedView& view, std::string_view what) {
  switch (view.spec.mode) {
    case Mode::affine:
      return;
    case Mode::mxfp4:
      return check_bytes(view.scales, 0xff, what, "scales", "E8M0");
    case Mode::mxfp8:
      check_bytes(view.scales, 0xff, what, "scales", "E8M0");
      return check_bytes(view.packed, 0x7f, what, "weight", "E4M3");
    case Mode::nvfp4:
      return check_bytes(view.scales, 0x7f, what, "scales", "E4M3");
  }
}

std::optional<float> tensor_scale_of(const QuantizedView& view, std::int64_t row) {
  const TensorView& scale = view.tensor_scale;
  if (is_absent(scale)) return std::nullopt;
  if (count_of(scale.shape, "global_scale") == 1) return read_f32(scale.data);
  const std::int64_t rows = view.packed.shape[view.packed.shape.size() - 2];
  return read_f32(scale.data + 4 * (row / rows));
}

QuantizedView QuantizedTensors::view() const {
  return {spec, packed.view(), scales.view(), biases ? biases->view() : TensorView{},
          tensor_scale ? tensor_scale->view() : TensorView{}};
}

}  // namespace stepless
