// Few rows of x: a strip's codes go from the mapped rows through registers into the sums.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/codes.hpp"

namespace stepless::kernels {

/// Dwords of a strip's rows on their way: copied from the mapped rows two units ahead. Products
/// take both ports that 512-bit vectors have; copies take others. (Four bits, four rows to a vector
/// by VINSERTI32X4: 8 % slower at m = 8, 7 at 12. Copies of 8 or 4 bytes, which would spare turn()
/// half its shuffles and all: 6 and 25 % slower; more stores than a cycle takes.)
template <int kBytes>
struct Queue {
  static constexpr int64_t kAhead = 2;  // copies must have left the store buffer: none is forwarded
  static constexpr int64_t kPlaces = 4;  // a power of two
  static constexpr int kSixteens = kBytes / 16, kEights = kBytes / 8 % 2, kFours = kBytes / 4 % 2;
  alignas(64) uint8_t places[kPlaces][kBytes / 4][64];

  /// As asm, or gcc 12 joins copies to a vector, by VINSERTI32X4.
  __attribute__((always_inline)) static inline void copy16(const uint8_t* from, uint8_t* to) {
    __m128i bytes;
    asm("vmovdqu %1, %0" : "=x"(bytes) : "m"(*reinterpret_cast<const __m128i_u*>(from)));
    asm("vmovdqa %1, %0" : "=m"(*reinterpret_cast<__m128i*>(to)) : "x"(bytes));
  }
  template <class Word>
  __attribute__((always_inline)) static inline void copy(const uint8_t* from, uint8_t* to) {
    Word word;
    asm("mov %1, %0" : "=r"(word) : "m"(*reinterpret_cast<const Word*>(from)));
    asm("mov %1, %0" : "=m"(*reinterpret_cast<Word*>(to)) : "r"(word));
  }

  __attribute__((always_inline)) inline void put(const Rows& rows, int64_t unit) {
    uint8_t* const to = places[unit % kPlaces][0];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const uint8_t* base = rows.base[q] + kBytes * unit;
      // Or gcc 12 adds three numbers for every copy. (Other widths lose 4 to 8 % at two rows.)
      if constexpr (kBytes == 16) asm("" : "+r"(base));
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const uint8_t* const from = base + rows.step[j];
#pragma GCC unroll 2
        for (int s = 0; s < kSixteens; ++s) copy16(from + 16 * s, to + 256 * s + 64 * j + 16 * q);
        constexpr int kDone = 16 * kSixteens;
        if constexpr (kEights == 1)
          copy<uint64_t>(from + kDone, to + 16 * kDone + 64 * (j / 2) + 16 * q + 8 * (j % 2));
        if constexpr (kFours == 1)
          copy<uint32_t>(from + kBytes - 4, to + 16 * (kBytes - 4) + 16 * q + 4 * j);
      }
    }
  }

  /// Vector d gets dword d of every row.
  __attribute__((always_inline)) inline void take(int64_t unit, __m512i* v) const {
    const uint8_t(*const from)[64] = places[unit % kPlaces];
#pragma GCC unroll 2
    for (int s = 0; s < kSixteens; ++s) {
      __m512i a[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) a[j] = _mm512_load_si512(from[4 * s + j]);
      turn(a, v + 4 * s);
    }
    if constexpr (kEights == 1) {
      const __m512 a = _mm512_load_ps(from[4 * kSixteens]);
      const __m512 b = _mm512_load_ps(from[4 * kSixteens + 1]);
      v[4 * kSixteens] = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
      v[4 * kSixteens + 1] = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD));
    }
    if constexpr (kFours == 1) v[kBytes / 4 - 1] = _mm512_load_si512(from[kBytes / 4 - 1]);
  }
};

/// Where integer sums of two planes begin: 1.5 * 2^23 as a float32, whose last bit is worth one. As
/// long as no sum reaches 2^22 (255 * 128 * 128 does not), their bits are this number plus the sum.
static constexpr int32_t kMagicBits = 0x4B400000;
static constexpr float kMagic = 12582912;

/// The integer sums of a group. A VPDPBUSD takes five cycles and two begin in one: few rows of x
/// keep halves apart. (Up to eight sums pay in affine 4-bit products alone: 4 to 6 % less time at
/// m = 4, with one plane at 6 and 8. 2 bits would lose 4 %, 3 bits 2, E2M1 4.)
template <class F, class C, int kM>
struct FusedSums {
  static constexpr int kPlanes = F::kPlanes;
  static constexpr int kMostHalved = F::kAffine && C::kBits == 4 ? 8 : 4;
  static constexpr int kHalves = kPlanes * kM <= kMostHalved ? 2 : 1;
  __m512i acc[kPlanes][kHalves][kM];

  /// Affine sums of two planes are floats from the start: one instruction less a row and group.
  static constexpr bool kFloats = F::kAffine && kPlanes == 2 && kM > 2;

  __attribute__((always_inline)) inline void start(const int32_t* x_starts) {
#pragma GCC unroll 2
    for (int p = 0; p < kPlanes; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h)
#pragma GCC unroll 12
        for (int i = 0; i < kM; ++i) acc[p][h][i] = first_of_sum(x_starts, p, h, i);
  }

  __attribute__((always_inline)) static inline __m512i first_of_sum(const int32_t* x_starts, int p,
                                                                    int h, int i) {
    if (kFloats && h == 0) {
      // Loaded again and again: a copy from register to register takes a port of the products.
      __m512i magic;
      asm("vpbroadcastd %1, %0" : "=v"(magic) : "m"(kMagicBits));
      return magic;
    }
    if (!F::kAffine && p == kPlanes - 1 && h == 0) return _mm512_set1_epi32(x_starts[i]);
    return _mm512_setzero_si512();
  }

  __attribute__((always_inline)) inline __m512i plane(int p, int i) const {
    if (kHalves == 1) return acc[p][0][i];
    return _mm512_add_epi32(acc[p][0][i], acc[p][kHalves - 1][i]);
  }

  /// 256 times the sum of the high plane plus that of the low one, rounded to float32 once: the
  /// first of two steps is exact.
  __attribute__((always_inline)) inline __m512 value(int i) const {
    if constexpr (kFloats) {
      const __m512 high = _mm512_fmadd_ps(_mm512_castsi512_ps(plane(0, i)), _mm512_set1_ps(256),
                                          _mm512_set1_ps(-257 * kMagic));
      return _mm512_add_ps(high, _mm512_castsi512_ps(plane(1, i)));
    }
    if constexpr (kPlanes == 1) return _mm512_cvtepi32_ps(plane(0, i));
    return _mm512_cvtepi32_ps(
        _mm512_add_epi32(_mm512_slli_epi32(plane(0, i), 8), plane(kPlanes - 1, i)));
  }

  /// Four codes of every row times what dword j of x holds.
  __attribute__((always_inline)) inline void add_codes(__m512i codes, int j, const uint8_t* x) {
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 2
      for (int p = 0; p < kPlanes; ++p)
        add_products_of(acc[p][j % kHalves][i], codes, x + (i * kPlanes + p) * F::kPlane + 4 * j);
  }
};

/// A block of x from some group on.
struct Part {
  const uint8_t* planes;
  const float *scales, *sums;
  const int32_t* starts;
};

template <class F>
static inline Part part_at(const MatmulArgs& args, Block block, int64_t k) {
  const int64_t g = k / args.group_size * block.rows;
  return {planes_of<F>(args, block) + F::kPlanes * k * block.rows, x_scales_of<F>(args, block) + g,
          x_sums_of<F>(args, block) + g, x_starts_of<F>(args, block) + g};
}

/// Addresses are as if new, or gcc 12 keeps sums of them and of constants, more than there are
/// registers for.
__attribute__((always_inline)) static inline void renew(Strip& strip, Part& x) {
  asm("" : "+m"(strip.codes.base), "+r"(x.planes), "+r"(x.starts), "+r"(x.scales));
}

/// A group's sums into the accumulators; the next group of x.
template <class F, class C, int kM>
__attribute__((always_inline)) static inline void end_group(const FusedSums<F, C, kM>& sums,
                                                            const float* scales,
                                                            const float* biases, Part& x,
                                                            __m512* acc) {
  const __m512 scale = _mm512_load_ps(scales);
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) {
    const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[i]));
    if constexpr (F::kAffine)
      acc[i] = _mm512_fmadd_ps(_mm512_load_ps(biases), _mm512_set1_ps(x.sums[i]), acc[i]);
    acc[i] = _mm512_fmadd_ps(sums.value(i), both, acc[i]);
  }
  x.scales += kM, x.sums += kM, x.starts += kM;
}

#ifdef __AVX512VBMI2__
static constexpr bool kCheapCodes = true;
#else
static constexpr bool kCheapCodes = false;
#endif

/// Rows of x from which on copies pay: more of them than one for a row of weights and unit cost few
/// rows 3 %, those of three bits 13 % at one row and, where codes are cheap to part, 4 % at four.
template <class C>
static constexpr int kLeastQueued = C::kBits == 3     ? (kCheapCodes ? 5 : 2)
                                    : C::kBytes <= 16 ? 1
                                                      : 5;

/// Outputs n0 .. n0 + count - 1.
template <class F, class C, int kM>
static void run_fused(const MatmulArgs& args, int64_t n0, int64_t count) {
  constexpr int64_t kRun = kScaleRun<F>;  // groups
  Strip strip = strip_at(args, n0);
  Ahead ahead = ahead_of<F>(args, n0, 1);
  Part x = part_at<F>(args, {0, kM}, 0);
  const int64_t groups = args.k / args.group_size, units = args.group_size / kUnit;
  alignas(64) float scales[kRun][kStrip], biases[F::kAffine ? kRun : 1][kStrip];
  __m512 acc[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_setzero_ps();
  const int64_t last_unit = args.k / kUnit - 1;
  constexpr bool kQueued = kM >= kLeastQueued<C>;
  Queue<C::kBytes> queue;
  if constexpr (kQueued)
    for (int64_t u = 0; u < queue.kAhead; ++u) queue.put(strip.codes, least(u, last_unit));
  for (int64_t g = 0, unit = 0; g < groups; ++g) {
    if (g % kRun == 0) {
      const int64_t left = least(groups - g, kRun);
      read_scales<F>(args, strip.scales, g, left, scales);
      Ahead::ask(ahead.scales, 16 * kStrip / 64);
      if constexpr (F::kAffine) {
        read_scales<F>(args, strip.biases, g, left, biases);
        Ahead::ask(ahead.biases, 16 * kStrip / 64);
      }
    }
    FusedSums<F, C, kM> sums;
    sums.start(x.starts);
    for (const int64_t end = unit + units; unit < end; ++unit) {
      __m512i v[8];
      if constexpr (C::kBits <= 4) renew(strip, x);  // five bits lose 6 % at one row
      if constexpr (C::kBits == 4)
        ahead.codes.ask(64 * unit);
      else
        ahead.codes.ask_piece(unit);
      if constexpr (kQueued) {
        queue.put(strip.codes, least(unit + queue.kAhead, last_unit));
        queue.take(unit, v);
      } else {
        C::load(strip.codes, unit * C::kBytes, args.k - unit * kUnit, v);
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) sums.add_codes(C::four(v, j), j, x.planes);
      x.planes += kM * F::kPlanes * F::kPlane;
    }
    end_group<F, C, kM>(sums, scales[g % kRun], biases[F::kAffine ? g % kRun : 0], x, acc);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) store_strip<F>(args, strip, i, n0, count, acc[i]);
}

}  // namespace stepless::kernels
