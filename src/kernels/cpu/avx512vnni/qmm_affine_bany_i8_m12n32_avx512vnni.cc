// Affine weights of every width times activations that are rounded to 8 bits. Order int8_groups, as
// the row of four bits, which is faster where it can run.
#include "kernels/cpu/avx512vnni/bytes.hpp"
#include "kernels/cpu/avx512vnni/widths.hpp"

namespace stepless::kernels {

STEPLESS_KERNEL(qmm_affine_bany_i8_m12n32_avx512vnni) = {prepare_bytes<Elements::fields>,
                                                         run_widths<Bytes>, nullptr};

}  // namespace stepless::kernels
