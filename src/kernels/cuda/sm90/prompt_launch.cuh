// Launches of attention of prompts. Host side, and the kernel.
#pragma once
#include "kernels/cuda/sm90/prompt_attention.cuh"
#include "kernels/cuda/sm90/prompt_decoder.cuh"

namespace stepless::kernels::sm90 {

/// Blocks: as many as fit. `bits`: of packed pages; 0: all are plain.
template <DType type, int kDim, int bits>
__global__ void __launch_bounds__(kTallThreads, 1)
    attend_tall(const __grid_constant__ TallCall call) {
  extern __shared__ __align__(1024) uint8_t dynamic[];
  using Room = TallRoom<kDim, bits>;
  constexpr int kStages = Room::kStages;
  const AttnSlab& slab = call.slab;
  let_next_start();
  const uint32_t shared = shared_address(dynamic);
  if (threadIdx.x < kStages) {
    const uint32_t at = shared + Room::kBarriers + threadIdx.x * 8;
    make_barrier(at, 1);
    make_barrier(at + 2 * kStages * 8, 1);
    make_barrier(shared + Room::kBarriers + (kStages + threadIdx.x) * 8, 4 * kReaders);
    *reinterpret_cast<int*>(dynamic + Room::kWilds + threadIdx.x * 4) = 0;
    publish_barriers();
  }
  auto* const begins = reinterpret_cast<uint16_t*>(dynamic + Room::kBegins);
  const int tiles =
      find_tall_tiles<bits>(slab, begins, reinterpret_cast<int*>(dynamic + Room::kFound));
  wait_for_inputs();
  if (threadIdx.x < 128) {
    if constexpr (bits != 0) {
      give_registers<104>();
      PackedDecoder<type, kDim, bits>{call, shared}.run(begins, tiles);
    } else {
      give_registers<56>();
      if (threadIdx.x >= 32)
        TallConverter<type, kDim>{slab, shared}.run(begins, tiles);
      else if (threadIdx.x == 0)
        TallCopier<kDim>{call, call.slab, shared}.run(begins, tiles);
    }
  } else {
    take_registers<bits == 0 ? 224 : 200>();
    TallReader<type, kDim, bits>{slab, shared, dynamic}.run(begins, tiles);
  }
}

/// A cache's rows of `dim` elements of 16 bits, in boxes of 64 elements of a chunk.
static cudaError_t describe(CUtensorMap& map, const uint8_t* rows, int dim) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry,
                                                             12000, cudaEnableDefault, &found);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess) return error;
  if (entry == nullptr) return cudaErrorNotSupported;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(dim), cuuint64_t{1} << 31};
  const cuuint64_t row_bytes = static_cast<cuuint64_t>(dim) * 2;
  const cuuint32_t box[] = {64, kChunk}, step[] = {1, 1};
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<uint8_t*>(rows), size, &row_bytes, box,
      step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

template <DType type, int kDim, int bits = 0>
static cudaError_t launch_tall(const AttnSlab& slab, const CudaContext& context) {
  constexpr int kBytes = TallRoom<kDim, bits>::kBytes;
  const auto kernel = attend_tall<type, kDim, bits>;
  TallCall call{slab, {}, {}};
  cudaError_t error = describe(call.keys, slab.args.cache.k, kDim);
  if (error == cudaSuccess) error = describe(call.values, slab.args.cache.v, kDim);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  // As many tiles as rows, if each is of a sequence of its own; blocks walk on by the grid.
  const int64_t most = slab.rows * slab.args.heads;
  const auto blocks =
      static_cast<unsigned>(most < context.multiprocessors ? most : context.multiprocessors);
  return launch_grid(kernel, {blocks, kTallThreads, kBytes}, context, call);
}

/// Whether heads and pages are such as these kernels take.
static bool fits_tall(const AttnArgs& a) {
  const int64_t dim = a.cache.k_dim;
  return (dim == 64 || dim == 128) && a.cache.v_dim == dim && a.cache.page_tokens % kChunk == 0 &&
         a.q_stride % 8 == 0 && a.y_stride % 2 == 0;
}

/// Launches `one`(slab) for all rows, so many at a time. `makes_x`: y becomes operands.
template <class Launch>
static int32_t launch_slabs(const AttnArgs& a, int most, bool makes_x, const Launch& one) {
  AttnSlab slab = slab_of(a);
  slab.makes_x = makes_x;
  for (; slab.first_row < a.rows; slab.first_row += most) {
    const int64_t left = a.rows - slab.first_row;
    slab.rows = static_cast<int>(left < most ? left : most);
    const cudaError_t error = one(slab);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace stepless::kernels::sm90
