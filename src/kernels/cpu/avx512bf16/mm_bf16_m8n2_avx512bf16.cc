// Dense bf16 weights as they lie in the checkpoint times bf16 activations with VDPBF16PS. One order
// for every m: lane i sums elements 2 i and 2 i + 1 of each 32 in turn.
#include "kernels/cpu/avx512bf16/tile.hpp"

namespace stepless::kernels {

static constexpr int64_t kStep = 32;  // elements of a register
// x as prepared: blocks of eight rows, 32 elements of each row in turn, zero beyond k.
static void prepare(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const __mmask32 tail = (1u << (args.k % kStep)) - 1;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t height = block_rows(args, i);
    const uint16_t* from = static_cast<const uint16_t*>(args.x) + i * args.x_stride;
    uint16_t* to = block_of(args, i) + i % kTileM * kStep;
    int64_t k = 0;
    for (; k + kStep <= args.k; k += kStep, to += height * kStep)
      _mm512_store_si512(to, _mm512_loadu_si512(from + k));
    if (tail != 0) _mm512_store_si512(to, _mm512_maskz_loadu_epi16(tail, from + k));
  }
}

template <int kM>
static inline void add_step(const __m512i* w, const uint16_t* x, __m512 (*acc)[kM]) {
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
    const __m512bh xs = *reinterpret_cast<const __m512bh*>(x + i * kStep);
#pragma GCC unroll 4
    for (int r = 0; r < kTileN; ++r)
      acc[r][i] = _mm512_dpbf16_ps(acc[r][i], reinterpret_cast<__m512bh>(w[r]), xs);
  }
}

template <int kM>
static void run_tile(const MatmulArgs& args, int64_t m0, int64_t n0, int64_t count) {
  const uint8_t* rows[kTileN];
  for (int64_t r = 0; r < kTileN; ++r)
    rows[r] = args.w + (n0 + (r < count ? r : 0)) * args.w_row_bytes;
  __m512 acc[kTileN][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kTileN; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) acc[r][i] = _mm512_setzero_ps();
  const uint16_t* x = block_of(args, m0);
  const int64_t ahead = bytes_ahead(args);
  int64_t k = 0;
  for (; k + kStep <= args.k; k += kStep, x += kM * kStep) {
    __m512i w[kTileN];
#pragma GCC unroll 4
    for (int r = 0; r < kTileN; ++r) {
      _mm_prefetch(rows[r] + 2 * k + ahead, _MM_HINT_T0);
      w[r] = _mm512_loadu_si512(rows[r] + 2 * k);
    }
    add_step<kM>(w, x, acc);
  }
  if (k < args.k) {
    const __mmask32 tail = (1u << (args.k - k)) - 1;
    __m512i w[kTileN];
#pragma GCC unroll 4
    for (int r = 0; r < kTileN; ++r) w[r] = _mm512_maskz_loadu_epi16(tail, rows[r] + 2 * k);
    add_step<kM>(w, x, acc);
  }
  store_tile<kM>(args, m0, n0, count, acc);
}

static void run(const void* args, Slice units) {
  static constexpr Tile kTiles[] = {run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>,
                                    run_tile<5>, run_tile<6>, run_tile<7>, run_tile<8>};
  run_tiles(kTiles, *static_cast<const MatmulArgs*>(args), units);
}

STEPLESS_KERNEL(mm_bf16_m8n2_avx512bf16) = {prepare, run, nullptr};

}  // namespace stepless::kernels
