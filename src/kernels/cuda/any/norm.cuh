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

constexpr int kMostNormThreads = 512, kMostNormVectors = 4, kFewNormRows = 64;

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

/// 1 / rms of the block's run, of which this thread has `squares`. Of many rows one thread divides
/// for all, as double arithmetic would cost more than memory does; of few each does, which is
/// sooner done than a second barrier.
inline __device__ float inverse_of(double squares, const NormShape& shape, NormRoom& room) {
  const double total = block_sum(squares, room.squares);
  if (shape.norm.rows <= kFewNormRows)
    return inverse_rms(total, shape.per_element, shape.norm.epsilon);
  if (threadIdx.x == 0) room.inverse = inverse_rms(total, shape.per_element, shape.norm.epsilon);
  __syncthreads();
  return room.inverse;
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

/// Elements of a + b, rounded to their type.
template <DType type>
__device__ uint4 added(const Eight& a, const Eight& b) {
  float sum[8];
#pragma unroll
  for (int e = 0; e < 8; ++e) sum[e] = a.at<type>(e) + b.at<type>(e);
  return packed_eight(type, sum);
}
template <DType type>
__device__ void add_squares(const Eight& x, double& squares) {
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    const auto value = static_cast<double>(x.at<type>(e));
    squares = fma(value, value, squares);
  }
}
template <DType type>
__device__ uint4 normed(const NormArgs& args, const Eight& x, const Eight& weight, float inverse) {
  float values[8];
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    values[e] = x.at<type>(e) * inverse;
    if (args.weight != nullptr) values[e] *= weight.at<type>(e) + args.weight_offset;
  }
  return packed_eight(type, values);
}

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
      kept[v].raw = added<type>(kept[v], {at(shape.b, x)[i]});
      const_cast<uint4*>(at(shape.sum, x))[i] = kept[v].raw;
    }
    add_squares<type>(kept[v], squares);
  }
  const float inverse = inverse_of(squares, shape, room);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = threadIdx.x + v * blockDim.x;
    if (i >= eights) break;
    const_cast<uint4*>(at(args.y, y))[i] = normed<type>(args, kept[v], weight[v], inverse);
  }
}

/// Whether runs can be read and normed by eights.
inline bool is_in_eights(const NormShape& shape) {
  constexpr int64_t kMost = int64_t{8} * kMostNormThreads * kMostNormVectors;
  const NormArgs& args = shape.norm;
  const bool aligned = in_sixteens(args.x, args.x_stride) && in_sixteens(args.y, args.y_stride) &&
                       in_sixteens(args.weight, 0) && in_sixteens(shape.b, 0) &&
                       in_sixteens(shape.sum, 0);
  const bool one_type = args.x_type != DType::f32 && args.y_type == args.x_type &&
                        (args.weight == nullptr || args.weight_type == args.x_type);
  return aligned && one_type && args.k % 8 == 0 && args.k <= kMost;
}

/// Whether the norm, in eights, is the x of a product and of its type.
inline bool is_x_of(const NormShape& shape, const MatmulArgs& product, DType type) {
  const NormArgs& args = shape.norm;
  return args.y == product.x && args.groups == 1 && args.rows == product.m && args.k == product.k &&
         args.x_type == type && is_in_eights(shape);
}

/// Shared memory that nobody uses. Few rows behind a product would crowd on the multiprocessors
/// that it leaves free, which took a layer of 3 billion weights 39.4 us at eight rows on an
/// H200, 50.3 / 61.9 / 85.4 at 16 / 32 / 48; with no more than three to each it takes 38.4, 48.9
/// / 60.6 / 83.1. So much finds room beside a product of up to 32 rows.
constexpr int kApartBytes = 60 << 10;

/// Launches a block for each row, not too many to a multiprocessor if there are few.
template <class... Parameters, class... Arguments>
cudaError_t launch_apart(void (*kernel)(Parameters...), unsigned rows, unsigned threads,
                         const CudaContext& context, const Arguments&... arguments) {
  if (!context.early_start || static_cast<int>(rows) > context.multiprocessors)
    return launch_grid(kernel, {rows, threads}, context, arguments...);
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kApartBytes);
  return error != cudaSuccess
             ? error
             : launch_grid(kernel, {rows, threads, kApartBytes}, context, arguments...);
}

}  // namespace
}  // namespace stepless::kernels
