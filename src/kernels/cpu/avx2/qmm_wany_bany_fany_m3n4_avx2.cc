// Every packed format, decoded to float32 as fma(s, q, b) or scale * element, then summed by
// tile.hpp.
#include "kernels/cpu/avx2/tile.hpp"

namespace stepless::kernels {

static void prepare(const void* args, Slice rows) {
  if (nibble_order(*static_cast<const MatmulArgs*>(args))) return prepare_rows<true>(args, rows);
  prepare_rows<false>(args, rows);
}

STEPLESS_KERNEL(qmm_wany_bany_fany_m3n4_avx2) = {prepare, run_outputs<decode_packed>, nullptr};

}  // namespace stepless::kernels
