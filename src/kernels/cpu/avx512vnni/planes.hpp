// x as planes of signed bytes, as VPDPBUSD takes them: where they lie, and what is the same for two
// planes (words.hpp) and for one (bytes.hpp). Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/any/byte_scale.hpp"
#include "kernels/cpu/avx512/numbers.hpp"

namespace stepless::kernels {

static constexpr int64_t kMostRows = 12;  // rows of x of a tile
static constexpr int64_t kUnit = 32;      // elements that are decoded at a time

/// What a product is made of: planes of x, and the mode of the weights they meet.
template <int planes, Mode mode>
struct Form {
  static constexpr int kPlanes = planes;
  static constexpr Mode kMode = mode;
  static constexpr bool kAffine = mode == Mode::affine;
  /// Elements that are prepared at a time, bytes of them in a plane of one row of x: no group is
  /// smaller, but those of nvfp4 are half of what is decoded at a time.
  static constexpr int64_t kPlane = mode == Mode::nvfp4 ? 16 : 32;
};

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t padded(int64_t k) { return (k + 127) / 128 * 128; }

/// Rows of x of one tile.
struct Block {
  int64_t first, rows;
};

static inline int64_t count_blocks(const MatmulArgs& args) {
  return (args.m + kMostRows - 1) / kMostRows;
}

/// How all rows are cut into blocks: the first `taller` have one step more than `low`.
struct Cut {
  int64_t step, low, taller;  // rows, steps, blocks
};

/// As even as can be, since a block of one row costs nearly as much as one of five. Above eight
/// rows by steps of two: panels of 11 rows take as long as those of 12 (33 rows as 12, 12 and 9
/// take 3 % less than as 11, 11 and 11, 22 as 12 and 10 3 %, 64 2 %; but 13 as 8 and 5 4 % more
/// than as 7 and 6).
static inline Cut cut_of(const MatmulArgs& args) {
  const int64_t blocks = count_blocks(args), step = args.m > 8 * blocks ? 2 : 1;
  const int64_t steps = (args.m + step - 1) / step;
  return {step, steps / blocks, steps % blocks};
}

static inline Block block_at(const MatmulArgs& args, int64_t index) {
  const Cut cut = cut_of(args);
  const int64_t first = cut.step * (index * cut.low + least(index, cut.taller));
  return {first, least(cut.step * (cut.low + (index < cut.taller ? 1 : 0)), args.m - first)};
}

static inline Block block_of_row(const MatmulArgs& args, int64_t i) {
  const Cut cut = cut_of(args);
  const int64_t at = i / cut.step, in_taller = cut.taller * (cut.low + 1);
  return block_at(args,
                  at < in_taller ? at / (cut.low + 1) : cut.taller + (at - in_taller) / cut.low);
}

// The workspace: the blocks of x, in each for every kPlane elements and each row kPlane bytes of
// the high plane, then of the low one; where x is one plane (bytes.hpp), of that. Dword 2 t + h of
// either holds elements 8 t + h + {0, 2, 4, 6}, as the low (h = 0) or high nibbles of dword t of
// the codes do; Elements tells of other widths. Then the scales of the groups, in the same blocks,
// for each group and row one float; then the sums of x over the groups likewise.
template <class F>
static inline uint8_t* planes_of(const MatmulArgs& args, Block block) {
  return args.workspace + F::kPlanes * block.first * padded(args.k);
}

template <class F>
static inline float* x_scales_of(const MatmulArgs& args, Block block) {
  return reinterpret_cast<float*>(args.workspace + F::kPlanes * args.m * padded(args.k)) +
         block.first * (padded(args.k) / F::kPlane);
}

template <class F>
static inline float* x_sums_of(const MatmulArgs& args, Block block) {
  return x_scales_of<F>(args, block) + args.m * (padded(args.k) / F::kPlane);
}

/// In the place of those sums, for codes of E2M1: what a group's integer sum begins with.
template <class F>
static inline int32_t* x_starts_of(const MatmulArgs& args, Block block) {
  return reinterpret_cast<int32_t*>(x_sums_of<F>(args, block));
}

static inline __m512 load_x(const MatmulArgs& args, int64_t at) {
  return load_f32(args.x, args.x_type, at, 0xFFFF);
}

/// The largest magnitude of a group as bits of a float32, which ascend as magnitudes do; NaN lies
/// above infinity.
static inline uint32_t largest_bits(const MatmulArgs& args, int64_t at) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t t = 0; t < args.group_size; t += 16)
    most = _mm512_max_epu32(most, _mm512_and_si512(_mm512_castps_si512(load_x(args, at + t)),
                                                   _mm512_set1_epi32(INT32_MAX)));
  return _mm512_reduce_max_epu32(most);
}

/// In which order planes hold 32 elements: as nibbles of dwords come, as fields of the weight's
/// width come where that divides a byte, or as in the checkpoint, which are fields of eight bits.
enum class Elements { nibbles, fields, naturals };

static inline int field_bits(Elements elements, const MatmulArgs& args) {
  if (elements == Elements::nibbles) return 4;
  return elements == Elements::fields && 8 % args.bits == 0 ? args.bits : 8;
}

/// Where one of 32 elements lies on its way to the planes: as loaded, or as packed (taken apart
/// into even and odd ones, then packed again: as nibbles come).
enum class Arrival { loaded, packed };

/// What gives a lane of 32 elements the one that planes hold there: byte e of the dword that meets
/// field f of the codes' dword t.
static inline __m512i order_of_planes(Elements elements, const MatmulArgs& args,
                                      Arrival arrival = Arrival::loaded) {
  const int bits = field_bits(elements, args), fields = 8 / bits;
  alignas(64) uint16_t places[kUnit];
  for (int i = 0; i < kUnit; ++i) {
    const int e = i % 4, f = i / 4 % fields, t = i / 4 / fields;
    const int element = 32 / bits * t + f + fields * e;
    const int packed = element / 8 * 8 + element % 2 * 4 + element % 8 / 2;
    places[i] = static_cast<uint16_t>(arrival == Arrival::packed ? packed : element);
  }
  return _mm512_load_si512(places);
}

/// kCount elements as 16-bit integers, ordered as planes are; `lanes` grows by what adds up to
/// their sum.
template <int64_t kCount>
static inline __m512i to_words(const MatmulArgs& args, int64_t at, __m512 factor, __m512i order,
                               __m512i& lanes) {
  const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(load_x(args, at), factor));
  __m512i words = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(a));
  lanes = _mm512_add_epi32(lanes, a);
  if constexpr (kCount == 32) {
    const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(load_x(args, at + 16), factor));
    words = _mm512_inserti64x4(words, _mm512_cvtepi32_epi16(b), 1);
    lanes = _mm512_add_epi32(lanes, b);
  }
  return _mm512_permutexvar_epi16(order, words);
}

/// The same of 32 elements of bf16 that are loaded at once, half the instructions; they arrive
/// packed. Where a product is NaN the integer is the least of 16 bits.
template <Elements kElements>
static inline __m512i bf16_to_words(__m512i codes, __m512 factor, __m512i order, __m512i& lanes) {
  const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(codes, 16));
  const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(codes, _mm512_set1_epi32(-0x10000)));
  const __m512i words = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(even, factor)),
                                           _mm512_cvtps_epi32(_mm512_mul_ps(odd, factor)));
  lanes = _mm512_dpwssd_epi32(lanes, words, _mm512_set1_epi16(1));
  return kElements == Elements::nibbles ? words : _mm512_permutexvar_epi16(order, words);
}

/// As largest_bits(), of a group of bf16 that is a multiple of 32.
static inline uint32_t largest_bf16(const uint8_t* from, int64_t n) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t t = 0; t < n; t += 32)
    most = _mm512_max_epu16(
        most, _mm512_and_si512(_mm512_loadu_si512(from + 2 * t), _mm512_set1_epi16(INT16_MAX)));
  const __m256i half =
      _mm256_max_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  const __m128i eight =
      _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i least_of = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(-1)));
  return ~static_cast<uint32_t>(_mm_cvtsi128_si32(least_of)) << 16;
}

/// The lower kCount of 32 bytes.
template <int64_t kCount>
static inline void store_plane(__m256i bytes, uint8_t* to) {
  if constexpr (kCount == 32)
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), bytes);
  else
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
}

/// Codes of E2M1 are kept as twice their elements, and 12 more, so that they are unsigned.
static constexpr int32_t kE2m1Offset = 12;

template <class F>
static inline Arrival arrival_of(const MatmulArgs& args) {
  return F::kPlane == 32 && args.x_type == DType::bf16 ? Arrival::packed : Arrival::loaded;
}

/// A group of x from element `at` on, to planes `step` bytes apart. Returns lanes that add up to
/// the sum of its integers.
template <class F, Elements kElements, void (*kStore)(__m512i words, uint8_t* to)>
static inline __m512i store_group(const MatmulArgs& args, int64_t at, __m512 factor, __m512i order,
                                  int64_t step, uint8_t* to) {
  __m512i lanes = _mm512_setzero_si512();
  if (arrival_of<F>(args) == Arrival::packed) {
    const uint8_t* const from = static_cast<const uint8_t*>(args.x) + 2 * at;
    for (int64_t t = 0; t < args.group_size; t += F::kPlane, to += step)
      kStore(bf16_to_words<kElements>(_mm512_loadu_si512(from + 2 * t), factor, order, lanes), to);
    return lanes;
  }
  for (int64_t t = 0; t < args.group_size; t += F::kPlane, to += step)
    kStore(to_words<F::kPlane>(args, at + t, factor, order, lanes), to);
  return lanes;
}

template <class F>
static inline uint32_t largest_of_group(const MatmulArgs& args, int64_t at) {
  if (arrival_of<F>(args) == Arrival::packed)
    return largest_bf16(static_cast<const uint8_t*>(args.x) + 2 * at, args.group_size);
  return largest_bits(args, at);
}

/// Groups whose scales are found before the first of them is stored: a scale waits for its whole
/// group, and the store for the scale, longer than a processor looks ahead.
static constexpr int64_t kGroupsAhead = 16;

/// kScale says how, kStore keeps kPlane words as planes.
template <class F, Elements kElements, GroupScale (*kScale)(uint32_t largest),
          void (*kStore)(__m512i words, uint8_t* to)>
static void prepare_planes(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const __m512i order = order_of_planes(kElements, args, arrival_of<F>(args));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Block block = block_of_row(args, i);
    const int64_t place = i - block.first, step = block.rows * F::kPlanes * F::kPlane;
    uint8_t* to = planes_of<F>(args, block) + place * F::kPlanes * F::kPlane;
    float *scale = x_scales_of<F>(args, block) + place, *sum = x_sums_of<F>(args, block) + place;
    int32_t* start = x_starts_of<F>(args, block) + place;
    const int64_t row = i * args.x_stride, groups = args.k / args.group_size;
    for (int64_t first = 0; first < groups; first += kGroupsAhead) {
      const int64_t some = least(groups - first, kGroupsAhead);
      float factors[kGroupsAhead], from_integers[kGroupsAhead];
      for (int64_t g = 0; g < some; ++g) {
        const int64_t at = row + (first + g) * args.group_size;
        const GroupScale both = kScale(largest_of_group<F>(args, at));
        factors[g] = both.to_integers;
        from_integers[g] = both.from_integers;
      }
      for (int64_t g = 0; g < some; ++g) {
        const __m512i lanes = store_group<F, kElements, kStore>(
            args, row + (first + g) * args.group_size, _mm512_set1_ps(factors[g]), order, step, to);
        to += args.group_size / F::kPlane * step;
        *scale = from_integers[g];
        scale += block.rows;
        if constexpr (F::kAffine) {
          *sum = static_cast<float>(_mm512_reduce_add_epi32(lanes)) * from_integers[g];
          sum += block.rows;
        } else {
          const __m512i starts = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(-kE2m1Offset));
          *start = _mm512_reduce_add_epi32(starts);
          start += block.rows;
        }
      }
    }
    if (!F::kAffine && args.k % kUnit != 0) {  // the half that the last unit lacks
      kStore(_mm512_setzero_si512(), to);
      *scale = 0, *start = 0;
    }
  }
}

}  // namespace stepless::kernels
