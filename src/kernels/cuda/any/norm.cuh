// RMS norm of a run of k elements by one block, the sum before it included when there is one. Which
// thread takes which elements follows from k alone, so a run's bits do, too; squares are summed in
// double.
#pragma once
#include "kernels/cuda/any/eights.cuh"
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"
#include "kernels/cuda/any/rms.cuh"

namespace stepless::kernels {
namespace {

constexpr int kMostNormThreads = 512, kMostNormVectors = 4;

/// `b` not null: the run normed is a + b, rounded to x_type, which `sum` keeps.
struct NormShape {
  NormArgs norm;
  const void* b;
  void* sum;
  double per_element = 1.0 / static_cast<double>(norm.k);
};

struct NormRoom {
  double squares[kMostNormThreads / 32];
  float inverse;
};

/// 1 / rms of the block's run, of which this thread has `squares`. One thread divides for all: of
/// many rows double arithmetic would cost more than memory does.
inline __device__ float inverse_of(double squares, const NormShape& shape, NormRoom& room) {
  const double total = block_sum(squares, room.squares);
  if (threadIdx.x == 0) room.inverse = inverse_rms(total, shape.per_element, shape.norm.epsilon);
  __syncthreads();
  return room.inverse;
}

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

struct Eight {
  uint4 raw;
  template <DType type>
  __device__ float at(int i) const {
    const uint32_t word = i / 2 == 0 ? raw.x : i / 2 == 1 ? raw.y : i / 2 == 2 ? raw.z : raw.w;
    const auto half = static_cast<uint16_t>(i % 2 == 0 ? word : word >> 16);
    return load(&half, type, 0);
  }
};

/// 16-bit elements of one type, weights included, eight at a time; a run stays in registers: of one
/// vector at most 32 a thread, for which there is room beside a product's blocks.
template <DType type, int kVectors>
__global__ void __maxnreg__(kVectors == 1 ? 32 : 64) norm_eights(NormShape shape) {
  __shared__ NormRoom room;
  const NormArgs& args = shape.norm;
  const auto groups = static_cast<unsigned>(args.groups);
  const int64_t row = blockIdx.x / groups, group = blockIdx.x % groups;
  const int64_t x = row * args.x_stride + group * args.k, y = row * args.y_stride + group * args.k;
  const int eights = static_cast<int>(args.k / 8);
  const auto at = [](const void* p, int64_t element) {
    return reinterpret_cast<const uint4*>(static_cast<const uint8_t*>(p) + element * 2);
  };
  let_next_start();
  Eight weight[kVectors], kept[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (const int i = threadIdx.x + v * blockDim.x; i < eights && args.weight != nullptr)
      weight[v].raw = at(args.weight, 0)[i];
  wait_for_inputs();
  double squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = threadIdx.x + v * blockDim.x;
    if (i >= eights) break;
    kept[v].raw = at(args.x, x)[i];
    if (shape.b != nullptr) {
      const Eight b{at(shape.b, x)[i]};
      float sum[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) sum[e] = kept[v].at<type>(e) + b.at<type>(e);
      kept[v].raw = packed_eight(type, sum);
      const_cast<uint4*>(at(shape.sum, x))[i] = kept[v].raw;
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const auto value = static_cast<double>(kept[v].at<type>(e));
      squares = fma(value, value, squares);
    }
  }
  const float inverse = inverse_of(squares, shape, room);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = threadIdx.x + v * blockDim.x;
    if (i >= eights) break;
    float values[8];
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      values[e] = kept[v].at<type>(e) * inverse;
      if (args.weight != nullptr) values[e] *= weight[v].at<type>(e) + args.weight_offset;
    }
    const_cast<uint4*>(at(args.y, y))[i] = packed_eight(type, values);
  }
}

inline cudaError_t launch_norm(const NormShape& shape, const CudaContext& context) {
  const NormArgs& args = shape.norm;
  const unsigned blocks = grid_for(args.rows * args.groups);
  const bool aligned = in_sixteens(args.x, args.x_stride) && in_sixteens(args.y, args.y_stride) &&
                       in_sixteens(args.weight, 0) && in_sixteens(shape.b, 0) &&
                       in_sixteens(shape.sum, 0);
  const bool one_type = args.x_type != DType::f32 && args.y_type == args.x_type &&
                        (args.weight == nullptr || args.weight_type == args.x_type);
  if (aligned && one_type && args.k % 8 == 0 &&
      args.k <= int64_t{8} * kMostNormThreads * kMostNormVectors) {
    const auto needed = static_cast<unsigned>((args.k / 8 + 31) / 32 * 32);
    const unsigned threads = needed < kMostNormThreads ? needed : kMostNormThreads;
    const bool one = args.k <= int64_t{8} * kMostNormThreads, half = args.x_type == DType::f16;
    const auto kernel =
        half ? (one ? norm_eights<DType::f16, 1> : norm_eights<DType::f16, kMostNormVectors>)
             : (one ? norm_eights<DType::bf16, 1> : norm_eights<DType::bf16, kMostNormVectors>);
    return launch_grid(kernel, {blocks, threads}, context, shape);
  }
  const unsigned threads = args.k <= 128 ? 32 : args.k <= 1024 ? 128 : kMostNormThreads;
  return launch_grid(norm_any, {blocks, threads}, context, shape);
}

}  // namespace
}  // namespace stepless::kernels
