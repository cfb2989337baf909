// RMS norm over the last axis, also head by head (query and key norms), or of a sum of two values.
#include "kernels/cuda/any/norm.cuh"

namespace stepless::kernels {
namespace {

/// Any type, width and alignment.
__global__ void __launch_bounds__(kMostNormThreads) norm_any(NormShape shape) {
  __shared__ NormRoom room;
  const NormArgs& args = shape.norm;
  const auto groups = static_cast<unsigned>(args.groups);
  const int64_t row = blockIdx.x / groups, group = blockIdx.x % groups;
  const int64_t x = row * args.x_stride + group * args.k, y = row * args.y_stride + group * args.k;
  const void* from = args.x;
  begin_early();
  double squares = 0;
  for (int64_t i = threadIdx.x; i < args.k; i += blockDim.x) {
    float value = load(args.x, args.x_type, x + i);
    if (shape.b != nullptr) {
      store(shape.sum, args.x_type, x + i, value + load(shape.b, args.x_type, x + i));
      value = load(shape.sum, args.x_type, x + i);
    }
    squares = fma(static_cast<double>(value), static_cast<double>(value), squares);
  }
  if (shape.b != nullptr) from = shape.sum;  // a thread reads back what it wrote itself
  const float inverse = inverse_of(squares, shape, room);
  for (int64_t i = threadIdx.x; i < args.k; i += blockDim.x) {
    float value = load(from, args.x_type, x + i) * inverse;
    if (args.weight != nullptr)
      value *= load(args.weight, args.weight_type, i) + args.weight_offset;
    store(args.y, args.y_type, y + i, value);
  }
}

template <DType type>
cudaError_t launch_eights(const NormShape& shape, const CudaContext& context) {
  const NormArgs& args = shape.norm;
  const auto needed = static_cast<unsigned>((args.k / 8 + 31) / 32 * 32);
  const unsigned threads = needed < kMostNormThreads ? needed : kMostNormThreads;
  const auto kernel = args.k <= int64_t{8} * kMostNormThreads ? norm_eights<type, 1>
                                                              : norm_eights<type, kMostNormVectors>;
  return launch_apart(kernel, grid_for(args.rows * args.groups), threads, context, shape);
}

cudaError_t launch_norm(const NormShape& shape, const CudaContext& context) {
  const NormArgs& args = shape.norm;
  const unsigned blocks = grid_for(args.rows * args.groups);
  if (is_in_eights(shape))
    return args.x_type == DType::f16 ? launch_eights<DType::f16>(shape, context)
                                     : launch_eights<DType::bf16>(shape, context);
  const unsigned threads = args.k <= 128 ? 32 : args.k <= 1024 ? 128 : kMostNormThreads;
  return launch_grid(norm_any, {blocks, threads}, context, shape);
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_norm({*static_cast<const NormArgs*>(args), nullptr, nullptr}, context);
}

int32_t launch_sum(const AddArgs& add, const NormArgs& norm, const CudaContext& context) {
  NormShape shape{norm, add.b, add.y};
  shape.norm.x = add.a;
  return launch_norm(shape, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(norm_fany_r1_cuda) = {
    .launch = launch, .workspace_bytes = nullptr, .joined = {.norm_sum = launch_sum}};

}  // namespace stepless::kernels
