#include "format/quantize.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/pack.hpp"
#include "format/scalar.hpp"

namespace stepless {
namespace {

// Loops over a group have constant lengths, no branches and no calls, so that the compiler makes
// vectors of them with whatever the baseline of the machine has (this file is built with -O3). All
// of it is IEEE arithmetic, element by element: vectors give the bits of scalars.

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

template <int kGroup>
void affine_codes(const float* w, int bits, Affine affine, std::uint8_t* codes) {
  // Adding this puts the nearest whole number, ties to even, into the last bits of the mantissa.
  constexpr float kMagic = 0x1.8p23f;
  const float top = static_cast<float>((1 << bits) - 1);
  for (int i = 0; i < kGroup; ++i) {
    // Clamped before rounding, which changes no result, so that the trick holds.
    const float q = (w[i] - affine.bias) / affine.scale;
    const float least = q > 0.0f ? q : 0.0f;
    const float most = least < top ? least : top;
    codes[i] = static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(most + kMagic));
  }
}

struct Range {
  float low, high;
};

// Four floats in one register: what the baselines of x86-64 and aarch64 have. The compilers do not
// vectorize a least of floats by themselves.
using Lanes [[gnu::vector_size(16)]] = float;

template <int kGroup>
Range range_of(const float* w) {
  static_assert(kGroup % 8 == 0);
  Lanes low[2], high[2], x;
  std::memcpy(low, w, sizeof low);
  std::memcpy(high, w, sizeof high);
  for (int i = 8; i < kGroup; i += 8)
    for (int j = 0; j < 2; ++j) {
      std::memcpy(&x, w + i + 4 * j, sizeof x);
      low[j] = x < low[j] ? x : low[j];
      high[j] = x > high[j] ? x : high[j];
    }
  low[0] = low[1] < low[0] ? low[1] : low[0];
  high[0] = high[1] > high[0] ? high[1] : high[0];
  Range range{low[0][0], high[0][0]};
  for (int j = 1; j < 4; ++j) {
    range.low = std::min(range.low, low[0][j]);
    range.high = std::max(range.high, high[0][j]);
  }
  // Which zero is the least, +0 or -0, shows in a bias of 1 bit: the first, as one by one.
  if (range.low == 0) range.low = *std::find(w, w + kGroup, 0.0f);
  return range;
}

template <int kGroup>
float largest(const float* w) {
  const Range range = range_of<kGroup>(w);
  return std::max(std::fabs(range.low), std::fabs(range.high));
}

template <int kGroup>
void e2m1_codes(const float* w, float times, float by, std::uint8_t* codes) {
  for (int i = 0; i < kGroup; ++i) codes[i] = encode_e2m1(w[i] * times / by);
}

template <int kGroup>
void e4m3_codes(const float* w, float by, std::uint8_t* codes) {
  for (int i = 0; i < kGroup; ++i) codes[i] = encode_e4m3(w[i] / by);
}

template <int kGroup>
std::uint8_t mx_group(const float* w, Mode mode, std::uint8_t* codes) {
  const bool fp4 = mode == Mode::mxfp4;
  const std::uint8_t byte = encode_e8m0_up(largest<kGroup>(w) / (fp4 ? kE2M1Max : kE4M3Max));
  const float scale = e8m0_value(byte);  // a power of two: dividing by it is exact
  if (fp4)
    e2m1_codes<kGroup>(w, 1.0f, scale, codes);
  else
    e4m3_codes<kGroup>(w, scale, codes);
  return byte;
}

// enc: 2688 / tensor scale, or 1.
template <int kGroup>
std::uint8_t nvfp4_group(const float* w, float enc, std::uint8_t* codes) {
  const std::uint8_t byte = encode_e4m3(largest<kGroup>(w) / kE2M1Max * enc);
  if (kE4M3[byte] == 0)
    std::fill_n(codes, kGroup, std::uint8_t{0});
  else
    e2m1_codes<kGroup>(w, enc, kE4M3[byte], codes);
  return byte;
}

// The exponent alone tells; a sum or a maximum could hide a NaN.
bool all_finite(const float* values, std::int64_t n) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  std::uint32_t met = 0;
  for (std::int64_t i = 0; i < n; ++i)
    met |= (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent ? 1u : 0u;
  return met == 0;
}

void check_finite(const float* row, std::int64_t k) {
  if (all_finite(row, k)) return;
  const float* const bad = std::find_if_not(row, row + k, [](float x) { return std::isfinite(x); });
  fail(ErrorCode::invalid_argument, "column {} is {}; expected finite numbers", bad - row, *bad);
}

// Quantizes row after row of one matrix; holds what one row needs on its way.
class RowQuantizer {
 public:
  struct Target {
    std::byte* packed;
    std::byte* scales;
    std::byte* biases;  // affine only
  };

  RowQuantizer(const QuantSpec& spec, DType type, std::int64_t k, std::optional<float> tensor_scale)
      : spec_(spec),
        type_(type),
        enc_(tensor_scale ? 2688.0f / *tensor_scale : 1.0f),
        w_(static_cast<std::size_t>(k)),
        scales_(static_cast<std::size_t>(groups_of(spec, k))),
        biases_(scales_.size()),
        codes_(w_.size()) {}

  void run(const std::byte* row, const Target& target) {
    to_f32(row, type_, w_.data(), k());
    check_finite(w_.data(), k());
    switch (spec_.group_size) {  // make_spec lets no other through
      case 16:
        groups<16>(target);
        break;
      case 32:
        groups<32>(target);
        break;
      case 64:
        groups<64>(target);
        break;
      default:
        assert(spec_.group_size == 128);
        groups<128>(target);
    }
    pack_row(codes_.data(), k(), spec_.bits, target.packed);
  }

 private:
  std::int64_t k() const { return static_cast<std::int64_t>(w_.size()); }

  template <int kGroup>
  void groups(const Target& target) {
    const float* w = w_.data();
    std::uint8_t* codes = codes_.data();
    if (spec_.mode == Mode::affine) return affine_groups<kGroup>(target);
    for (std::size_t g = 0; g < scales_.size(); ++g, w += kGroup, codes += kGroup)
      target.scales[g] =
          std::byte{spec_.mode == Mode::nvfp4 ? nvfp4_group<kGroup>(w, enc_, codes)
                                              : mx_group<kGroup>(w, spec_.mode, codes)};
  }

  template <int kGroup>
  void affine_groups(const Target& target) {
    const float* w = w_.data();
    for (std::size_t g = 0; g < scales_.size(); ++g, w += kGroup) {
      const Range range = range_of<kGroup>(w);
      const Affine affine = affine_of(range.low, range.high, spec_.bits);
      affine_codes<kGroup>(w, spec_.bits, affine, codes_.data() + g * kGroup);
      scales_[g] = affine.scale;
      biases_[g] = affine.bias;
    }
    const auto count = static_cast<std::int64_t>(scales_.size());
    from_f32(scales_.data(), type_, target.scales, count);
    from_f32(biases_.data(), type_, target.biases, count);
    to_f32(target.scales, type_, scales_.data(), count);  // as stored
    if (!all_finite(scales_.data(), count)) fail_scale<kGroup>();
  }

  template <int kGroup>
  [[noreturn]] void fail_scale() const {
    const auto bad = std::ranges::find_if_not(scales_, [](float x) { return std::isfinite(x); });
    const Range range = range_of<kGroup>(w_.data() + (bad - scales_.begin()) * kGroup);
    fail(ErrorCode::invalid_argument, "values {} to {} in one group; their scale does not fit {}",
         range.low, range.high, to_string(type_));
  }

  const QuantSpec& spec_;
  DType type_;
  float enc_;
  std::vector<float> w_, scales_, biases_;
  std::vector<std::uint8_t> codes_;
};

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

void quantize_rows(const TensorView& w, std::int64_t begin, std::int64_t end, QuantizedTensors& out,
                   std::string_view what, std::int64_t first) {
  const QuantSpec& spec = out.spec;
  const std::int64_t k = w.shape.back();
  const std::int64_t scale_bytes = groups_of(spec, k) * size_of(out.scales.type);
  RowQuantizer rows(spec, w.type, k, tensor_scale_of(out.view(), 0));
  for (std::int64_t r = begin; r < end; ++r) {
    try {
      rows.run(w.data + r * k * size_of(w.type),
               {out.packed.data.data() + r * packed_row_bytes(spec, k),
                out.scales.data.data() + r * scale_bytes,
                out.biases ? out.biases->data.data() + r * scale_bytes : nullptr});
    } catch (const Error& error) {
      fail(error.code(), "{}: row {}: {}", what, first + r, error.what());
    }
  }
}

QuantizedTensors quantize(const TensorView& w, const QuantSpec& spec,
                          std::optional<float> tensor_scale) {
  QuantizedTensors out = make_quantized(w, spec, tensor_scale);
  quantize_rows(w, 0, rows_of(w), out);
  return out;
}

}  // namespace stepless
