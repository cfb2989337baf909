// y = x · wᵀ by 16-bit integers (order avx2_i16): sums of code times x are exact within a group,
// then join a float32 accumulator of 8 lanes by one fma with the product of both scales. A tile is
// one weight row by up to eight rows of x. Each output's sum, whatever the tile is: first biases
// times sums of x, group g in lane g % 8, then 64 elements after the other.
#pragma once
#include "kernels/cpu/avx2/i16_prepare.hpp"

namespace stepless::kernels {

static constexpr int64_t kBlockN = 32;  // outputs whose accumulators wait in L1 for the next chunk

/// Elements of k that a tile of `height` rows takes before the next weight row: x stays in L1, of
/// which it takes 24 KiB of 32 at most. More than 8192 of a lone row are 6 % slower at 13824.
static constexpr int64_t chunk_of(int64_t height) {
  return (height == 1 ? 8192 : 12288 / height) / 1024 * 1024;
}

/// How far to prefetch: the same place some rows on, 8 KiB or more. Without it m = 8 takes twice
/// the time, as a chunk is too short a stream for the hardware; half as far loses 10 % at m = 1.
static inline int64_t bytes_ahead(const MatmulArgs& args) {
  const int64_t row = args.w_row_bytes;
  return row >= 8192 ? row : (8191 / row + 1) * row;
}

/// Scales of a block's groups, each in the lanes that its codes fill.
template <int kSplit>
static inline __m256 spread(const float* scales) {
  if constexpr (kSplit == 1) {
    return _mm256_broadcast_ss(scales);
  } else if constexpr (kSplit == 2) {
    return _mm256_blend_ps(_mm256_broadcast_ss(scales), _mm256_broadcast_ss(scales + 1), 0xF0);
  } else {
    const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales));
    return _mm256_moveldup_ps(_mm256_castsi256_ps(_mm256_cvtepu32_epi64(four)));
  }
}

/// Eight scales or biases from group g of a weight row on; beyond `count` they are zero and not
/// read.
template <Mode kMode>
static inline __m256 load_scales(const MatmulArgs& args, const uint8_t* from, int64_t g,
                                 int64_t count) {
  if constexpr (kMode == Mode::affine) return load_f32(from, args.w_type, g, count);
  const __m128i bytes = count >= 8 ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + g))
                                   : load_bytes(from + g, count);
  if constexpr (kMode == Mode::mxfp4) return e8m0_to_f32(bytes);
  return _mm256_mul_ps(e4m3_to_f32(bytes), _mm256_set1_ps(args.tensor_scale));
}

/// A block of rows of x and what is the same for all weight rows: computed once, as a weight row of
/// 1024 elements takes no more than 100 cycles at m = 1.
struct Rows {
  const MatmulArgs& args;
  int64_t m0, height;
  int64_t shift, groups;    // log2 of the group size; groups of a weight row
  int64_t scale_bytes;      // of a weight row
  int64_t ahead;            // see bytes_ahead(): a division
  const int16_t* integers;  // prepared x: i16_prepare.hpp
  const float *x_scales, *x_sums;
};

template <Mode kMode>
static inline Rows rows_at(const MatmulArgs& args, int64_t m0) {
  const int64_t shift = __builtin_ctz(static_cast<unsigned>(args.group_size));
  const int64_t bytes = kMode != Mode::affine ? 1 : args.w_type == DType::f32 ? 4 : 2;
  return {args,
          m0,
          block_rows(args, m0),
          shift,
          args.k >> shift,
          (args.k >> shift) * bytes,
          bytes_ahead(args),
          integers_of(args, m0),
          x_scales_of(args, m0),
          x_sums_of(args, m0)};
}

/// Weight row n, elements [k0, k_end).
struct Part {
  int64_t n, k0, k_end;
};

/// Biases times sums of x over the whole row: what an accumulator begins with.
template <Mode kMode, int kM>
__attribute__((always_inline)) static inline void begin_sums(const Rows& rows, int64_t n,
                                                             __m256* sums) {
  __m256 acc[kM];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) acc[i] = _mm256_setzero_ps();
  if constexpr (kMode == Mode::affine) {
    const uint8_t* biases = rows.args.biases + n * rows.scale_bytes;
    const float* x_sums = rows.x_sums;
    for (int64_t g = 0; g < rows.groups; g += 8, x_sums += 8 * kM) {
      const __m256 bias = load_f32(biases, rows.args.w_type, g, rows.groups - g);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i)
        acc[i] = _mm256_fmadd_ps(bias, _mm256_load_ps(x_sums + 8 * i), acc[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) sums[i] = acc[i];
}

/// Scales of the part's groups, of 64 elements or more, times those of x, as x_scales_of() says
/// these lie. A group of two blocks comes twice, so that add_blocks() goes on by one float a block.
template <Mode kMode, int kM>
__attribute__((always_inline)) static inline void multiply_scales(const Rows& rows,
                                                                  const Part& part,
                                                                  float* products) {
  const uint8_t* scales = rows.args.scales + part.n * rows.scale_bytes;
  const int64_t first = part.k0 >> rows.shift, end = part.k_end >> rows.shift;
  const bool twice = rows.args.group_size == 128;
  const float* x_scales = rows.x_scales + first * kM;
  for (int64_t g = first; g < end; g += 8, x_scales += 8 * kM, products += 8 * kM) {
    const __m256 scale = load_scales<kMode>(rows.args, scales, g, rows.groups - g);
    if (twice) {
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i) {
        const __m256 both = _mm256_mul_ps(scale, _mm256_load_ps(x_scales + 8 * i));
        _mm256_store_ps(products + 8 * i,
                        _mm256_permutevar8x32_ps(both, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)));
        _mm256_store_ps(products + 8 * (kM + i),
                        _mm256_permutevar8x32_ps(both, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7)));
      }
      products += 8 * kM;
      continue;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i)
      _mm256_store_ps(products + 8 * i, _mm256_mul_ps(scale, _mm256_load_ps(x_scales + 8 * i)));
  }
}

/// Scales of the part's groups, of 16 or 32 elements.
template <Mode kMode>
__attribute__((always_inline)) static inline void widen_scales(const Rows& rows, const Part& part,
                                                               float* to) {
  const uint8_t* scales = rows.args.scales + part.n * rows.scale_bytes;
  const int64_t end = part.k_end >> rows.shift;
  for (int64_t g = part.k0 >> rows.shift; g < end; g += 8, to += 8)
    _mm256_store_ps(to, load_scales<kMode>(rows.args, scales, g, rows.groups - g));
}

/// 64 codes times x. As asm, or gcc 12 takes more registers than there are and keeps accumulators
/// of eight rows in memory.
#define STEPLESS_PRODUCTS(among, behind)   \
  "vpmaddwd %[x0], %[q0], %[sum]\n"        \
  "vpmaddwd %[x1], %[q1], %[more]\n" among \
  "vpaddd %[more], %[sum], %[sum]\n"       \
  "vpmaddwd %[x2], %[q2], %[more]\n"       \
  "vpaddd %[more], %[sum], %[sum]\n"       \
  "vpmaddwd %[x3], %[q3], %[more]\n"       \
  "vpaddd %[more], %[sum], %[sum]\n" behind
#define STEPLESS_CODES_AND_X                                                                      \
  [q0] "x"(q[0]), [q1] "x"(q[1]), [q2] "x"(q[2]), [q3] "x"(q[3]), [x0] "m"(x[0]), [x1] "m"(x[1]), \
      [x2] "m"(x[2]), [x3] "m"(x[3])

__attribute__((always_inline)) static inline __m256i first_products(const __m256i* q,
                                                                    const __m256i* x) {
  __m256i sum, more;
  asm(STEPLESS_PRODUCTS("", "") : [sum] "=&x"(sum), [more] "=&x"(more) : STEPLESS_CODES_AND_X);
  return sum;
}

/// The same for the next row of x, and among it `last`, the sum of the row before, joins its
/// accumulator: 5 % less time than one after the other (Zen 1, m = 8). scale: see Scales.
template <int kSplit>
__attribute__((always_inline)) static inline __m256i next_products(const __m256i* q,
                                                                   const __m256i* x, __m256 w_scale,
                                                                   const float* scale, __m256i last,
                                                                   __m256& acc) {
  __m256i sum, more;
  if constexpr (kSplit == 1)
    asm(STEPLESS_PRODUCTS("vcvtdq2ps %[last], %[last]\n",
                          "vbroadcastss %[scale], %[more]\n"
                          "vfmadd231ps %[more], %[last], %[acc]\n")
        : [acc] "+x"(acc), [last] "+x"(last), [sum] "=&x"(sum), [more] "=&x"(more)
        : STEPLESS_CODES_AND_X, [scale] "m"(*scale));
  else
    asm(STEPLESS_PRODUCTS("vcvtdq2ps %[last], %[last]\n",
                          "vmulps %[scale], %[w], %[more]\n"
                          "vfmadd231ps %[more], %[last], %[acc]\n")
        : [acc] "+x"(acc), [last] "+x"(last), [sum] "=&x"(sum), [more] "=&x"(more)
        : STEPLESS_CODES_AND_X, [scale] "m"(*reinterpret_cast<const __m256*>(scale)),
          [w] "x"(w_scale));
  return sum;
}

/// Of a part, for groups of 64 elements and more: in `x` the products of both scales, eight groups
/// of each row in turn (multiply_scales()). For smaller groups x's own, as x_scales_of() says they
/// lie, and in `w` those of the weights, one after the other.
struct Scales {
  const float *w, *x;
};

/// 64 codes times kM rows of x.
template <Mode kMode, int kBits, int kSplit, int kM>
__attribute__((always_inline)) static inline void add_block(const uint8_t* codes, const int16_t* x,
                                                            Scales scales, __m256* acc) {
  __m256i q[4];
  unpack<kMode, kBits>(codes, q);
  const __m256i* const xs = reinterpret_cast<const __m256i*>(x);
  __m256 w_scale = _mm256_setzero_ps();
  if constexpr (kSplit > 1) w_scale = spread<kSplit>(scales.w);
  __m256i sum = first_products(q, xs);
#pragma GCC unroll 8
  for (int i = 1; i < kM; ++i)
    sum = next_products<kSplit>(q, xs + 4 * i, w_scale, scales.x + 8 * (i - 1), sum, acc[i - 1]);
  const float* const at = scales.x + 8 * (kM - 1);
  __m256 scale;
  if constexpr (kSplit > 1)
    scale = _mm256_mul_ps(w_scale, _mm256_load_ps(at));
  else
    scale = _mm256_broadcast_ss(at);
  acc[kM - 1] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sum), acc[kM - 1]);
}

/// Codes of `blocks` times 64 elements. The loop has a function of its own, or gcc 12 keeps the
/// accumulators in memory (69 -> 110 Gop/s).
template <Mode kMode, int kBits, int kSplit, int kM>
__attribute__((noinline)) static void add_blocks(int64_t ahead, const uint8_t* codes,
                                                 const int16_t* x, Scales scales, int64_t blocks,
                                                 __m256* sums) {
  __m256 acc[kM];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) acc[i] = sums[i];
  const uint8_t* const end = codes + blocks * 8 * kBits;
  while (codes < end) {
    // Of groups of 64 eight lie together.
    const float* const next = scales.x + (kSplit == 1 ? 8 : 8 * kM);
    for (; scales.x < next && codes < end; scales.x += kSplit == 1 ? 1 : 8 * kM) {
      _mm_prefetch(reinterpret_cast<const char*>(codes + ahead), _MM_HINT_T0);
      add_block<kMode, kBits, kSplit, kM>(codes, x, scales, acc);
      codes += 8 * kBits;
      x += 64 * kM;
      scales.w += kSplit;
    }
    if (kSplit == 1) scales.x += 8 * kM - 8;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) sums[i] = acc[i];
}

template <Mode kMode, int kBits, int kSplit, int kM>
static void add_part(const Rows& rows, const Part& part, __m256* sums, __m256* bias_sums) {
  const MatmulArgs& args = rows.args;
  constexpr int64_t kGroups = chunk_of(kM) * kSplit / 64;
  alignas(32) float room[kSplit == 1 ? kM * kGroups : kGroups + 8];
  if (part.k0 == 0) {
    if (bias_sums != sums) memset(sums, 0, kM * sizeof(__m256));
    begin_sums<kMode, kM>(rows, part.n, bias_sums);
  }
  Scales scales = {room, room};
  if constexpr (kSplit == 1) {
    multiply_scales<kMode, kM>(rows, part, room);
  } else {
    widen_scales<kMode>(rows, part, room);
    scales.x = rows.x_scales + part.k0 / 8 * kM;
  }
  const int64_t blocks = (part.k_end - part.k0) / 64, left = (part.k_end - part.k0) % 64;
  const uint8_t* codes = args.w + part.n * args.w_row_bytes + part.k0 * kBits / 8;
  const int16_t* x = rows.integers + part.k0 * kM;
  constexpr auto kAdd = add_blocks<kMode, kBits, kSplit, kM>;
  kAdd(rows.ahead, codes, x, scales, blocks, sums);
  if constexpr (kSplit > 1) {
    if (left == 0) return;
    alignas(32) uint8_t last[8 * kBits] = {};  // x is zero behind them
    memcpy(last, codes + blocks * 8 * kBits, static_cast<size_t>(left * kBits / 8));
    kAdd(rows.ahead, last, x + blocks * 64 * kM,
         {room + kSplit * blocks, scales.x + 8 * kM * blocks}, 1, sums);
  }
}

/// The sums of four pairs of vectors in float64, then in float32 with the last bit set where it was
/// cut off: rounding that to 16 bits rounds once.
static inline __m128 sum_each_to_odd(const __m256* v, const __m256* u) {
  __m256d sum[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256d low = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(v[j])),
                                      _mm256_cvtps_pd(_mm256_castps256_ps128(u[j])));
    const __m256d high = _mm256_add_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(v[j], 1)),
                                       _mm256_cvtps_pd(_mm256_extractf128_ps(u[j], 1)));
    sum[j] = _mm256_add_pd(low, high);
  }
  const __m256d a = _mm256_hadd_pd(sum[0], sum[1]), b = _mm256_hadd_pd(sum[2], sum[3]);
  const __m256d total =
      _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
  const __m128 near = _mm256_cvtpd_ps(total);
  const __m256d back = _mm256_cvtps_pd(near), sign = _mm256_set1_pd(-0.0);
  const __m256d cut = _mm256_cmp_pd(back, total, _CMP_NEQ_OQ);
  const __m256d over =
      _mm256_cmp_pd(_mm256_andnot_pd(sign, back), _mm256_andnot_pd(sign, total), _CMP_GT_OQ);
  const auto narrow = [](__m256d mask) {
    const __m256 both = _mm256_castpd_ps(mask);
    return _mm_castps_si128(
        _mm_shuffle_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1), 0x88));
  };
  const __m128i toward_zero = _mm_add_epi32(_mm_castps_si128(near), narrow(over));
  return _mm_castsi128_ps(_mm_or_si128(toward_zero, _mm_srli_epi32(narrow(cut), 31)));
}

/// Products of bf16 scales and codes leave a float32 room to spare, those of f16 do not: a weight
/// that is rounded twice may be wrong in its last bit (tests: WeightsAreRoundedOnce).
static inline bool rounds_to_odd(const MatmulArgs& args) {
  return args.mode == Mode::affine && args.w_type == DType::f16 && args.y_type != DType::f32;
}

/// A block of outputs: for each of `count`, `height` vectors. bias_sums are apart only where
/// rounds_to_odd().
struct Sums {
  int64_t m0, height, n0, count;
  const __m256* sums;
  const __m256* bias_sums;
};

static inline void take_four(const __m256* v, int64_t step, int64_t count, __m256* four) {
  four[0] = v[0];
  for (int64_t t = 1; t < 4; ++t) four[t] = t < count ? v[t * step] : _mm256_setzero_ps();
}

static void store_sums(const MatmulArgs& args, const Sums& s) {
  const bool to_odd = rounds_to_odd(args);
  for (int64_t j = 0; j < s.count; j += 4) {
    const int64_t left = least(s.count - j, 4);
    for (int64_t i = 0; i < s.height; ++i) {
      __m256 four[4], biases[4];
      take_four(s.sums + j * s.height + i, s.height, left, four);
      if (to_odd) take_four(s.bias_sums + j * s.height + i, s.height, left, biases);
      __m128 y = to_odd ? sum_each_to_odd(four, biases) : sum_each(four);
      // Not sooner: the least E8M0 scale times that of x would be less than float32 can hold.
      if (args.mode != Mode::affine) y = _mm_mul_ps(y, _mm_set1_ps(1 / kE2m1Times));
      store_f32(args.y, args.y_type, (s.m0 + i) * args.y_stride + s.n0 + j, left, y);
    }
  }
}

template <Mode kMode, int kBits, int kSplit>
static void run_outputs(const MatmulArgs& args, Slice units) {
  static constexpr void (*kHeights[])(const Rows&, const Part&, __m256*, __m256*) = {
      add_part<kMode, kBits, kSplit, 1>, add_part<kMode, kBits, kSplit, 2>,
      add_part<kMode, kBits, kSplit, 3>, add_part<kMode, kBits, kSplit, 4>,
      add_part<kMode, kBits, kSplit, 5>, add_part<kMode, kBits, kSplit, 6>,
      add_part<kMode, kBits, kSplit, 7>, add_part<kMode, kBits, kSplit, 8>};
  __m256 sums[kBlockN * kTileM], apart[kBlockN * kTileM];
  __m256* const bias_sums = rounds_to_odd(args) ? apart : sums;
  for (int64_t n0 = units.begin; n0 < units.end; n0 += kBlockN) {
    const int64_t count = least(units.end - n0, kBlockN);
    for (int64_t m0 = 0; m0 < args.m; m0 += kTileM) {
      const Rows rows = rows_at<kMode>(args, m0);
      const auto add = kHeights[rows.height - 1];
      const int64_t chunk = chunk_of(rows.height);
      for (int64_t k0 = 0; k0 < args.k; k0 += chunk)
        for (int64_t j = 0; j < count; ++j)
          add(rows, {n0 + j, k0, least(args.k, k0 + chunk)}, sums + j * rows.height,
              bias_sums + j * rows.height);
      store_sums(args, {m0, rows.height, n0, count, sums, bias_sums});
    }
  }
}

}  // namespace stepless::kernels
