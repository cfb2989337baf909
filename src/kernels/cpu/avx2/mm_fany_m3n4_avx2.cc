// Dense weights of any float type, converted to float32, then summed by tile.hpp.
#include "kernels/cpu/avx2/tile.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(mm_fany_m3n4_avx2) = {prepare_rows<false>, run_outputs<decode_dense>, nullptr};

}  // namespace stepless::kernels
