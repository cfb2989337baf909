// Affine weights of every width times activations that are rounded to 8 bits. Order int8_groups, as
// the row of four bits, which is faster where it can run.
#include "kernels/cpu/avx512vnni/bytes.hpp"
#include "kernels/cpu/avx512vnni/widths.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice units) {
  run_widths<Bytes>(*static_cast<const MatmulArgs*>(opaque), units);
}

STEPLESS_KERNEL(qmm_affine_bany_i8_m12n32_avx512vnni) = {
    prepare_planes<Bytes, Elements::fields, byte_scale, store_bytes>, run, nullptr};

}  // namespace stepless::kernels
