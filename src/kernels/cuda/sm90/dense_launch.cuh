// Host side of dense_ring.cuh: how rows of x and a weight's tiles go over blocks.
#pragma once
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm90/dense_ring.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

constexpr int kRingRows = 64;  // of x in a launch
constexpr int kMostRingBlocks = 160;

/// Of `outputs`, in whole tiles of each weight.
template <class Shape>
DenseLine dense_line(int64_t outputs, int64_t k, int multiprocessors) {
  const int most = smaller(multiprocessors, kMostRingBlocks);
  DenseLine line{};
  line.tiles = divided_up(static_cast<int>(outputs), Shape::kOutputs);
  line.steps = divided_up(static_cast<int>(k), kStepK);
  line.gathers = line.tiles < most;
  line.unit_steps = line.gathers ? kDenseSteps : 1;
  line.units = divided_up(line.steps, line.unit_steps);
  const int all = line.tiles * line.units;
  line.each = divided_up(all, most), line.blocks = divided_up(all, line.each);
  return line;
}
template <class Shape>
DenseLine dense_line(const FlatCall& call, int multiprocessors) {
  int64_t outputs = 0;
  for (int64_t i = 0; i < call.count; ++i) {
    const int own = static_cast<int>(call.parts[i].n);
    outputs += call.glu != nullptr ? own : divided_up(own, Shape::kOutputs) * Shape::kOutputs;
  }
  return dense_line<Shape>(outputs, call.first().k, multiprocessors);
}
/// Sums that a line's blocks leave at most.
int most_left(const DenseLine& line) {
  return line.gathers ? line.tiles * line.units : 2 * line.blocks;
}

template <class Type>
struct DenseRow {
  /// Calls f with the shape that fits best. H200, us, 64 outputs a block or 128: 13824 x 5120 38.4
  /// or 43 at 64 rows, 36.9 or 38 at 32; 9728 x 2560 17.1 or 16.3 at 32, 16.9 or 15.7 at 16; 128256
  /// x 3072 204 or 184 at 64.
  template <class F>
  static cudaError_t choose(const FlatCall& call, int multiprocessors, F f) {
    using Small = DenseShape<Type, 8, 1>;
    using Wide = DenseShape<Type, 64, 2>;
    const DenseLine small = dense_line<Small>(call, multiprocessors);
    // A chain for each block or less, and multiprocessors left for more rows (routers).
    const bool is_small = small.gathers && small.each == 1;
    const int rows = static_cast<int>(call.first().m);
    if (is_small && small.blocks * divided_up(rows, Small::kCols) <= multiprocessors)
      return f(Small{}, small);
    const auto use = [&]<class Shape>(Shape shape) {
      return f(shape, dense_line<Shape>(call, multiprocessors));
    };
    if (rows <= 16) return use(DenseShape<Type, 16, 2>{});
    if (rows <= 32) return use(DenseShape<Type, 32, 2>{});
    const DenseLine wide = dense_line<Wide>(call, multiprocessors);
    return wide.gathers ? use(DenseShape<Type, 64, 1>{}) : f(Wide{}, wide);
  }

  static cudaError_t launch_rows(const FlatCall& call, const CudaContext& context) {
    return choose(call, context.multiprocessors, [&]<class Shape>(Shape, const DenseLine& line) {
      const auto kernel = dense_ring<Shape>;
      const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kBytes);
      if (error != cudaSuccess) return error;
      const MatmulArgs& a = call.first();
      DenseArgs args{};
      args.w = weights_of(call, Shape::kOutputs / kTileRows);
      for (int64_t i = 0; i < call.count; ++i) args.w_row_bytes[i] = call.parts[i].w_row_bytes;
      args.x = static_cast<const uint8_t*>(a.x), args.x_row_bytes = a.x_stride * 2;
      args.m = static_cast<int>(a.m), args.line = line;
      args.flags = reinterpret_cast<unsigned*>(context.workspace);
      args.left = reinterpret_cast<float4*>(context.workspace + kTicketBytes);
      args.most_left = most_left(line);
      const dim3 blocks(static_cast<unsigned>(line.blocks),
                        static_cast<unsigned>(divided_up(args.m, Shape::kCols)));
      return launch_grid(kernel, {blocks, Shape::kThreads, Shape::kBytes}, context, args);
    });
  }

  static int32_t products(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                          const CudaContext& context) {
    return launch_slices({parts, count, glu}, kRingRows, [&](const FlatCall& call) {
      return static_cast<int32_t>(launch_rows(call, context));
    });
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return products(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }

  /// Of up to kMostRingBlocks multiprocessors and weights whose outputs are a.n together; a small
  /// shape leaves less.
  template <class Shape>
  static int64_t left_bytes(const MatmulArgs& a) {
    const DenseLine line =
        dense_line<Shape>(a.n + kMostTogether * Shape::kOutputs, a.k, kMostRingBlocks);
    const int64_t least = 2 * kMostRingBlocks, most = most_left(line);
    return (most > least ? most : least) * Shape::kSumBytes;
  }
  static int64_t workspace_bytes(const void* opaque) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(opaque);
    if (a.m <= 16) return kTicketBytes + left_bytes<DenseShape<Type, 16, 2>>(a);
    if (a.m <= 32) return kTicketBytes + left_bytes<DenseShape<Type, 32, 2>>(a);
    const int64_t one = left_bytes<DenseShape<Type, 64, 1>>(a);
    const int64_t two = left_bytes<DenseShape<Type, 64, 2>>(a);
    return kTicketBytes + (one > two ? one : two);
  }

  static constexpr CudaEntry entry{
      .launch = launch, .workspace_bytes = workspace_bytes, .joined = {.products = products}};
};

}  // namespace
}  // namespace stepless::kernels::sm90
