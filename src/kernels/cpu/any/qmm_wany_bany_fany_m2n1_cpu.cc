// Packed weights of every mode, width, group size and type, times rows of any type. Slow and sure:
// what other rows do not take, on machines without their instructions.
#include "kernels/cpu/any/product.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice outputs) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const int64_t groups = args.k / args.group_size;
  const Rounding rounding = rounding_for(args.y_type);
  multiply(args, outputs, [&](int64_t row, int64_t first, int64_t count, float* to) {
    decode_packed(args, groups, row, first, count, rounding, to);
  });
}

STEPLESS_KERNEL(qmm_wany_bany_fany_m2n1_cpu) = {widen_rows, run, nullptr};

}  // namespace stepless::kernels
