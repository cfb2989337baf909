// A strip of sixteen weight rows, of which a lane of a vector holds one. Mapped rows are turned by
// dwords (eight codes). Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/streams.hpp"
#include "kernels/cpu/avx512vnni/planes.hpp"
#include "kernels/cpu/avx512vnni/products.hpp"

namespace stepless::kernels {

static constexpr int64_t kStrip = 16;

/// An array's rows n0 to n0 + 15: lane 4 q + j reads from base[q] + step[j]. No pointer per row: to
/// load those as well costs a third of the speed at m = 1.
struct Rows {
  const uint8_t* base[4];
  int64_t step[4];
};

/// Quarter q of the lanes begins with this row of the `left` that there are; with fewer than
/// sixteen, quarters overlap.
static inline int64_t first_of(int64_t q, int64_t left) {
  return left < 4 ? 0 : least(4 * q, left - 4);
}

static inline Rows rows_at(const uint8_t* from, int64_t stride, int64_t left) {
  Rows rows;
  for (int64_t q = 0; q < 4; ++q) {
    rows.base[q] = from + first_of(q, left) * stride;
    rows.step[q] = least(q, left - 1) * stride;
  }
  return rows;
}

struct Strip {
  Rows codes, scales, biases;
  __m512i order;  // the lane of each row
};

/// Bytes of a weight row's scales; of its biases, too, where there are any.
static inline int64_t scale_bytes_of(const MatmulArgs& args) {
  return args.k / args.group_size * (args.mode == Mode::affine ? 2 : 1);
}

/// A whole strip's lanes are in order: those of a part would be loaded right after they are stored,
/// one by one, which waits for all stores before (m = 8, k = 1024: 1 to 2 % of the time).
static inline __m512i lanes_of(int64_t left) {
  alignas(64) static constexpr int32_t kWhole[kStrip] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                         8, 9, 10, 11, 12, 13, 14, 15};
  if (left >= kStrip) return _mm512_load_si512(kWhole);
  alignas(64) int32_t lanes[kStrip];
  for (int64_t i = 0; i < kStrip; ++i)
    lanes[i] = static_cast<int32_t>(i < left ? i / 4 * 4 + i - first_of(i / 4, left) : i);
  return _mm512_load_si512(lanes);
}

static inline Strip strip_at(const MatmulArgs& args, int64_t n0) {
  const int64_t left = args.n - n0, scale_bytes = scale_bytes_of(args);
  const uint8_t* biases = args.mode == Mode::affine ? args.biases : args.scales;
  return {rows_at(args.w + n0 * args.w_row_bytes, args.w_row_bytes, left),
          rows_at(args.scales + n0 * scale_bytes, scale_bytes, left),
          rows_at(biases + n0 * scale_bytes, scale_bytes, left), lanes_of(left)};
}

/// `count` outputs of row i from n0 on.
template <class F>
static inline void store_strip(const MatmulArgs& args, const Strip& strip, int64_t i, int64_t n0,
                               int64_t count, __m512 sums) {
  // Codes are twice their elements. Not sooner: the least E8M0 scale times that of x would be less
  // than float32 can hold.
  if (!F::kAffine) sums = _mm512_mul_ps(sums, _mm512_set1_ps(0.5f));
  store_f32(args.y, args.y_type, i * args.y_stride + n0, first16(count),
            _mm512_permutexvar_ps(strip.order, sums));
}

template <bool kPart>
static inline __m128i load16(const uint8_t* at, __mmask16 bytes) {
  if constexpr (kPart) return _mm_maskz_loadu_epi8(bytes, at);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

/// Sixteen bytes of every row from byte `at` on, in part those in the mask: quarter q of a[j] gets
/// those of row 4 q + j.
template <bool kPart>
__attribute__((always_inline)) static inline void load_rows(const Rows& rows, int64_t at,
                                                            __mmask16 bytes, __m512i* a) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const int64_t from = at + rows.step[j];
    a[j] = _mm512_castsi128_si512(load16<kPart>(rows.base[0] + from, bytes));
    a[j] = _mm512_inserti32x4(a[j], load16<kPart>(rows.base[1] + from, bytes), 1);
    a[j] = _mm512_inserti32x4(a[j], load16<kPart>(rows.base[2] + from, bytes), 2);
    a[j] = _mm512_inserti32x4(a[j], load16<kPart>(rows.base[3] + from, bytes), 3);
  }
}

/// Lane r of v[d] gets dword d of its row.
__attribute__((always_inline)) static inline void turn(const __m512i* a, __m512i* v) {
  const __m512i low01 = _mm512_unpacklo_epi32(a[0], a[1]),
                low23 = _mm512_unpacklo_epi32(a[2], a[3]);
  const __m512i high01 = _mm512_unpackhi_epi32(a[0], a[1]),
                high23 = _mm512_unpackhi_epi32(a[2], a[3]);
  v[0] = _mm512_unpacklo_epi64(low01, low23);
  v[1] = _mm512_unpackhi_epi64(low01, low23);
  v[2] = _mm512_unpacklo_epi64(high01, high23);
  v[3] = _mm512_unpackhi_epi64(high01, high23);
}

/// Both: the four dwords of sixteen bytes of every row.
template <bool kPart>
__attribute__((always_inline)) static inline void turn_rows(const Rows& rows, int64_t at,
                                                            __mmask16 bytes, __m512i* v) {
  __m512i a[4];
  load_rows<kPart>(rows, at, bytes, a);
  turn(a, v);
}

/// The lower 16 bits of every lane as float32.
static inline __m512 widen(__m512i v, DType type) {
  return type == DType::f16 ? _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v))
                            : _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}

/// Groups whose scales a lane's dwords hold.
template <class F>
static constexpr int64_t kScaleRun = F::kAffine ? 8 : 16;

/// Byte t of every lane, E8M0, as float32.
static inline __m512 e8m0_of(__m512i v, int t) {
  const __m512i at_exponent =
      t < 3 ? _mm512_slli_epi32(v, static_cast<unsigned>(23 - 8 * t)) : _mm512_srli_epi32(v, 1);
  const __m512i power = _mm512_and_si512(at_exponent, _mm512_set1_epi32(0x7F800000));
  // Byte 0 is the subnormal 2^-127.
  return _mm512_castsi512_ps(_mm512_max_epu32(power, _mm512_set1_epi32(0x400000)));
}

/// The upper byte of every word, E4M3, as float16 with the exponent 8 too small: exact, subnormals
/// included. The byte's sign, extended, stands where the missing bit of the exponent is to be zero.
static inline __m512i e4m3_of(__m512i words) {
  return _mm512_and_si512(_mm512_srai_epi16(words, 1),
                          _mm512_set1_epi16(static_cast<int16_t>(0xBF80)));
}

/// Four bytes of every lane, E4M3, times a factor that makes up for e4m3_of(): 256 times a tensor
/// scale, which is a float32 divided by 2688, so both in one rounds as one after the other.
static inline void store_e4m3(__m512i v, __m512 factor, float (*to)[kStrip]) {
  // Bytes 0 and 2 of sixteen lanes as words, then bytes 1 and 3.
  const __m512i words = _mm512_permutexvar_epi64(
      _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7),
      _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3,
                                                                  5, 7, 9, 11, 13, 15))));
  alignas(64) uint8_t halves[4][2 * kStrip];
  _mm512_store_si512(halves[0], e4m3_of(_mm512_slli_epi16(words, 8)));
  _mm512_store_si512(halves[2], e4m3_of(words));
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    __m512 scale;
    // From memory it takes half the instructions, and gcc 12 would take it from registers.
    asm("vcvtph2ps %1, %0" : "=v"(scale) : "m"(halves[t]));
    _mm512_store_ps(to[t], _mm512_mul_ps(scale, factor));
  }
}

/// Scales or biases of groups g to g + count - 1 of every row; up to kScaleRun at a time.
template <class F>
static inline void read_scales(const MatmulArgs& args, const Rows& rows, int64_t g, int64_t count,
                               float (*to)[kStrip]) {
  constexpr int64_t kSize = F::kAffine ? 2 : 1;
  for (int64_t at = 0; at < count; at += kScaleRun<F>) {
    __m512i v[4];
    if (count - at >= kScaleRun<F>)
      turn_rows<false>(rows, kSize * (g + at), 0xFFFF, v);
    else
      turn_rows<true>(rows, kSize * (g + at), first16(kSize * (count - at)), v);
#pragma GCC unroll 4
    for (int d = 0; d < 4; ++d)
      if constexpr (F::kAffine) {
        _mm512_store_ps(to[at + 2 * d], widen(v[d], args.w_type));
        _mm512_store_ps(to[at + 2 * d + 1], widen(_mm512_srli_epi32(v[d], 16), args.w_type));
      } else if constexpr (F::kMode == Mode::nvfp4) {
        store_e4m3(v[d], _mm512_set1_ps(256 * args.tensor_scale), to + at + 4 * d);
      } else {
#pragma GCC unroll 4
        for (int t = 0; t < 4; ++t) _mm512_store_ps(to[at + 4 * d + t], e8m0_of(v[d], t));
      }
  }
}

/// Four-bit codes, a byte each, as VPDPBUSD takes them.
template <class F>
static inline __m512i bytes_of(__m512i nibbles) {
  if constexpr (F::kAffine) return nibbles;
  const __m512i table = _mm512_broadcast_i32x4(
      _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  return _mm512_shuffle_epi8(table, nibbles);
}

/// What is asked for while a strip is decoded: scales and biases in the order of memory.
struct Ahead {
  Streams codes;
  const uint8_t *scales, *biases;

  __attribute__((always_inline)) static inline void ask(const uint8_t*& at, int64_t lines) {
    for (int64_t i = 0; i < lines; ++i, at += 64) _mm_prefetch(at, _MM_HINT_T1);
  }
};

/// `together`: strips that are read in step.
template <class F>
static inline Ahead ahead_of(const MatmulArgs& args, int64_t n0, int64_t together) {
  const int64_t at = (n0 + rows_ahead(args, kStrip, together)) * scale_bytes_of(args);
  return {streams_ahead(args, n0, kStrip, together, F::kPlane), args.scales + at,
          (F::kAffine ? args.biases : args.scales) + at};
}

}  // namespace stepless::kernels
