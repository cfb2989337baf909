// Affine 4-bit weights for up to six rows of x (few.hpp).
#include "kernels/cpu/avx512/few.hpp"

namespace stepless::kernels {

namespace {

struct Nibbles {
  // Scales are decoded for this much of k at a time: 32 groups. With 512 m = 1 loses 15 % (Emerald
  // Rapids, gcc 12).
  static constexpr int64_t kStretch = 64 * kChunkGroups, kBytes = 32;
  struct Block {
    __m512i v;
    __m512 table;
    __m512 value(int t) const { return look_up(v, t, table); }
  };
  ChunkScales scales;
  const uint8_t* bytes;
  int shift;

  void start(const Chunk& c) {
    read_scales(c, scales);
    bytes = chunk_bytes(c, 4);
    shift = c.args.group_size == 64 ? 0 : 1;
  }
  Block block(int64_t j) const {
    return {load_nibbles(bytes + kBytes * j), values_of(scales, j >> shift)};
  }
  Block last(int64_t j, int64_t left) const {
    return {load_last_nibbles(bytes + kBytes * j, left), values_of(scales, j >> shift)};
  }
};

}  // namespace

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t n = units.begin; n < units.end; n += kTileN)
    kRuns<Nibbles>[args.m - 1](args, n, units.end - n < kTileN ? units.end - n : kTileN);
}

STEPLESS_KERNEL(qmm_affine_b4_fany_m6n4_avx512) = {prepare_rows<true>, run, nullptr};

}  // namespace stepless::kernels
