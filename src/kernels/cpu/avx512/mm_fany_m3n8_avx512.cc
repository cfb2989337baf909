// Dense weights of any float type, converted to float32, then summed by tile.hpp.
#include "kernels/cpu/avx512/tile.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(mm_fany_m3n8_avx512) = {prepare_rows<false>, run_outputs<ByRows<decode_dense>>,
                                        nullptr};

}  // namespace stepless::kernels
