// Takes rows apart whose heads hold several things one after another: a value for each thing.
#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static void run(const void* opaque, Slice rows) {
  const SplitArgs& args = *static_cast<const SplitArgs*>(opaque);
  const int64_t size = bytes_of(args.type);
  int64_t group_width = 0;
  for (int64_t j = 0; j < args.parts; ++j) group_width += args.width[j];
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t group = 0; group < args.groups; ++group) {
      const uint8_t* from = element(args.x, args.type, (row * args.groups + group) * group_width);
      for (int64_t j = 0; j < args.parts; ++j) {
        memcpy(element(args.y[j], args.type, (row * args.groups + group) * args.width[j]), from,
               static_cast<size_t>(args.width[j] * size));
        from += args.width[j] * size;
      }
    }
}

STEPLESS_KERNEL(split_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
