// y = x · wᵀ for m = 9..64 by warpgroups, in the order and with the bits of the flat kernels.
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm90/flat_mid.cuh"
#include "kernels/cuda/sm90/mid_norm.cuh"

namespace stepless::kernels {
namespace {

using sm80::divided_up, sm80::FlatCall, sm80::FlatWeights, sm80::kPartK, sm80::kTileRows,
    sm80::kUnitK;
using sm90::MidX;

constexpr int kPairs = 2;  // of warpgroups

/// x of a product, rows or operands, and where its gates leave those of the next one, if anywhere.
template <int kGroup>
struct MidInputs {
  const uint8_t* x;
  bool is_made;
  MidX<kGroup> next;
};

/// How a call goes over blocks: every part of k has `slots` of them for each `ways` of columns.
struct MidGrid {
  int tiles;  // of 16 outputs; of a gate and its partner, 8 of each
  int parts, ways, slots;
};

template <int kCols>
MidGrid grid_of(const FlatCall& call, const CudaContext& context) {
  MidGrid grid{};
  for (int64_t i = 0; i < call.count; ++i)
    grid.tiles += divided_up(static_cast<int>(call.parts[i].n), kTileRows);
  if (call.glu != nullptr) grid.tiles = divided_up(static_cast<int>(call.first().n), kTileRows / 2);
  grid.parts = divided_up(static_cast<int>(call.first().k), kPartK);
  grid.ways = divided_up(static_cast<int>(call.first().m), kCols);
  const int slots = context.multiprocessors / (grid.parts * grid.ways);
  grid.slots = slots < 1 ? 1 : sm80::smaller(slots, divided_up(grid.tiles, sm90::kMidTiles));
  return grid;
}

/// Slots of gates that make operands have whole rounds.
sm90::MidPlan plan_of(const MidGrid& grid, bool makes_next) {
  const int step = makes_next ? kPairs : 1;
  const int wide = divided_up(grid.tiles, sm90::kMidTiles) / step;
  sm90::MidPlan plan{};
  plan.each = wide / grid.slots * step, plan.more = wide % grid.slots, plan.step = step;
  plan.tiles = grid.tiles, plan.parts = grid.parts, plan.ways = grid.ways;
  plan.blocks = grid.parts * grid.ways * grid.slots, plan.per_part = 65536 / grid.parts + 1;
  return plan;
}

/// Where a few multiprocessors would be free, blocks keep them.
template <bool kInLine>
dim3 blocks_of(const MidGrid& grid, const CudaContext& context) {
  const auto parts = static_cast<unsigned>(grid.parts), ways = static_cast<unsigned>(grid.ways),
             slots = static_cast<unsigned>(grid.slots), blocks = parts * ways * slots;
  if constexpr (!kInLine) return {parts, ways, slots};
  const auto all = static_cast<unsigned>(context.multiprocessors);
  return context.early_start && blocks < all && blocks * 4 > all * 3 ? all : blocks;
}

template <int kCols, int kGroup, class Sums>
int32_t launch_as(const FlatCall& call, const MidInputs<kGroup>& inputs, const MidGrid& grid,
                  uint8_t* sums, const CudaContext& context) {
  using Room = sm90::MidRoom<kCols, kPairs, kGroup>;
  const MatmulArgs& a = call.first();
  const auto kernel = sm90::flat_mid<kCols, kPairs, kGroup, Sums>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Room::kBytesWithGates);
  if (error != cudaSuccess) return error;
  const bool makes_next = inputs.next.at != nullptr;
  sm90::MidPlan plan = plan_of(grid, makes_next);
  plan.x_is_made = inputs.is_made;
  const dim3 blocks = blocks_of<Room::kInLine>(grid, context);
  const std::size_t bytes = makes_next ? Room::kBytesWithGates : Room::kBytes;
  return launch_grid(kernel, {blocks, Room::kThreads, bytes}, context, sm80::weights_of(call, 1),
                     inputs.x, a.x_stride * 2, static_cast<int>(a.m), plan, inputs.next,
                     reinterpret_cast<float4*>(sums),
                     reinterpret_cast<unsigned*>(context.workspace));
}

/// In front of what tells by itself there are the tickets of what is counted.
constexpr int64_t kTellingAt = 1 << 16;

/// Sums tell by themselves where all of them have a place among the tickets.
template <int kCols, int kGroup>
int32_t launch_mid(const FlatCall& call, const MidInputs<kGroup>& inputs,
                   const CudaContext& context) {
  const MidGrid grid = grid_of<kCols>(call, context);
  const int64_t bytes = int64_t{grid.tiles} * kTileRows * grid.parts * grid.ways * kCols * 4;
  uint8_t* const tickets = context.workspace;
  const auto launch = [&](auto sums, uint8_t* at) {
    return launch_as<kCols, kGroup, decltype(sums)>(call, inputs, grid, at, context);
  };
  if (grid.parts == 1) return launch(sm90::StayingSums{}, nullptr);
  return kTellingAt + bytes <= kTicketBytes ? launch(sm90::TellingSums{}, tickets + kTellingAt)
                                            : launch(sm90::CountedSums{}, tickets + kTicketBytes);
}

/// Two pairs of warpgroups: on an H200 three or four with shorter rings gain 5 % where outputs are
/// many (128256 x 3072) and lose 3 to 20 % elsewhere. More than 48 rows go at once unless that
/// leaves multiprocessors little more than a tile's part each: by 32 5120 x 13824 takes 45 us
/// instead of 40, 128256 x 3072 209 instead of 176, but 3072 x 3072 12 instead of 13.5.
/// Calls launch<columns>().
template <class Launch>
int32_t choose(const FlatCall& call, const CudaContext& context, Launch launch) {
  const int64_t m = call.first().m;
  if (m <= 16) return launch.template operator()<16>();
  if (m <= 32) return launch.template operator()<32>();
  if (m <= 48) return launch.template operator()<48>();
  const MidGrid grid = grid_of<64>(call, context);
  return divided_up(grid.tiles, sm90::kMidTiles) * grid.parts * 2 > context.multiprocessors * 3
             ? launch.template operator()<64>()
             : launch.template operator()<32>();
}

template <int kGroup>
int32_t launch_product(const FlatCall& call, const MidInputs<kGroup>& inputs,
                       const CudaContext& context) {
  return choose(call, context,
                [&]<int kCols>() { return launch_mid<kCols, kGroup>(call, inputs, context); });
}

int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                        const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  const auto* const x = static_cast<const uint8_t*>(call.first().x);
  return call.first().group_size == 64 ? launch_product<64>(call, {x, false, {}}, context)
                                       : launch_product<128>(call, {x, false, {}}, context);
}

int32_t launch(const void* args, const CudaContext& context) {
  return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
}

/// Of sums that are counted, whatever m.
int64_t sum_bytes(int64_t n, int64_t k) {
  return (n + 63) / 64 * 64 * ((k + kPartK - 1) / kPartK) * 64 * 4;
}
/// Of x as operands, whatever m and the size of groups.
constexpr int64_t operand_bytes(int64_t k) { return k / kUnitK * MidX<64>::unit_bytes(64); }

/// Behind the tickets are sums, x as operands, and those that gates leave to a product of the k
/// that half of all outputs are.
int64_t workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  return kTicketBytes + sum_bytes(a.n, a.k) + operand_bytes(a.k) + operand_bytes(a.n / 2);
}

int64_t outputs_of(const FlatCall& call) {
  int64_t n = 0;
  for (int64_t i = 0; i < call.count; ++i) n += (call.parts[i].n + 63) / 64 * 64;
  return n;
}

/// Where a product finds its x as operands, from `at` on, as its launch will take it.
template <int kGroup>
MidX<kGroup> x_of(const FlatCall& call, uint8_t* at, const CudaContext& context) {
  MidX<kGroup> x{at, 0, static_cast<int>(call.first().k / kUnitK)};
  choose(call, context, [&]<int kCols>() {
    x.cols = kCols;
    return 0;
  });
  return x;
}

template <int kGroup>
int32_t norm_in_front(const AddArgs& add, const NormArgs& norm, const FlatCall& call,
                      const MidX<kGroup>& x, const CudaContext& context) {
  NormShape shape{norm, add.b, add.y};
  shape.norm.x = add.a;
  const MatmulArgs& product = call.first();
  const bool fits = norm.y == product.x && norm.groups == 1 && norm.rows == product.m &&
                    norm.k == product.k && norm.x_type == DType::bf16 && is_in_eights(shape);
  return fits ? sm90::launch_norm_as_mid_x(shape, x, context) : cudaErrorNotSupported;
}

template <int kGroup>
int32_t launch_behind_norm(const AddArgs& add, const NormArgs& norm, const FlatCall& call,
                           const MidX<kGroup>& next, const CudaContext& context) {
  uint8_t* const at =
      context.workspace + kTicketBytes + sum_bytes(outputs_of(call), call.first().k);
  const MidX<kGroup> x = x_of<kGroup>(call, at, context);
  const int32_t error = norm_in_front(add, norm, call, x, context);
  return error != cudaSuccess ? error : launch_product<kGroup>(call, {x.at, true, next}, context);
}

int32_t launch_normed(const AddArgs& add, const NormArgs& norm, const MatmulArgs* parts,
                      int64_t count, const GluArgs* glu, const CudaContext& context) {
  const FlatCall call{parts, count, glu};
  return call.first().group_size == 64 ? launch_behind_norm<64>(add, norm, call, {}, context)
                                       : launch_behind_norm<128>(add, norm, call, {}, context);
}

/// Gates make operands of groups of 64: a round has no more of k.
int32_t launch_feed_forward(const AddArgs& add, const NormArgs& norm, const MatmulArgs* gate_and_up,
                            const GluArgs& glu, const MatmulArgs& down,
                            const CudaContext& context) {
  const FlatCall both{gate_and_up, 2, &glu}, behind{&down, 1, nullptr};
  if (glu.y != down.x || glu.rows != down.m || glu.width != down.k ||
      both.first().group_size != 64 || down.group_size != 64)
    return cudaErrorNotSupported;
  const int64_t own = sum_bytes(outputs_of(both), both.first().k) + operand_bytes(both.first().k);
  const int64_t others = sum_bytes(outputs_of(behind), down.k);
  uint8_t* const at = context.workspace + kTicketBytes + (own > others ? own : others);
  const MidX<64> next = x_of<64>(behind, at, context);
  const int32_t error = launch_behind_norm<64>(add, norm, both, next, context);
  return error != cudaSuccess ? error : launch_product<64>(behind, {at, true, {}}, context);
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_affine_b4_bf16_m64n64_sm90) = {
    .launch = launch,
    .workspace_bytes = workspace_bytes,
    .joined = {.products = launch_together,
               .normed_products = launch_normed,
               .feed_forward = launch_feed_forward}};

}  // namespace stepless::kernels
