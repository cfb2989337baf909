// Launches of attention of prompts over packed pages. Host side.
#pragma once
#include "kernels/cuda/sm90/prompt_launch.cuh"

namespace stepless::kernels::sm90 {

template <int bits>
static bool serves_packed(const AttnArgs& a) {
  const PackedKv& kv = a.cache.packed;
  return fits_tall(a) && a.type == DType::bf16 && a.cache.type == DType::bf16 && kv.bits == bits &&
         a.cache.k_dim % kv.group_size == 0;
}

/// What a row exports. What this order does not serve (f16, other heads, pages that do not hold
/// whole chunks, caches without packed pages) goes to the row `other`: shapes decide, never m.
template <int bits, const CudaEntry& other>
struct PackedPromptRow {
  static int32_t launch(const void* opaque, const CudaContext& context) {
    const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
    if (!serves_packed<bits>(a)) return other.launch(opaque, context);
    const bool wide = a.cache.k_dim == 128;
    return launch_slabs(a, TallRoom<128, bits>::kSlab, false, [&](const AttnSlab& slab) {
      return wide ? launch_tall<DType::bf16, 128, bits>(slab, context)
                  : launch_tall<DType::bf16, 64, bits>(slab, context);
    });
  }
  static int64_t workspace_bytes(const void* opaque) {
    const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
    return serves_packed<bits>(a) ? 0 : other.workspace_bytes(opaque);
  }
};

}  // namespace stepless::kernels::sm90
