// E4M3 weights for up to ten rows of x (few.hpp).
#include "kernels/cpu/avx512/few.hpp"

namespace stepless::kernels {

namespace {

/// kFolded: see decode_e4m3().
template <bool kFolded>
struct E4m3 {
  static constexpr int64_t kStretch = 32 * kChunkGroups, kBytes = 64;
  struct Block {
    const uint8_t* bytes;
    const float* scales;
    int64_t left;
    __m512 value(int t) const {
      if (16 * t >= left) return _mm512_setzero_ps();
      __m512 value = load_e4m3(bytes + 16 * t);
      if (!kFolded) value = _mm512_mul_ps(value, _mm512_set1_ps(256));
      return _mm512_mul_ps(value, _mm512_set1_ps(scales[t / 2]));
    }
  };
  ChunkScales scales;
  const uint8_t* bytes;

  void start(const Chunk& c) {
    read_scales(c, scales);
    bytes = chunk_bytes(c, 8);
    if (!kFolded) return;
    for (int64_t g = 0; g * 32 < c.length; g += 16)
      _mm512_store_ps(scales.scale + g,
                      _mm512_mul_ps(_mm512_load_ps(scales.scale + g), _mm512_set1_ps(256)));
  }
  Block block(int64_t j) const { return {bytes + kBytes * j, scales.scale + 2 * j, 64}; }
  Block last(int64_t j, int64_t left) const {
    return {bytes + kBytes * j, scales.scale + 2 * j, left};
  }
};

}  // namespace

/// Whether none of `count` rows from n0 on has a scale of 2^120 or more, byte 247.
static bool have_room(const MatmulArgs& args, int64_t n0, int64_t count) {
  const int64_t groups = args.k / 32, bytes = count * groups;
  const uint8_t* at = args.scales + n0 * groups;
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < bytes; i += 64) {
    const __mmask64 left = bytes - i >= 64 ? ~0ull : (1ull << (bytes - i)) - 1;
    most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(left, at + i));
  }
  return _mm512_cmpge_epu8_mask(most, _mm512_set1_epi8(static_cast<char>(247))) == 0;
}

template <class W>
static void run_some(const MatmulArgs& args, int64_t n, int64_t count) {
  if (args.m <= 6)
    kRuns<W>[args.m - 1](args, n, count);
  else
    kRunsOfMore<W>[args.m - 7](args, n, count);
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t n = units.begin; n < units.end; n += kTileN) {
    const int64_t count = units.end - n < kTileN ? units.end - n : kTileN;
    if (have_room(args, n, count))
      run_some<E4m3<true>>(args, n, count);
    else
      run_some<E4m3<false>>(args, n, count);
  }
}

STEPLESS_KERNEL(qmm_mxfp8_b8_fany_m6n4_avx512) = {prepare_rows<false>, run, nullptr};

}  // namespace stepless::kernels
