// Attention over plain pages of bf16 or f16, heads of up to 256 elements, by tensor cores.
#include "kernels/cuda/sm80/attention_few.cuh"
#include "kernels/cuda/sm80/attention_many.cuh"
#include "kernels/cuda/sm80/attention_team_launch.cuh"

namespace stepless::kernels {
namespace {

using namespace sm80;

constexpr int64_t kFewRows = 64, kBlocksOfMultiprocessor = 4;
constexpr unsigned kLeastBlocks = 2;

/// The slab's tiles are of 16 * `tiles` rows.
void cut_into_tiles(AttnSlab& slab, int tiles) {
  const auto heads = static_cast<int>(slab.args.heads / slab.args.cache.kv_heads);
  slab.heads_of_tile = heads < 16 * tiles ? heads : 16 * tiles;
  slab.batches = (heads + slab.heads_of_tile - 1) / slab.heads_of_tile;
}

template <class Kernel>
cudaError_t allow_shared(Kernel* kernel, std::size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

template <DType type, int kTiles, int kCols>
cudaError_t launch_many(AttnSlab slab, const CudaContext& context) {
  const AttnArgs& a = slab.args;
  cut_into_tiles(slab, kTiles);
  const auto bytes = static_cast<std::size_t>(room_of(a, 16 * kTiles).end) * 2;
  const auto kernel = attend_many<type, kTiles, kCols>;
  cudaError_t error = allow_shared(kernel, bytes);
  if (error != cudaSuccess) return error;
  int each = 0;
  error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, kAttnThreads, bytes);
  if (error != cudaSuccess) return error;
  // As many tiles as rows, if each is of a sequence of its own; blocks walk on by the grid.
  const int64_t most = slab.rows * a.cache.kv_heads * slab.batches * kShares;
  const int64_t resident = int64_t{context.multiprocessors} * (each > 0 ? each : 1);
  const auto blocks = static_cast<unsigned>(most < resident ? most : resident);
  error = launch_grid(kernel, {blocks, kAttnThreads, bytes}, context, slab);
  if (error != cudaSuccess) return error;
  const auto heads = static_cast<unsigned>((a.heads + kMergeHeads - 1) / kMergeHeads);
  return launch_grid(merge_tiles<type>,
                     {dim3(heads, static_cast<unsigned>(slab.rows)), kAttnThreads}, context, slab);
}

/// Blocks for the shares of a tile, of `tiles`: about what runs at a time. Those of short rows that
/// have nothing to do cost about 1 us for every 256 (32 rows of 32 positions on an H200: 5.7 us
/// with one, 6.8 with two, 13.9 with eight); with too few a long row takes long (8 rows of
/// 4096: 42.6 us with eight, 60 with four, 110 with two).
unsigned blocks_of_tile(int64_t tiles, const CudaContext& context) {
  unsigned blocks = kShares;
  while (blocks > kLeastBlocks &&
         blocks * tiles > kBlocksOfMultiprocessor * context.multiprocessors)
    blocks /= 2;
  return blocks;
}

template <DType type, int kCols, class Rows>
cudaError_t launch_few(AttnSlab slab, const Rows& own_rows, const CudaContext& context) {
  const AttnArgs& a = slab.args;
  cut_into_tiles(slab, 1);
  const auto bytes = static_cast<std::size_t>(room_of(a, 16).end) * 2;
  const auto kernel = attend_few<type, kCols, Rows>;
  const cudaError_t error = allow_shared(kernel, bytes);
  if (error != cudaSuccess) return error;
  const auto each = static_cast<unsigned>(a.cache.kv_heads * slab.batches);
  if (int64_t{each} * slab.rows * 4 > kTicketBytes) return cudaErrorInvalidValue;
  const unsigned shares = blocks_of_tile(int64_t{each} * slab.rows, context);
  return launch_grid(kernel,
                     {dim3(each, static_cast<unsigned>(slab.rows), shares), kAttnThreads, bytes},
                     context, slab, own_rows);
}

template <DType type, class Rows>
cudaError_t launch_few_type(const AttnSlab& slab, const Rows& own_rows,
                            const CudaContext& context) {
  const int64_t columns = slab.args.cache.v_dim;
  return columns <= 64    ? launch_few<type, 2>(slab, own_rows, context)
         : columns <= 128 ? launch_few<type, 4>(slab, own_rows, context)
                          : launch_few<type, 8>(slab, own_rows, context);
}

/// Tiles of 16 where rows are likely to be of sequences of their own, of more in prompts.
template <DType type>
cudaError_t launch_type(const AttnSlab& slab, const CudaContext& context) {
  const int64_t columns = slab.args.cache.v_dim;
  if (slab.args.rows <= kFewRows) return launch_few_type<type>(slab, NoTurnedRows{}, context);
  return columns <= 64    ? launch_many<type, 4, 2>(slab, context)
         : columns <= 128 ? launch_many<type, 4, 4>(slab, context)
                          : launch_many<type, 2, 8>(slab, context);
}

int64_t rows_of_slab(const AttnArgs& a) { return a.rows < kSlabRows ? a.rows : kSlabRows; }
int pitch_of(const AttnArgs& a) { return static_cast<int>((a.cache.v_dim + 3) / 4 * 4); }

AttnSlab slab_in(const AttnArgs& a, const CudaContext& context) {
  AttnSlab slab = slab_of(a);
  slab.pitch = pitch_of(a);
  slab.tickets = reinterpret_cast<unsigned*>(context.workspace);
  slab.sums = reinterpret_cast<float2*>(context.workspace + kTicketBytes);
  slab.values = reinterpret_cast<float*>(slab.sums + rows_of_slab(a) * a.heads * kShares);
  return slab;
}

int32_t launch(const void* opaque, const CudaContext& context) {
  AttnSlab slab = slab_in(*static_cast<const AttnArgs*>(opaque), context);
  const AttnArgs& a = slab.args;
  if (a.type != a.cache.type) return cudaErrorInvalidValue;
  for (; slab.first_row < a.rows; slab.first_row += kSlabRows) {
    const int64_t left = a.rows - slab.first_row;
    slab.rows = static_cast<int>(left < kSlabRows ? left : kSlabRows);
    const cudaError_t error = a.type == DType::bf16 ? launch_type<DType::bf16>(slab, context)
                                                    : launch_type<DType::f16>(slab, context);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

template <DType type>
cudaError_t launch_turned_type(const AttnSlab& slab, const TurnedRows& rows,
                               const CudaContext& context) {
  if (!fits_team(slab, rows, context)) return launch_few_type<type>(slab, rows, context);
  return slab.args.cache.k_dim == 64 ? launch_team<type, 64>(slab, rows, context)
                                     : launch_team<type, 128>(slab, rows, context);
}

int32_t launch_turned(const RopeArgs& q, const RopeArgs& k, const KvPutArgs& put, const AttnArgs& a,
                      const CudaContext& context) {
  AttnSlab slab = slab_in(a, context);
  slab.rows = static_cast<int>(a.rows < kSlabRows ? a.rows : kSlabRows);
  const TurnedRows rows{q, k, static_cast<const uint16_t*>(put.v), put.v_stride};
  const bool one_type = a.type == a.cache.type && put.type == a.type;
  if (a.rows > kFewRows || !one_type || !can_turn(rows, slab)) return cudaErrorNotSupported;
  return a.type == DType::bf16 ? launch_turned_type<DType::bf16>(slab, rows, context)
                               : launch_turned_type<DType::f16>(slab, rows, context);
}

int64_t workspace(const void* opaque) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  return kTicketBytes + rows_of_slab(a) * a.heads * kShares * (pitch_of(a) * 4 + 8);
}

}  // namespace

STEPLESS_CUDA_KERNEL(attn_full_b16_fany_h64_sm80) = {
    .launch = launch, .workspace_bytes = workspace, .joined = {.attend_turned = launch_turned}};

}  // namespace stepless::kernels
