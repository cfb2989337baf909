// RMS norm over the last axis, also head by head (query and key norms). Squares are summed in
// double, a block to a run of k elements.
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kMostThreads = 512;

__global__ void norm(NormArgs args) {
  __shared__ double room[kMostThreads / 32];
  const int64_t row = blockIdx.x / args.groups, group = blockIdx.x % args.groups;
  const int64_t x = row * args.x_stride + group * args.k, y = row * args.y_stride + group * args.k;
  double squares = 0;
  for (int64_t i = threadIdx.x; i < args.k; i += blockDim.x) {
    const double value = static_cast<double>(load(args.x, args.x_type, x + i));
    squares = fma(value, value, squares);
  }
  const double mean = block_sum(squares, room) / static_cast<double>(args.k);
  const float inverse = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(args.epsilon)));
  for (int64_t i = threadIdx.x; i < args.k; i += blockDim.x) {
    float value = load(args.x, args.x_type, x + i) * inverse;
    if (args.weight != nullptr)
      value *= load(args.weight, args.weight_type, i) + args.weight_offset;
    store(args.y, args.y_type, y + i, value);
  }
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const NormArgs& args = *static_cast<const NormArgs*>(opaque);
  // The same for every number of rows: the order of the sum follows from it.
  const unsigned threads = args.k <= 128 ? 32 : args.k <= 1024 ? 128 : kMostThreads;
  norm<<<grid_for(args.rows * args.groups), threads, 0, stream_of(context)>>>(args);
  return cudaGetLastError();
}

}  // namespace

STEPLESS_CUDA_KERNEL(norm_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
