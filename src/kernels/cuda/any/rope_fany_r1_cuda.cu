// Rotary embedding. A pair is read whole by the thread that writes it, so y may be x.
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

__global__ void rope(RopeArgs args) {
  const int64_t row = blockIdx.x, rest = args.head_dim - 2 * args.pairs, each = args.pairs + rest;
  const float* cosines = args.angles + row * 2 * args.pairs;
  for (int64_t unit = threadIdx.x; unit < args.heads * each; unit += blockDim.x) {
    const int64_t head = unit / each, i = unit % each;
    const int64_t x = row * args.x_stride + head * args.head_dim;
    const int64_t y = row * args.y_stride + head * args.head_dim;
    if (i >= args.pairs) {  // beyond the pairs: copied
      const int64_t at = i + args.pairs;
      store(args.y, args.type, y + at, load(args.x, args.type, x + at));
      continue;
    }
    const int64_t first = args.interleaved ? 2 * i : i;
    const int64_t second = args.interleaved ? 2 * i + 1 : i + args.pairs;
    const float a = load(args.x, args.type, x + first), b = load(args.x, args.type, x + second);
    const float cosine = cosines[i], sine = cosines[args.pairs + i];
    store(args.y, args.type, y + first, a * cosine - b * sine);
    store(args.y, args.type, y + second, a * sine + b * cosine);
  }
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const RopeArgs& args = *static_cast<const RopeArgs*>(opaque);
  rope<<<grid_for(args.rows), 256, 0, stream_of(context)>>>(args);
  return cudaGetLastError();
}

}  // namespace

STEPLESS_CUDA_KERNEL(rope_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
