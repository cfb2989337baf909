// The norm of a sum as the x of flat_mid's products: any/norm.cuh's bits, a row to a block.
#pragma once
#include "kernels/cuda/any/norm.cuh"
#include "kernels/cuda/sm90/mid_operands.cuh"

namespace stepless::kernels::sm90 {

/// Elements of one type, weights too; a warp has whole units.
template <int kVectors, class Type, int kGroup>
static __global__ void __maxnreg__(kVectors == 1 ? 32 : 64)
    norm_as_mid_x(const NormShape shape, const MidX<kGroup> x) {
  __shared__ NormRoom room;
  const NormArgs& args = shape.norm;
  const int row = static_cast<int>(blockIdx.x), eights = static_cast<int>(args.k / 8);
  const int64_t row0 = row * args.x_stride / 8;
  const auto eight_of = [](int v) { return static_cast<int>(threadIdx.x + v * blockDim.x); };
  let_next_start();
  Eight weight[kVectors], kept[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (eight_of(v) < eights && args.weight != nullptr)
      weight[v].raw = reinterpret_cast<const uint4*>(args.weight)[eight_of(v)];
  wait_for_inputs();
  double squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = eight_of(v);
    if (i >= eights) break;
    kept[v].raw = added<Type::kType>({static_cast<const uint4*>(args.x)[row0 + i]},
                                     {static_cast<const uint4*>(shape.b)[row0 + i]});
    static_cast<uint4*>(shape.sum)[row0 + i] = kept[v].raw;
    add_squares<Type::kType>(kept[v], squares);
  }
  const float inverse = inverse_of(squares, shape, room);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (eight_of(v) >= eights) break;
    store_as_mid_x<Type>(x, row, eight_of(v) * 8 / kUnitK,
                         normed<Type::kType>(args, kept[v], weight[v], inverse));
  }
}

template <class Type, int kGroup>
static cudaError_t launch_norm_as_mid_x(const NormShape& shape, const MidX<kGroup>& x,
                                        const CudaContext& context) {
  const auto needed = static_cast<unsigned>(shape.norm.k / 8);
  const unsigned threads = needed < kMostNormThreads ? needed : kMostNormThreads;
  const auto kernel = needed <= threads ? norm_as_mid_x<1, Type, kGroup>
                                        : norm_as_mid_x<kMostNormVectors, Type, kGroup>;
  return launch_apart(kernel, static_cast<unsigned>(shape.norm.rows), threads, context, shape, x);
}

}  // namespace stepless::kernels::sm90
