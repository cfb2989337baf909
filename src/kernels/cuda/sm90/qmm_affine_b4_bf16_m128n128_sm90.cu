// y = x · wᵀ for m from 65 on, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm90/wide_gather.cuh"

namespace stepless::kernels {
namespace {

using namespace sm90;

constexpr int64_t kMostSplitTiles = 66;  // tiles that blocks share: two to a tile, or more

int64_t row_tiles_of(const MatmulArgs& a, int64_t columns) { return (a.m + columns - 1) / columns; }
int64_t parts_of(const MatmulArgs& a) { return (a.k + kPartK - 1) / kPartK; }
int64_t tiles_of(const MatmulArgs& a, int64_t columns) {
  return row_tiles_of(a, columns) * ((a.n + kWideOutputs - 1) / kWideOutputs);
}
int64_t prepared_bytes(const MatmulArgs& a) {
  const int unit_bytes =
      a.group_size == 64 ? WideUnit<128, 64>::kBytes : WideUnit<128, 128>::kBytes;
  return row_tiles_of(a, 128) * (a.k / kUnitK) * unit_bytes;
}

WideSplit split_of(const MatmulArgs& a, int64_t tiles, const CudaContext& context) {
  const int64_t parts = parts_of(a);
  int64_t slices = tiles <= kMostSplitTiles ? context.multiprocessors / tiles : 1;
  slices = slices < 1 ? 1 : slices < parts ? slices : parts;
  const int64_t each = (parts + slices - 1) / slices;
  return {static_cast<int>((parts + each - 1) / each), static_cast<int>(each),
          reinterpret_cast<float*>(context.workspace + kTicketBytes + prepared_bytes(a)),
          reinterpret_cast<unsigned*>(context.workspace)};
}

template <int kCols, int kGroup>
cudaError_t launch_wide(const MatmulArgs& a, const CudaContext& context) {
  const auto kernel = flat_wide<kCols, kGroup>;
  constexpr int kBytes = WideRoom<kCols, kGroup>::kBytes;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  uint8_t* const prepared = context.workspace + kTicketBytes;
  const int row_tiles = static_cast<int>(row_tiles_of(a, kCols));
  const int units = static_cast<int>(a.k / kUnitK);
  const auto warps = static_cast<unsigned>(row_tiles * units * (kCols / 8));
  error = launch_grid(prepare_wide<kCols, kGroup>, {(warps + 7) / 8, 256}, context, a.x,
                      a.x_stride * 2, static_cast<int>(a.m), units, prepared);
  if (error != cudaSuccess) return error;
  const int64_t tiles = tiles_of(a, kCols);
  const WideSplit split = split_of(a, tiles, context);
  const FlatWeight weight = {a.w, a.scales, a.biases, static_cast<int>(a.n), static_cast<int>(a.k)};
  return launch_grid(kernel, {static_cast<unsigned>(tiles * split.slices), kWideThreads, kBytes},
                     context, weight, prepared, a.y, a.y_stride, a.y_type, static_cast<int>(a.m),
                     row_tiles, split);
}

int32_t launch(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  return a.group_size == 64 ? launch_wide<128, 64>(a, context) : launch_wide<128, 128>(a, context);
}

/// Never less for fewer rows: room is made for the largest step.
int64_t workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  const int64_t tiles = tiles_of(a, 128);
  const int64_t shared = tiles < kMostSplitTiles ? tiles : kMostSplitTiles;
  return kTicketBytes + prepared_bytes(a) + shared * parts_of(a) * kWideOutputs * 128 * 4;
}

int32_t launch_gathered(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const ExpertPairs& pairs, const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  return call.first().group_size == 64 ? launch_wide_gather<64>(call, pairs, context)
                                       : launch_wide_gather<128>(call, pairs, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m128n128_sm90) = {
    .launch = launch,
    .workspace_bytes = workspace_bytes,
    .joined = {.experts = launch_gathered, .experts_bytes = wide_gather_bytes}};

}  // namespace stepless::kernels
