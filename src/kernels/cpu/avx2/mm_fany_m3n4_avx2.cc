// Dense weights of any float type, converted to float32, then summed by tile.hpp; for up to six
// rows of x in registers, four weight rows in step.
#include "kernels/cpu/avx2/tile.hpp"

namespace stepless::kernels {

/// Two blocks of x, each with a reading of its own. A third loses to panels (Zen 1, bf16: 0 to 11
/// %).
static constexpr int64_t kFewM = 2 * kTileM;

template <DType kType>
__attribute__((always_inline)) static inline __m256 load_eight(const uint8_t* at) {
  if constexpr (kType == DType::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
  return half_to_f32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), kType);
}

/// Outputs n0 .. n0 + count - 1 of a block's kM rows of x; where these are fewer than four, the
/// first is computed again in place of those that are missing.
template <DType kType, int kM>
static void run_block(const MatmulArgs& args, int64_t block, int64_t n0, int64_t count) {
  constexpr int64_t kSize = kType == DType::f32 ? 4 : 2, kStep = 64 / kSize;  // a line of weights
  __m256 acc[kRows][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm256_setzero_ps();
  const uint8_t* rows[kRows];
  for (int64_t r = 0; r < kRows; ++r)
    rows[r] = args.w + (n0 + (r < count ? r : 0)) * args.w_row_bytes;
  const int64_t ahead = bytes_ahead(args);
  const float* x = block_of(args, block);
  int64_t k = 0;
  for (; k + kStep <= args.k; k += kStep)
#pragma GCC unroll 4
    for (int64_t t = 0; t < kStep; t += 8, x += 8 * kM)
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const uint8_t* const at = rows[r] + (k + t) * kSize;
        if (t == 0) _mm_prefetch(reinterpret_cast<const char*>(at + ahead), _MM_HINT_T0);
        const __m256 w = load_eight<kType>(at);
#pragma GCC unroll 3
        for (int i = 0; i < kM; ++i)
          acc[r][i] = _mm256_fmadd_ps(w, _mm256_load_ps(x + 8 * i), acc[r][i]);
      }
  for (; k < args.k; k += 8, x += 8 * kM)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 w = load_f32(rows[r], kType, k, args.k - k);
#pragma GCC unroll 3
      for (int i = 0; i < kM; ++i)
        acc[r][i] = _mm256_fmadd_ps(w, _mm256_load_ps(x + 8 * i), acc[r][i]);
    }
  for (int i = 0; i < kM; ++i) {
    const __m256 sums[kRows] = {acc[0][i], acc[1][i], acc[2][i], acc[3][i]};
    store_f32(args.y, args.y_type, (block * kTileM + i) * args.y_stride + n0, count,
              sum_each(sums));
  }
}

static void prepare(const void* args, Slice rows) {
  prepare_rows<Mode::affine, 0>(*static_cast<const MatmulArgs*>(args), rows);
}

/// The second block finds the weights in the second cache.
template <DType kType>
static void run_few(const MatmulArgs& args, Slice units) {
  static constexpr void (*kHeights[])(const MatmulArgs&, int64_t, int64_t, int64_t) = {
      run_block<kType, 1>, run_block<kType, 2>, run_block<kType, 3>};
  for (int64_t n = units.begin; n < units.end; n += kRows)
    for (int64_t block = 0; block * kTileM < args.m; ++block)
      kHeights[block_rows(args, block) - 1](args, block, n, min_of(units.end - n, kRows));
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  if (args.m > kFewM) return run_outputs<decode_dense>(args, units);
  if (args.w_type == DType::f32) return run_few<DType::f32>(args, units);
  args.w_type == DType::f16 ? run_few<DType::f16>(args, units) : run_few<DType::bf16>(args, units);
}

STEPLESS_KERNEL(mm_fany_m3n4_avx2) = {prepare, run, nullptr};

}  // namespace stepless::kernels
