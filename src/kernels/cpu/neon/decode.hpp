// A chunk of one weight row, packed or dense, as float32 in the order of the checkpoint: pairs of
// vectors spaced kRows pairs apart, so that a tile of rows lies interleaved.
#pragma once
#include "kernels/cpu/neon/codes.hpp"

namespace stepless::kernels {

static constexpr int kRows = 4;         // weight rows of a tile
static constexpr int64_t kChunk = 512;  // a multiple of every group size
static constexpr int64_t kChunkGroups = kChunk / 16;

/// Elements k0 .. k0 + length - 1 of weight row `row`; k0 is a multiple of kChunk.
struct Chunk {
  const MatmulArgs& args;
  int64_t row, k0, length;
  float* out;
};

/// Sixteen elements from element `k` of the chunk on.
static inline void put(const Chunk& c, int64_t k, const float32x4_t* v) {
  float* to = c.out + k * kRows;
  vst1q_f32(to, v[0]);
  vst1q_f32(to + 4, v[1]);
  vst1q_f32(to + 8 * kRows, v[2]);
  vst1q_f32(to + 8 * kRows + 4, v[3]);
}

struct ChunkScales {
  alignas(16) float scale[kChunkGroups];  // of the chunk's groups; up to a multiple of 4 beyond
  alignas(16) float bias[kChunkGroups];   // them zero
  int64_t count;
};

/// The next four bytes in 16-bit lanes, of which only `count` are read when fewer.
static inline uint16x4_t load_four(const uint8_t* at, int64_t count) {
  uint32_t bytes = 0;
  if (count >= 4)
    memcpy(&bytes, at, 4);
  else
    memcpy(&bytes, at, static_cast<size_t>(count));
  return vget_low_u16(vmovl_u8(vcreate_u8(bytes)));
}

static inline void read_scales(const Chunk& c, ChunkScales& to) {
  const MatmulArgs& args = c.args;
  const int shift = __builtin_ctz(static_cast<unsigned>(args.group_size));
  to.count = (c.length + args.group_size - 1) >> shift;
  const int64_t at = c.row * (args.k >> shift) + (c.k0 >> shift);
  for (int64_t g = 0; g < to.count; g += 4) {
    const int64_t left = to.count - g;
    if (args.mode == Mode::affine) {
      vst1q_f32(to.scale + g, load_f32(args.scales, args.w_type, at + g, left));
      vst1q_f32(to.bias + g, load_f32(args.biases, args.w_type, at + g, left));
      continue;
    }
    const uint16x4_t bytes = load_four(args.scales + at + g, left);
    vst1q_f32(to.scale + g, args.mode == Mode::nvfp4
                                ? vmulq_n_f32(e4m3_to_f32(bytes), args.tensor_scale)
                                : e8m0_to_f32(bytes));
  }
}

/// q*s + b with its last bit set where it was cut off: rounding that to 16 bits rounds once. The
/// sign of what an fma cut off comes from exact sums (Boldo and Muller).
static inline float32x4_t fma_to_odd(float32x4_t q, float32x4_t s, float32x4_t b) {
  const float32x4_t sum = vfmaq_f32(b, q, s), product = vmulq_f32(q, s);
  const float32x4_t rest = vfmaq_f32(vnegq_f32(product), q, s);  // q*s = product + rest
  const auto error_of = [](float32x4_t x, float32x4_t y, float32x4_t x_plus_y) {
    const float32x4_t part = vsubq_f32(x_plus_y, x);
    return vaddq_f32(vsubq_f32(x, vsubq_f32(x_plus_y, part)), vsubq_f32(y, part));
  };
  const float32x4_t low = vaddq_f32(b, rest), low_error = error_of(b, rest, low);
  const float32x4_t high = vaddq_f32(product, low), high_error = error_of(product, low, high);
  const float32x4_t error = vaddq_f32(vaddq_f32(vsubq_f32(high, sum), high_error), low_error);
  const uint32x4_t cut = vorrq_u32(vcltzq_f32(error), vcgtzq_f32(error));
  // The nearest is beyond the sum, away from zero, where the error has the other sign.
  const uint32x4_t apart = veorq_u32(vreinterpretq_u32_f32(error), vreinterpretq_u32_f32(sum));
  const uint32x4_t beyond = vandq_u32(cut, vshrq_n_u32(apart, 31));
  const uint32x4_t bits = vsubq_u32(vreinterpretq_u32_f32(sum), beyond);
  return vreinterpretq_f32_u32(vorrq_u32(bits, vshrq_n_u32(cut, 31)));
}

/// Whether some s*q + b may need more than 24 bits and the result fewer. quantize() makes no such
/// group of 16-bit scales: its biases are small multiples of their scales.
static inline bool rounds_twice(const Chunk& c, const ChunkScales& s) {
  if (c.args.y_type == DType::f32) return false;
  if (c.args.w_type == DType::f32) return true;
  uint32x4_t wide = vdupq_n_u32(0);
  for (int64_t g = 0; g < s.count; g += 4) {
    const float32x4_t scale = vabsq_f32(vld1q_f32(s.scale + g));
    const float32x4_t bias = vabsq_f32(vld1q_f32(s.bias + g));
    const uint32x4_t outside = vorrq_u32(vcltq_f32(bias, vmulq_n_f32(scale, 0.125f)),
                                         vcgtq_f32(bias, vmulq_n_f32(scale, 4096)));
    wide = vorrq_u32(wide, vandq_u32(outside, vcgtzq_f32(bias)));
  }
  return vmaxvq_u32(wide) != 0;
}

/// Elements of one group that 16 codes became: fma(s, q, b), or s times the element.
template <Mode kMode, bool kOdd>
static inline void scale_codes(uint8x16_t codes, float32x4_t scale, float32x4_t bias,
                               float32x4_t* v) {
  if constexpr (kMode == Mode::affine) {
    widen_codes(codes, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      v[i] = kOdd ? fma_to_odd(v[i], scale, bias) : vfmaq_f32(bias, v[i], scale);
    return;
  }
  if constexpr (kMode == Mode::mxfp8)
    widen_e4m3(codes, v);
  else
    widen_e2m1(codes, v);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = vmulq_f32(v[i], scale);
}

template <Mode kMode, int kBits, bool kOdd>
static void decode_codes(const Chunk& c, const ChunkScales& s) {
  const uint8_t* bytes = c.args.w + c.row * c.args.w_row_bytes + c.k0 * kBits / 8;
  const int64_t group = c.args.group_size;
  for (int64_t k = 0, g = 0; k < c.length; ++g) {
    const float32x4_t scale = vdupq_n_f32(s.scale[g]);
    const float32x4_t bias = vdupq_n_f32(kMode == Mode::affine ? s.bias[g] : 0);
    for (const int64_t end = k + group; k < end; k += 16, bytes += 2 * kBits) {
      float32x4_t v[4];
      scale_codes<kMode, kOdd>(unpack<kBits>(load_bytes<2 * kBits>(bytes)), scale, bias, v);
      put(c, k, v);
    }
  }
}

template <int kBits>
static void decode_affine(const Chunk& c, const ChunkScales& s) {
  if (rounds_twice(c, s)) return decode_codes<Mode::affine, kBits, true>(c, s);
  decode_codes<Mode::affine, kBits, false>(c, s);
}

static inline void decode_packed(const Chunk& c) {
  static constexpr void (*kByBits[])(const Chunk&, const ChunkScales&) = {
      nullptr,          decode_affine<1>, decode_affine<2>, decode_affine<3>, decode_affine<4>,
      decode_affine<5>, decode_affine<6>, nullptr,          decode_affine<8>};
  ChunkScales s;
  read_scales(c, s);
  if (c.args.mode == Mode::affine) return kByBits[c.args.bits](c, s);
  if (c.args.mode == Mode::mxfp8) return decode_codes<Mode::mxfp8, 8, false>(c, s);
  decode_codes<Mode::mxfp4, 4, false>(c, s);  // nvfp4 differs in its scales alone
}

static inline void decode_dense(const Chunk& c) {
  const DType type = c.args.w_type;
  const uint8_t* row = c.args.w + c.row * c.args.w_row_bytes;
  for (int64_t k = 0; k < c.length; k += 16) {
    float32x4_t v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) v[i] = load_f32(row, type, c.k0 + k + 4 * i, c.length - k - 4 * i);
    put(c, k, v);
  }
}

}  // namespace stepless::kernels
