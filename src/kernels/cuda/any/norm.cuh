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

struct Eight {
  uint4 raw;
  template <DType type>
  __device__ float at(int i) const {
    const uint32_t word = i / 2 == 0 ? raw.x : i / 2 == 1 ? raw.y : i / 2 == 2 ? raw.z : raw.w;
    const auto half = static_cast<uint16_t>(i % 2 == 0 ? word : word >> 16);
    return load(&half, type, 0);
  }
};

/// Eight elements of a run of y, the i-th, as a tensor has them.
struct RowsOfY {
  static __device__ void put(const NormArgs& args, int64_t /*row*/, int64_t run, int i, uint4 v) {
    reinterpret_cast<uint4*>(static_cast<uint8_t*>(args.y) + run * 2)[i] = v;
  }
};

/// 16-bit elements of one type, weights included, eight at a time; a run stays in registers: of one
/// vector at most 32 a thread, for which there is room beside a product's blocks.
template <DType type, int kVectors, class Place = RowsOfY>
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
    Place::put(args, row, y, i, packed_eight(type, values));
  }
}

constexpr int64_t kMostEights = int64_t{kMostNormThreads} * kMostNormVectors;

template <DType type, class Place>
cudaError_t launch_eights(const NormShape& shape, const CudaContext& context) {
  const NormArgs& args = shape.norm;
  const auto needed = static_cast<unsigned>((args.k / 8 + 31) / 32 * 32);
  const unsigned threads = needed < kMostNormThreads ? needed : kMostNormThreads;
  const auto kernel = args.k <= int64_t{8} * kMostNormThreads
                          ? norm_eights<type, 1, Place>
                          : norm_eights<type, kMostNormVectors, Place>;
  return launch_grid(kernel, {grid_for(args.rows * args.groups), threads}, context, shape);
}

}  // namespace
}  // namespace stepless::kernels
