#include "format/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/pack.hpp"
#include "format/scalar.hpp"

namespace stepless {
namespace {

// Nearest even for |x| < 2^22. One add and one subtract, which vectors do; nearbyint would be a
// call per element.
float round_small(float x) {
  constexpr float kMagic = 0x1.8p23f;
  return (x + kMagic) - kMagic;
}

struct Affine {
  float scale, bias;
};

Affine affine_of(float low, float high, int bits) {
  constexpr float kLeast = 1e-7f;
  if (bits == 1) return {std::max(high - low, kLeast), low};
  const bool side = std::fabs(low) > std::fabs(high);
  const float steps = static_cast<float>((1 << bits) - 1);
  const float size = std::max((high - low) / steps, kLeast);
  const float scale = side ? size : -size;
  const float edge = side ? low : high;
  const float q0 =
      std::rint(edge / scale);  // may be large: the edge far from zero, the group narrow
  if (q0 == 0) return {scale, 0.0f};
  return {edge / q0, edge};
}

void affine_codes(const float* w, int group, int bits, Affine affine, std::uint8_t* codes) {
  const float top = static_cast<float>((1 << bits) - 1);
  for (int i = 0; i < group; ++i) {
    // Clamped first, which changes no result, so that the rounding trick holds.
    const float q = std::min(std::max((w[i] - affine.bias) / affine.scale, 0.0f), top);
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(round_small(q)));
  }
}

float largest(const float* w, int group) {
  float most = 0;
  for (int i = 0; i < group; ++i) most = std::max(most, std::fabs(w[i]));
  return most;
}

std::uint8_t mx_group(const float* w, int group, Mode mode, std::uint8_t* codes) {
  const bool fp4 = mode == Mode::mxfp4;
  const std::uint8_t byte = encode_e8m0_up(largest(w, group) / (fp4 ? kE2M1Max : kE4M3Max));
  const float scale = e8m0_value(byte);
  for (int i = 0; i < group; ++i) {
    const float element = w[i] / scale;  // exact: a power of two
    codes[i] = fp4 ? encode_e2m1(element) : encode_e4m3(element);
  }
  return byte;
}

// enc: 2688 / tensor scale, or 1.
std::uint8_t nvfp4_group(const float* w, int group, float enc, std::uint8_t* codes) {
  const std::uint8_t byte = encode_e4m3(largest(w, group) / kE2M1Max * enc);
  const float scale = kE4M3[byte];
  for (int i = 0; i < group; ++i)
    codes[i] = scale == 0 ? std::uint8_t{0} : encode_e2m1(w[i] * enc / scale);
  return byte;
}

// One row on its way: where its groups' scales and biases go.
struct RowWriter {
  const QuantSpec& spec;
  DType type;
  float enc;
  std::byte* scales;
  std::byte* biases;  // affine only

  void affine_group(const float* w, std::int64_t g, std::uint8_t* codes) const {
    float low = w[0], high = w[0];
    for (int i = 1; i < spec.group_size; ++i) {
      low = std::min(low, w[i]);
      high = std::max(high, w[i]);
    }
    const Affine affine = affine_of(low, high, spec.bits);
    affine_codes(w, spec.group_size, spec.bits, affine, codes);
    std::byte* const scale = scales + g * size_of(type);
    std::byte* const bias = biases + g * size_of(type);
    from_f32(&affine.scale, type, scale, 1);
    from_f32(&affine.bias, type, bias, 1);
    float stored = 0;
    to_f32(scale, type, &stored, 1);
    if (!std::isfinite(stored))
      fail(ErrorCode::invalid_argument, "values {} to {} in one group; their scale does not fit {}",
           low, high, to_string(type));
  }

  void group(const float* w, std::int64_t g, std::uint8_t* codes) const {
    switch (spec.mode) {
      case Mode::affine:
        return affine_group(w, g, codes);
      case Mode::mxfp4:
      case Mode::mxfp8:
        scales[g] = std::byte{mx_group(w, spec.group_size, spec.mode, codes)};
        return;
      case Mode::nvfp4:
        scales[g] = std::byte{nvfp4_group(w, spec.group_size, enc, codes)};
        return;
    }
  }
};

void check_finite(const std::vector<float>& row) {
  // The exponent alone tells; a sum or a maximum could hide a NaN.
  const auto bad = std::ranges::find_if_not(row, [](float x) { return std::isfinite(x); });
  if (bad != row.end())
    fail(ErrorCode::invalid_argument, "column {} is {}; expected finite numbers", bad - row.begin(),
         *bad);
}

Tensor zeros(DType type, Shape shape) {
  const std::int64_t bytes = bytes_of(shape, type, "quantize");
  return {std::vector<std::byte>(static_cast<std::size_t>(bytes)), type, std::move(shape)};
}

void check_tensor_scale(std::optional<float> scale, const QuantSpec& spec) {
  if (!scale) return;
  if (spec.mode != Mode::nvfp4)
    fail(ErrorCode::invalid_argument, "quantize: a tensor scale in mode {}; only nvfp4 has one",
         to_string(spec.mode));
  if (!(*scale > 0) || !std::isfinite(2688.0f / *scale) || 2688.0f / *scale == 0)
    fail(ErrorCode::invalid_argument, "quantize: tensor scale {}; expected a positive number",
         *scale);
}

}  // namespace

QuantizedTensors make_quantized(const TensorView& w, const QuantSpec& spec,
                                std::optional<float> tensor_scale) {
  make_spec(spec.mode, spec.bits, spec.group_size);
  if (!is_float(w.type))
    fail(ErrorCode::invalid_argument, "quantize: type {}; expected f32, f16 or bf16",
         to_string(w.type));
  if (w.shape.size() < 2)
    fail(ErrorCode::invalid_argument, "quantize: shape {}; expected two dimensions or more",
         shape_text(w.shape));
  bytes_of(w.shape, w.type, "quantize");
  const std::int64_t k = w.shape.back();
  if (k == 0 || k % spec.group_size != 0)
    fail(ErrorCode::invalid_argument,
         "quantize: shape {}: the last dimension is no multiple of the group, {}",
         shape_text(w.shape), spec.group_size);
  check_tensor_scale(tensor_scale, spec);
  QuantizedTensors out;
  out.spec = spec;
  Shape shape = w.shape;
  shape.back() = packed_row_bytes(spec, k) / 4;
  out.packed = zeros(DType::u32, shape);
  shape.back() = groups_of(spec, k);
  const bool affine = spec.mode == Mode::affine;
  out.scales = zeros(affine ? w.type : DType::u8, shape);
  if (affine) out.biases = zeros(w.type, shape);
  if (tensor_scale) {
    out.tensor_scale = zeros(DType::f32, {});
    from_f32(&*tensor_scale, DType::f32, out.tensor_scale->data.data(), 1);
  }
  return out;
}

void quantize_rows(const TensorView& w, std::int64_t begin, std::int64_t end,
                   QuantizedTensors& out) {
  const QuantSpec& spec = out.spec;
  const std::int64_t k = w.shape.back(), groups = groups_of(spec, k);
  const std::int64_t scale_bytes = groups * size_of(out.scales.type);
  std::vector<float> row(static_cast<std::size_t>(k));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(k));
  const std::optional<float> t = tensor_scale_of(out.view(), 0);
  for (std::int64_t r = begin; r < end; ++r) {
    to_f32(w.data + r * k * size_of(w.type), w.type, row.data(), k);
    const RowWriter writer{spec, w.type, t ? 2688.0f / *t : 1.0f,
                           out.scales.data.data() + r * scale_bytes,
                           out.biases ? out.biases->data.data() + r * scale_bytes : nullptr};
    try {
      check_finite(row);
      for (std::int64_t g = 0; g < groups; ++g)
        writer.group(row.data() + g * spec.group_size, g, codes.data() + g * spec.group_size);
    } catch (const Error& error) {
      fail(error.code(), "quantize: row {}: {}", r, error.what());
    }
    pack_row(codes.data(), k, spec.bits, out.packed.data.data() + r * packed_row_bytes(spec, k));
  }
}

QuantizedTensors quantize(const TensorView& w, const QuantSpec& spec,
                          std::optional<float> tensor_scale) {
  QuantizedTensors out = make_quantized(w, spec, tensor_scale);
  quantize_rows(w, 0, rows_of(w), out);
  return out;
}

}  // namespace stepless
