// m = 1..8 of a format: by which blocks k and rows are taken.
#pragma once
#include "kernels/cuda/sm80/flat_formats.cuh"
#include "kernels/cuda/sm90/pair_launch.cuh"

namespace stepless::kernels::sm90 {

// A kernel of a step finds the multiprocessors that the one before leaves, so steps tell, not a
// kernel that follows itself: with one block to each, products of 3 billion weights of 4 bits (k
// 3072 and 8192) write 726 tokens/s at one row and 5270 at eight on an H200, with half ones that
// share k 705 and 5290, and 525 and 4180 where two of those may lie side by side. Of a long k two
// blocks of eight warps to each, up to eight sharing k: 5120 x 13824 takes 17.6 us, 21 by blocks
// that go through k in rounds and load x anew; the products of a layer of 8 billion weights take 52
// us at one row and 53.5 at eight, 54 and 58.5 where kinds of blocks take turns. A k of 13 to 20
// units is that of pairs of blocks (flat_pair.cuh) where every tile's totals have room. One of 21
// to 32 is shared by two blocks of 16 warps, which go through it once: a layer of 3 billion weights
// takes 31.7 us at one row and 39.6 at eight, by one block in two rounds 32.7 and 40.4.
template <class Kind>
static int32_t launch_few_rows(const FlatCall& call, const CudaContext& context,
                               const LoneNorm& norm) {
  constexpr int kOne = Kind::together(1), kTwo = Kind::together(2), kFour = Kind::together(4);
  const int64_t units = call.first().k / kUnitK;
  if (units <= 12)
    return launch_lone<Kind, kFour, false, 544, 1>(call, context, {16, 1, 1, 1}, norm);
  if (norm.a != nullptr) return cudaErrorNotSupported;
  if (units <= 20) {
    const int32_t error = launch_pair<Kind, 352>(call, context);
    if (error != cudaErrorNotSupported) return error;
    // Eleven warps; as many registers as 17 may have do without spills.
    if (units > 16) return launch_lone<Kind, kOne, true, 544, 1>(call, context, {10, 1, 2, 2});
  }
  if (units > 20 && units <= 32)
    return launch_lone<Kind, kFour, true, 544, 1>(call, context, {16, 1, 1, 2});
  return launch_lone<Kind, kTwo, true, 288, 2>(call, context, {8, 2, 2, 8});
}

/// Rows of affine codes beside 4 bits.
template <int kBits>
struct WideRows {
  template <int kGroup>
  struct Of {
    static int32_t launch(const FlatCall& call, const CudaContext& context, const LoneNorm& norm) {
      return launch_few_rows<BySums<WideBits<kBits, kGroup>>>(call, context, norm);
    }
  };
};

/// What a file exports for one affine width. Rows<group>::launch: of a call, and of the norm its x
/// is. kTakesNorm: whether a place of a ring has room for rows that are normed.
template <template <int> class Rows, bool kTakesNorm = true, class Type = Bf16>
struct FewEntry {
  static int32_t launch_call(const FlatCall& call, const CudaContext& context,
                             const LoneNorm& norm) {
    return call.first().group_size == 64 ? Rows<64>::launch(call, context, norm)
                                         : Rows<128>::launch(call, context, norm);
  }
  static int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                                 const CudaContext& context) {
    return launch_call({parts, count, glu}, context, {});
  }
  static int32_t launch_normed(const AddArgs& add, const NormArgs& norm, const MatmulArgs* parts,
                               int64_t count, const GluArgs* glu, const CudaContext& context) {
    const FlatCall call{parts, count, glu};
    LoneNorm made{};
    if (!norm_of<Type::kType>(add, norm, call, made)) return cudaErrorNotSupported;
    return launch_call(call, context, made);
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }
  static constexpr CudaEntry entry{
      .launch = launch,
      .workspace_bytes = nullptr,
      .joined = {.products = launch_together,
                 .normed_products = kTakesNorm ? launch_normed : nullptr}};
};

/// What a file exports for a format whose groups have dots of their own.
template <class Format>
struct FewDotsEntry {
  static int32_t launch_together(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                                 const CudaContext& context) {
    return launch_few_rows<ByDots<Format>>({parts, count, glu}, context, {});
  }
  static int32_t launch(const void* args, const CudaContext& context) {
    return launch_together(static_cast<const MatmulArgs*>(args), 1, nullptr, context);
  }
  static constexpr CudaEntry entry{
      .launch = launch, .workspace_bytes = nullptr, .joined = {.products = launch_together}};
};

}  // namespace stepless::kernels::sm90
