// Affine 4-bit weights as they lie in the checkpoint times bf16 activations, exactly: codes become
// bf16 through a table, VDPBF16PS sums q·x within a group, then one float32 fma per group scales
// it. The bias joins through the group sums of x. One order for every m: blocks of 128 elements,
// lane i of a block sums elements 8 i to 8 i + 7, groups in turn.
#include "kernels/cpu/avx512bf16/tile.hpp"

namespace stepless::kernels {

static constexpr int64_t kBlock = 128;  // elements of one 64-byte load of codes

// x as prepared: blocks of eight rows; in them, for each 128 elements and each row, four
// vectors: vector t holds elements 4 l + t in lane l, as nibble t of 16-bit lane l does. Then the
// group sums, float32.
static inline float* sums_of(const MatmulArgs& args, int64_t i) {
  return reinterpret_cast<float*>(args.workspace + 2 * args.m * padded(args.k)) +
         i * (padded(args.k) / 32);
}

static inline __m512 bf16_to_f32(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

static void prepare(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  // 16-bit lane l of the first half takes element 4 l of 64, then 4 l + 1 …; vpermt2w picks from
  // two registers.
  alignas(64) uint16_t picks[32];
  for (int l = 0; l < 32; ++l) picks[l] = static_cast<uint16_t>(4 * (l & 15) + (l >> 4));
  const __m512i pick = _mm512_load_si512(picks);
  const __m512i next = _mm512_add_epi16(pick, _mm512_set1_epi16(2));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t height = block_rows(args, i);
    const uint16_t* from = static_cast<const uint16_t*>(args.x) + i * args.x_stride;
    uint16_t* to = block_of(args, i) + i % kTileM * kBlock;
    float* sums = sums_of(args, i);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t k = 0; k < padded(args.k); k += kBlock, to += height * kBlock) {
      __m512i v[4];
      for (int h = 0; h < 4; ++h)
        v[h] = _mm512_maskz_loadu_epi16(first32(args.k - k - 32 * h), from + k + 32 * h);
      // Lanes 0-15: elements 4 l + t of the first 64; lanes 16-31: t + 1. Likewise of the
      // second 64.
      for (int t = 0; t < 4; t += 2) {
        const __m512i low = _mm512_permutex2var_epi16(v[0], t == 0 ? pick : next, v[1]);
        const __m512i high = _mm512_permutex2var_epi16(v[2], t == 0 ? pick : next, v[3]);
        _mm512_store_si512(to + 32 * t, _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1));
        _mm512_store_si512(to + 32 * t + 32, _mm512_shuffle_i64x2(low, high, 0xEE));
      }
      for (int h = 0; h < 4 && k + 32 * h < args.k; ++h) {
        sum = _mm512_add_ps(sum, bf16_to_f32(_mm512_castsi512_si256(v[h])));
        sum = _mm512_add_ps(sum, bf16_to_f32(_mm512_extracti64x4_epi64(v[h], 1)));
        if ((k + 32 * h + 32) % args.group_size != 0) continue;
        *sums++ = _mm512_reduce_add_ps(sum);
        sum = _mm512_setzero_ps();
      }
    }
  }
}

/// The weight rows of a tile. In the last tile of a slice the second may repeat the first; it is
/// then not stored.
struct Rows {
  const uint8_t* codes[kTileN];
  const uint8_t* scales[kTileN];
  const uint8_t* biases[kTileN];
};

/// Scales or biases of 16 groups; those beyond `count` are zero and not read.
static inline __m512 load_groups(const uint8_t* at, int64_t count, DType type) {
  const __mmask16 mask = static_cast<__mmask16>(first32(count));
  const __m256i half = _mm256_maskz_loadu_epi16(mask, at);
  return type == DType::f16 ? _mm512_cvtph_ps(half) : bf16_to_f32(half);
}

/// q as bf16 by its lowest five bits: the fifth belongs to the next code, so the table is there
/// twice.
static inline __m512i code_table() {
  alignas(32) static const uint16_t kCodes[16] = {0,      0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0,
                                                  0x40C0, 0x40E0, 0x4100, 0x4110, 0x4120, 0x4130,
                                                  0x4140, 0x4150, 0x4160, 0x4170};
  return _mm512_broadcast_i64x4(_mm256_load_si256(reinterpret_cast<const __m256i*>(kCodes)));
}

/// One block of one weight row into the accumulators of kM rows of x.
template <int kM>
static inline void add_block(__m512i v, __m512 scale, __m512i table, const uint16_t* x,
                             __m512* acc) {
  const __m512bh q0 = reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(v, table));
  const __m512bh q1 =
      reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(v, 4), table));
  const __m512bh q2 =
      reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(v, 8), table));
  const __m512bh q3 =
      reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(v, 12), table));
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
    const __m512bh* xs = reinterpret_cast<const __m512bh*>(x + i * kBlock);
    __m512 sum = _mm512_dpbf16_ps(_mm512_setzero_ps(), q0, xs[0]);
    sum = _mm512_dpbf16_ps(sum, q1, xs[1]);
    sum = _mm512_dpbf16_ps(sum, q2, xs[2]);
    sum = _mm512_dpbf16_ps(sum, q3, xs[3]);
    acc[i] = _mm512_fmadd_ps(sum, scale, acc[i]);
  }
}

template <int kM>
static void run_tile(const MatmulArgs& args, int64_t m0, int64_t n0, int64_t count) {
  const int shift = __builtin_ctz(static_cast<unsigned>(args.group_size));
  const int64_t groups = args.k >> shift, blocks = args.k / kBlock;
  Rows rows;
  for (int64_t r = 0; r < kTileN; ++r) {
    const int64_t n = n0 + (r < count ? r : 0);
    rows.codes[r] = args.w + n * args.w_row_bytes;
    rows.scales[r] = args.scales + 2 * n * groups;
    rows.biases[r] = args.biases + 2 * n * groups;
  }
  __m512 acc[kTileN][kM];
#pragma GCC unroll 2
  for (int r = 0; r < kTileN; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm512_setzero_ps();
  for (int64_t g = 0; g < groups; g += 16)
#pragma GCC unroll 2
    for (int r = 0; r < kTileN; ++r) {
      const __m512 bias = load_groups(rows.biases[r] + 2 * g, groups - g, args.w_type);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i)
        acc[r][i] =
            _mm512_fmadd_ps(_mm512_maskz_loadu_ps(static_cast<__mmask16>(first32(groups - g)),
                                                  sums_of(args, m0 + i) + g),
                            bias, acc[r][i]);
    }
  const __m512i table = code_table();
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i first = _mm512_srl_epi32(lanes, _mm_cvtsi32_si128(shift - 3));  // a lane's group
  const __m512i step = _mm512_set1_epi32(128 >> shift);
  const uint16_t* x = block_of(args, m0);
  int64_t block = 0;
  const int64_t ahead = bytes_ahead(args);
  for (int64_t g = 0; g < groups; g += 16) {
    __m512 scales[kTileN];
#pragma GCC unroll 2
    for (int r = 0; r < kTileN; ++r)
      scales[r] = load_groups(rows.scales[r] + 2 * g, groups - g, args.w_type);
    __m512i group = first;
    const int64_t stop = (g + 16) << shift >> 7, end = stop < blocks ? stop : blocks;
    for (; block < end; ++block, x += kM * kBlock) {
#pragma GCC unroll 2
      for (int r = 0; r < kTileN; ++r) {
        _mm_prefetch(rows.codes[r] + block * 64 + ahead, _MM_HINT_T0);
        add_block<kM>(_mm512_loadu_si512(rows.codes[r] + block * 64),
                      _mm512_permutexvar_ps(group, scales[r]), table, x, acc[r]);
      }
      group = _mm512_add_epi32(group, step);
    }
    if (block == blocks && args.k % kBlock != 0 && blocks < stop) {
      const __mmask64 mask = (uint64_t{1} << (args.k % kBlock / 2)) - 1;
#pragma GCC unroll 2
      for (int r = 0; r < kTileN; ++r)
        add_block<kM>(_mm512_maskz_loadu_epi8(mask, rows.codes[r] + block * 64),
                      _mm512_permutexvar_ps(group, scales[r]), table, x, acc[r]);
    }
  }
  store_tile<kM>(args, m0, n0, count, acc);
}

static void run(const void* args, Slice units) {
  static constexpr Tile kTiles[] = {run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>,
                                    run_tile<5>, run_tile<6>, run_tile<7>, run_tile<8>};
  run_tiles(kTiles, *static_cast<const MatmulArgs*>(args), units);
}

STEPLESS_KERNEL(qmm_affine_b4_bf16_m8n2_avx512bf16) = {prepare, run, nullptr};

}  // namespace stepless::kernels
