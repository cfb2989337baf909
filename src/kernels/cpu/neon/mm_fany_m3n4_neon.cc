// Dense weights of any float type, converted to float32, then summed by tile.hpp.
#include "kernels/cpu/neon/tile.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(mm_fany_m3n4_neon) = {prepare_rows, run_outputs<decode_dense>, nullptr};

}  // namespace stepless::kernels
