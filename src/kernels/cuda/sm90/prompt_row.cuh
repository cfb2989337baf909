// Rows of prompts, x and y of one type, in an order of their own (prompt_tile.cuh).
//
// Workspace, whatever n: x as operands, 2 k bytes for each row up to a multiple of 64, and 19 MB of
// sums that blocks leave to each other. Norms, attention and gates in front of a product make its x
// as operands at once, where x would be: on an H200 a prompt's step of 2048 rows of a model of 3
// billion weights took 0.9 ms, of 28, to prepare it.
#pragma once
#include "kernels/cuda/sm80/flat_launch.cuh"
#include "kernels/cuda/sm90/prompt_norm.cuh"
#include "kernels/cuda/sm90/prompt_tile.cuh"

namespace stepless::kernels::sm90 {
namespace {  // of each file its own

constexpr int64_t kMostBlocks = 144;           // multiprocessors of the largest Hopper
constexpr int64_t kLeftBytes = 256 * 128 * 4;  // the sums of the largest tile
constexpr int64_t kBandRows = 2048;            // of x, which are to stay in the L2 cache

int64_t up(int64_t n, int64_t step) { return (n + step - 1) / step; }

/// A gate's tiles have its up in their other half.
template <class Shape>
int64_t output_tiles(const FlatCall& call) {
  if (call.glu != nullptr) return up(call.first().n, Shape::kOutputs / kMakers);
  int64_t tiles = 0;
  for (int64_t i = 0; i < call.count; ++i) tiles += up(call.parts[i].n, Shape::kOutputs);
  return tiles;
}

/// What a product costs, in microseconds of the main loop: a tile's step of 64 k takes 0.33, 0.44
/// or 0.75 with 64, 128 or 256 rows on an H200, and a cut tile's sums travel.
template <class Shape>
double cost_us(const FlatCall& call, int64_t blocks) {
  constexpr double kStep = Shape::kCols == 64 ? 0.33 : Shape::kCols == 128 ? 0.44 : 0.75;
  const MatmulArgs& a = call.first();
  const int64_t tiles = up(a.m, Shape::kCols) * output_tiles<Shape>(call);
  const double steps = static_cast<double>(a.k / kStepK);
  if (tiles <= blocks) return steps * kStep;
  return 2 + steps * kStep * static_cast<double>(tiles) / static_cast<double>(blocks);
}

/// x of a product, and whether what its gate gives is made the x of another.
struct PreparedX {
  const void* rows;
  bool makes_next;
};

/// Operands take the place of the tensor that they are made of: whole blocks of rows without gaps.
bool can_be_operands(const void* p, int64_t rows, int64_t width, int64_t stride) {
  return rows % kBlockRows == 0 && width % kUnitK == 0 && stride == width && in_sixteens(p, 0);
}

/// Formats::each(args, f) returns f(FormatIs<Weights>{}) of the weights that serve args.
template <class Weights>
struct FormatIs {
  using type = Weights;
};

template <class Formats, class Type>
struct PromptRow {
  template <class Shape>
  static cudaError_t launch_tiles(const FlatCall& call, int64_t blocks, const PreparedX& x,
                                  const CudaContext& context) {
    const MatmulArgs& a = call.first();
    const auto kernel = prompt_product<Shape>;
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kBytes);
    if (error != cudaSuccess) return error;
    PromptArgs args{};
    args.w = weights_of(call, Shape::kOutputs / kTileRows);
    args.x = static_cast<const uint8_t*>(x.rows), args.m = static_cast<int>(a.m);
    args.makes_x = x.makes_next;
    args.line = prompt_line(up(a.m, Shape::kCols), output_tiles<Shape>(call), a.k / kUnitK, blocks);
    for (int64_t i = 0; i < call.count; ++i) args.tensor_scale[i] = call.parts[i].tensor_scale;
    args.band = kBandRows / Shape::kCols;
    args.flags = reinterpret_cast<unsigned*>(context.workspace);
    args.left = reinterpret_cast<float4*>(context.workspace + kTicketBytes);
    const auto grid = static_cast<unsigned>(args.line.blocks);
    return launch_grid(kernel, {grid, kPromptThreads, Shape::kBytes}, context, args);
  }

  /// Tiles of the size that costs least: none changes a bit.
  template <class Weights>
  static cudaError_t launch_product(const FlatCall& call, const PreparedX& x,
                                    const CudaContext& context) {
    using Few = PromptShape<Weights, 64, 8, 2>;
    using Some = PromptShape<Weights, 128, 6, 2>;
    using Many = PromptShape<Weights, 256, 4, 2>;
    const int64_t blocks =
        context.multiprocessors < kMostBlocks ? context.multiprocessors : kMostBlocks;
    const double few = cost_us<Few>(call, blocks), some = cost_us<Some>(call, blocks),
                 many = cost_us<Many>(call, blocks);
    if (few < some && few < many) return launch_tiles<Few>(call, blocks, x, context);
    if (some < many) return launch_tiles<Some>(call, blocks, x, context);
    return launch_tiles<Many>(call, blocks, x, context);
  }

  static cudaError_t launch_prepared(const FlatCall& call, const PreparedX& x,
                                     const CudaContext& context) {
    return Formats::each(call.first(), [&](auto is) {
      return launch_product<typename decltype(is)::type>(call, x, context);
    });
  }

  static int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                                 const CudaContext& context) {
    const FlatCall call{parts, count, glu};
    const MatmulArgs& a = call.first();
    uint8_t* const x = context.workspace + kTicketBytes + kMostBlocks * kLeftBytes;
    const int64_t steps = a.k / kStepK, warps = up(a.m, kBlockRows) * (kBlockRows / 8) * steps;
    const cudaError_t error =
        launch_grid(prepare_rows, {static_cast<unsigned>(up(warps, 8)), 256}, context, a.x,
                    a.x_stride * 2, static_cast<int>(a.m), static_cast<int>(steps), x);
    return error != cudaSuccess ? error : launch_prepared(call, {x, false}, context);
  }

  static int32_t norm_in_front(const AddArgs& add, const NormArgs& norm, const MatmulArgs& product,
                               const CudaContext& context) {
    NormShape shape{norm, add.b, add.y};
    shape.norm.x = add.a;
    const bool fits = is_x_of(shape, product, Type::kType) &&
                      can_be_operands(norm.y, norm.rows, norm.k, norm.y_stride);
    if (!fits) return cudaErrorNotSupported;
    return launch_norm_as_x<Type::kType>(shape, context);
  }

  static int32_t launch_normed(const AddArgs& add, const NormArgs& norm, const MatmulArgs* parts,
                               int64_t count, const GluArgs* glu, const CudaContext& context) {
    const int32_t error = norm_in_front(add, norm, parts[0], context);
    return error != cudaSuccess ? error
                                : launch_prepared({parts, count, glu}, {norm.y, false}, context);
  }

  static int32_t launch_feed_forward(const AddArgs& add, const NormArgs& norm,
                                     const MatmulArgs* gate_and_up, const GluArgs& glu,
                                     const MatmulArgs& down, const CudaContext& context) {
    if (glu.y != down.x || glu.rows != down.m || glu.width != down.k ||
        !can_be_operands(glu.y, glu.rows, glu.width, glu.y_stride))
      return cudaErrorNotSupported;
    int32_t error = norm_in_front(add, norm, gate_and_up[0], context);
    if (error == cudaSuccess)
      error = launch_prepared({gate_and_up, 2, &glu}, {norm.y, true}, context);
    return error != cudaSuccess ? error
                                : launch_prepared({&down, 1, nullptr}, {glu.y, false}, context);
  }

  static int32_t launch_attended(const CudaEntry& attention, const AttnArgs& attn,
                                 const MatmulArgs* parts, int64_t count,
                                 const CudaContext& context) {
    const MatmulArgs& a = parts[0];
    if (attention.joined.attend_as_x == nullptr || attn.type != Type::kType || attn.y != a.x ||
        attn.rows != a.m || attn.heads * attn.cache.v_dim != a.k ||
        !can_be_operands(attn.y, attn.rows, a.k, attn.y_stride))
      return cudaErrorNotSupported;
    const int32_t error = attention.joined.attend_as_x(attn, context);
    return error != cudaSuccess
               ? error
               : launch_prepared({parts, count, nullptr}, {attn.y, false}, context);
  }

  static int32_t launch(const void* args, const CudaContext& context) {
    return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }

  static int64_t workspace_bytes(const void* args) {
    const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
    return kTicketBytes + kMostBlocks * kLeftBytes + up(a.m, kBlockRows) * kBlockRows * a.k * 2;
  }

  static constexpr CudaEntry entry{.launch = launch,
                                   .workspace_bytes = workspace_bytes,
                                   .joined = {.products = launch_together,
                                              .normed_products = launch_normed,
                                              .feed_forward = launch_feed_forward,
                                              .attended_products = launch_attended}};
};

/// Affine codes, groups of 64 and 128.
template <template <int> class Weights>
struct PromptGroups {
  template <class F>
  static auto each(const MatmulArgs& a, F f) {
    return a.group_size == 64 ? f(FormatIs<Weights<64>>{}) : f(FormatIs<Weights<128>>{});
  }
};
template <int kBits, class Type>
struct PromptWidth {
  template <int kGroup>
  using Of = PromptBits<kBits, kGroup>;
};
template <class Type>
struct PromptWidth<4, Type> {
  template <int kGroup>
  using Of = PromptFourBits<kGroup, Type>;
};
template <class Type>
struct PromptWidth<8, Type> {
  template <int kGroup>
  using Of = PromptEightBits<kGroup, Type>;
};
template <int kBits, class Type>
using PromptAffine = PromptRow<PromptGroups<PromptWidth<kBits, Type>::template Of>, Type>;
/// A format of one kind.
template <class Weights>
struct PromptFormat {
  template <class F>
  static auto each(const MatmulArgs&, F f) {
    return f(FormatIs<Weights>{});
  }
};

}  // namespace
}  // namespace stepless::kernels::sm90
