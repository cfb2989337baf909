// cos and sin of the rotary angles of a step's rows, computed once per step from double, so that
// every layer reads the same numbers and long positions lose nothing.
#include <math.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice rows) {
  const AnglesArgs& args = *static_cast<const AnglesArgs*>(opaque);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const double position = static_cast<double>(args.positions[row]);
    float* cosines = args.y + row * 2 * args.pairs;
    float* sines = cosines + args.pairs;
    for (int64_t i = 0; i < args.pairs; ++i) {
      const double angle = position * args.inv_freq[i];
      cosines[i] = static_cast<float>(cos(angle) * args.scale);
      sines[i] = static_cast<float>(sin(angle) * args.scale);
    }
  }
}

STEPLESS_KERNEL(angles_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
