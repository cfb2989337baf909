// Every packed format, decoded to float32 as fma(s, q, b) or scale * element, then summed by
// tile.hpp.
#include "kernels/cpu/avx512/tile.hpp"

namespace stepless::kernels {

namespace {

/// Affine 4-bit codes in groups of 64 or 128: the sixteen values of a group are one register.
/// Scales are decoded for four chunks at once, which takes 5 % off m = 8.
struct WideNibbles {
  static constexpr int64_t kStretch = 4 * kChunk;
  const MatmulArgs& args;
  int64_t n0, count;
  ChunkScales scales[kRows];

  WideNibbles(const MatmulArgs& a, int64_t n, int64_t c) : args(a), n0(n), count(c) {}

  void decode(int64_t k0, int64_t length, float* panel) {
    const int64_t at = k0 % kStretch, left = args.k - k0;
    if (at == 0)
      for (int64_t r = 0; r < count; ++r)
        read_scales({args, n0 + r, k0, left < kStretch ? left : kStretch, nullptr}, scales[r]);
    const int64_t ahead = bytes_ahead(args, kRows);
    for (int64_t r = 0; r < count; ++r) {
      const uint8_t* bytes = args.w + (n0 + r) * args.w_row_bytes + k0 / 2;
      for (int64_t i = 0; i < length / 2; i += 64) _mm_prefetch(bytes + ahead + i, _MM_HINT_T1);
      if (args.group_size == 64)
        put<1>(bytes, scales[r], at / 64, length / 64, panel + kPanelRow * r);
      else
        put<2>(bytes, scales[r], at / 128, length / 128, panel + kPanelRow * r);
    }
  }

  /// Groups of kRuns times 64.
  template <int kRuns>
  static void put(const uint8_t* bytes, const ChunkScales& s, int64_t first, int64_t groups,
                  float* out) {
    for (int64_t g = first; g < first + groups; ++g) {
      const __m512 table = values_of(s, g);
#pragma GCC unroll 2
      for (int run = 0; run < kRuns; ++run, bytes += 32, out += 64) {
        const __m512i v = load_nibbles(bytes);
#pragma GCC unroll 4
        for (int t = 0; t < 4; ++t) _mm512_store_ps(out + 16 * t, look_up(v, t, table));
      }
    }
  }
};

}  // namespace

static void prepare(const void* args, Slice rows) {
  if (nibble_order(*static_cast<const MatmulArgs*>(args))) return prepare_rows<true>(args, rows);
  prepare_rows<false>(args, rows);
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  if (args.mode == Mode::affine && args.bits == 4 && args.group_size >= 64)
    return run_outputs<WideNibbles>(opaque, units);
  run_outputs<ByRows<decode_packed>>(opaque, units);
}

STEPLESS_KERNEL(qmm_wany_bany_fany_m3n8_avx512) = {prepare, run, nullptr};

}  // namespace stepless::kernels
