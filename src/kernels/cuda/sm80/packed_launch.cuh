// Launches of attention over packed pages of 4 or 8 bits. Host side.
#pragma once
#include "kernels/cuda/sm80/packed_attention.cuh"

namespace stepless::kernels {

/// Serves caches without packed pages, pages that do not hold whole chunks, and GPUs whose blocks
/// get too little shared memory (those of sm_89, long heads).
extern const CudaEntry attn_affine_bany_fany_h1_cuda;

namespace {

using namespace sm80;

/// Rows of a launch at most, and of one whose tiles are eight columns; rows at most of which each
/// share of the KV axis may be a block.
constexpr int64_t kPackedRows = 512, kFewPacked = 64, kLonePacked = 16;
constexpr int kPackedBlocks = 4;  // of a multiprocessor

int64_t rows_at_once(const AttnArgs& a) { return a.rows < kPackedRows ? a.rows : kPackedRows; }

/// Slots of partial sums.
int64_t packed_slots(const AttnArgs& a) {
  const int64_t by_class = rows_at_once(a) * kClasses;
  const int64_t by_share = (a.rows < kLonePacked ? a.rows : kLonePacked) * kShares * kAttnWarps;
  return (by_class > by_share ? by_class : by_share) * a.heads;
}

/// Blocks of a tile, of `tiles` at most: by share if all run at a time.
unsigned packed_blocks(int64_t rows, int64_t tiles, const CudaContext& context) {
  const int64_t resident = int64_t{kPackedBlocks} * context.multiprocessors;
  if (rows <= kLonePacked && tiles * kShares <= resident) return kShares;
  unsigned blocks = kClasses;
  while (blocks > 1 && blocks * tiles > 8 * resident) blocks /= 2;
  return blocks;
}

cudaError_t launch_portable(const AttnSlab& slab, const CudaContext& context) {
  AttnArgs rows = slab.args;
  rows.q = static_cast<const uint16_t*>(rows.q) + slab.first_row * rows.q_stride;
  rows.y = static_cast<uint16_t*>(rows.y) + slab.first_row * rows.y_stride;
  rows.seq += slab.first_row, rows.rows = slab.rows;
  return static_cast<cudaError_t>(attn_affine_bany_fany_h1_cuda.launch(&rows, context));
}

template <DType type, int bits, int kTiles, int kRuns, bool kExact>
cudaError_t launch_tiles(PackedSlab all, const CudaContext& context) {
  AttnSlab& slab = all.slab;
  const AttnArgs& a = slab.args;
  const auto heads = static_cast<int>(a.heads / a.cache.kv_heads);
  slab.heads_of_tile = heads < 8 * kTiles ? heads : 8 * kTiles;
  slab.batches = (heads + slab.heads_of_tile - 1) / slab.heads_of_tile;
  const int columns = 8 * kTiles / slab.heads_of_tile * slab.heads_of_tile;
  const auto each = static_cast<unsigned>(a.cache.kv_heads * slab.batches);
  if (int64_t{each} * slab.rows * 4 > kTicketBytes) return cudaErrorInvalidValue;
  const unsigned blocks = packed_blocks(a.rows, int64_t{each} * slab.rows, context);
  all.slots = blocks == kShares ? kShares * kAttnWarps : kClasses;
  // As many stages as leave room for as many blocks as registers do.
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
  if (error != cudaSuccess) return error;
  const int64_t waves =
      (int64_t{each} * slab.rows * blocks + context.multiprocessors - 1) / context.multiprocessors;
  const int together = kBlocksOfPacked<kTiles, kRuns>;
  const int share = most / (waves < together ? static_cast<int>(waves) : together) - 2048;
  for (int stages = 4; stages >= 2; --stages) {
    all.room = packed_room_of(a, kTiles, columns, stages, kTiles * kRuns * 1024);
    if (all.room.end <= share) break;
  }
  error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  if (all.room.end + kTiles * 1024 > most) {
    if constexpr (kTiles > 1)
      return launch_tiles<type, bits, 1, kRuns, kExact>(all, context);  // the same bits
    else
      return launch_portable(slab, context);
  }
  const auto kernel = attend_packed<type, bits, kTiles, kRuns, kExact>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, all.room.end);
  if (error != cudaSuccess) return error;
  return launch_grid(kernel,
                     {dim3(each, static_cast<unsigned>(slab.rows), blocks), kAttnThreads,
                      static_cast<std::size_t>(all.room.end)},
                     context, all);
}

template <DType type, int bits>
cudaError_t launch_packed_type(const PackedSlab& all, const CudaContext& context) {
  const KvLayer& cache = all.slab.args.cache;
  const bool few = all.slab.args.rows <= kFewPacked;
  if (cache.k_dim != 128 || cache.v_dim != 128)
    return launch_tiles<type, bits, 1, 8, false>(all, context);
  return few ? launch_tiles<type, bits, 1, 4, true>(all, context)
             : launch_tiles<type, bits, 2, 4, true>(all, context);
}

template <int bits>
int32_t launch_packed(const void* opaque, const CudaContext& context) {
  PackedSlab all{slab_of(*static_cast<const AttnArgs*>(opaque)), {}, 0};
  AttnSlab& slab = all.slab;
  const AttnArgs& a = slab.args;
  const bool packed = a.cache.packed.bits != 0;
  if (a.type != a.cache.type || (packed && a.cache.packed.bits != bits))
    return cudaErrorInvalidValue;
  if (!packed || !slab.whole_pages) return attn_affine_bany_fany_h1_cuda.launch(opaque, context);
  slab.pitch = static_cast<int>(a.cache.v_dim);
  slab.tickets = reinterpret_cast<unsigned*>(context.workspace);
  slab.values = reinterpret_cast<float*>(context.workspace + kTicketBytes);
  slab.sums = reinterpret_cast<float2*>(slab.values + packed_slots(a) * a.cache.v_dim);
  for (; slab.first_row < a.rows; slab.first_row += kPackedRows) {
    const int64_t left = a.rows - slab.first_row;
    slab.rows = static_cast<int>(left < kPackedRows ? left : kPackedRows);
    const cudaError_t error = a.type == DType::bf16
                                  ? launch_packed_type<DType::bf16, bits>(all, context)
                                  : launch_packed_type<DType::f16, bits>(all, context);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

int64_t packed_workspace(const void* opaque) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  const int64_t own = kTicketBytes + packed_slots(a) * (a.cache.v_dim * 4 + 8);
  const int64_t other = attn_affine_bany_fany_h1_cuda.workspace_bytes(opaque);
  return own > other ? own : other;
}

}  // namespace
}  // namespace stepless::kernels
