// Parts of a row that stand interleaved by group, each into an array of its own.
#include "kernels/cuda/any/elements.cuh"

namespace stepless::kernels {
namespace {

__device__ int64_t group_width(const SplitArgs& args) {
  int64_t width = 0;
  for (int64_t j = 0; j < args.parts; ++j) width += args.width[j];
  return width;
}

__device__ void split(const SplitArgs& args, int64_t row, int64_t i) {
  const int64_t width = group_width(args), group = i / width;
  int64_t at = i % width, part = 0;
  while (at >= args.width[part]) at -= args.width[part++];
  const int64_t to = (row * args.groups + group) * args.width[part] + at;
  store(args.y[part], args.type, to, load(args.x, args.type, row * args.groups * width + i));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const SplitArgs& args = *static_cast<const SplitArgs*>(opaque);
  int64_t width = 0;
  for (int64_t j = 0; j < args.parts; ++j) width += args.width[j];
  return launch_elements<SplitArgs, split>(args, args.rows, args.groups * width, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(split_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
