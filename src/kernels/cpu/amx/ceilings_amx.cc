// The ceiling of TDPBUSD: full tiles, two sums in turn.
#include <immintrin.h>

#include "kernels/ceiling_entry.hpp"

namespace stepless::kernels {

struct alignas(64) FullTiles {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16};
};

static int64_t int8(int64_t steps) {
  const FullTiles tiles;
  asm volatile("ldtilecfg %0" ::"m"(tiles));  // the intrinsic of gcc 12 names eight bytes of it
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < steps; ++i) {
    _tile_dpbusd(0, 2, 3);
    _tile_dpbusd(1, 2, 3);
  }
  _tile_release();
  return steps * 2 * (16 * 16 * 64 * 2);
}

STEPLESS_CEILING(ceilings_amx) = {nullptr, nullptr, nullptr, nullptr, int8};

}  // namespace stepless::kernels
