// Every packed format, decoded to float32 as fma(s, q, b) or scale * element, then summed by
// tile.hpp.
#include "kernels/cpu/neon/tile.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_wany_bany_fany_m3n4_neon) = {prepare_rows, run_outputs<decode_packed>, nullptr};

}  // namespace stepless::kernels
