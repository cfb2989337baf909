// Copies the rows that are sampled, so that the LM head runs for them only.
#include <string.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice rows) {
  const TakeArgs& args = *static_cast<const TakeArgs*>(opaque);
  const int64_t size = args.type == DType::f32 ? 4 : 2;
  for (int64_t i = rows.begin; i < rows.end; ++i)
    memcpy(static_cast<uint8_t*>(args.y) + i * args.y_stride * size,
           static_cast<const uint8_t*>(args.x) + args.index[i] * args.x_stride * size,
           static_cast<size_t>(args.width * size));
}

STEPLESS_KERNEL(take_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
