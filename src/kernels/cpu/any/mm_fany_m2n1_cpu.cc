// Dense weights (f32, f16, bf16) times rows of any type, any n and k.
#include "kernels/cpu/any/product.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice outputs) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  multiply(args, outputs, [&](int64_t row, int64_t first, int64_t count, float* to) {
    decode_dense(args, row, first, count, to);
  });
}

STEPLESS_KERNEL(mm_fany_m2n1_cpu) = {widen_rows, run, nullptr};

}  // namespace stepless::kernels
