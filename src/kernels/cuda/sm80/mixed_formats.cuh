// Affine products whose x, scales and biases are not of one 16-bit type: scales of any type, which
// become float32 as they are read, and x in 16 bits or in float32, which is the sum of three rows
// of bf16 (plane_rows.cuh). y is float32. The order is that of unit_order.cuh: where x and scales
// are of one type the bits are those of the other rows of that order.
#pragma once
#include "kernels/cuda/sm80/plane_rows.cuh"
#include "kernels/cuda/sm80/unit_launch.cuh"

namespace stepless::kernels::sm80 {

static __device__ __forceinline__ float load_scale(uint32_t at, DType type) {
  if (type == DType::f32) return __uint_as_float(load_word(at));
  uint16_t bits;
  asm volatile("ld.shared.u16 %0,[%1];" : "=h"(bits) : "r"(at));
  return type == DType::f16 ? F16::low(bits) : Bf16::low(bits);
}

/// One for each dot; larger groups have several.
template <int kDots>
struct AnyScales {
  static constexpr int kRoom = 32, kCopiedWords = 8, kAll = kSteps * kDots;
  static constexpr bool kMayShift = true;
  static constexpr int size(DType type) { return type == DType::f32 ? 4 : 2; }
  float s[kAll], b[kAll];

  static __device__ __forceinline__ AnyScales load(uint32_t scales, uint32_t biases,
                                                   const ScaleRule& rule) {
    const int bytes = size(rule.type), group_dots = rule.group * kDots / kStepK;
    const int from = bytes == 2 ? rule.shift / 8 : 0;
    AnyScales all;
#pragma unroll
    for (int i = 0; i < kAll; ++i) {
      const int at = from + (group_dots == 1 ? i : group_dots == 2 ? i / 2 : i / 4) * bytes;
      all.s[i] = load_scale(scales + at, rule.type);
      all.b[i] = load_scale(biases + at, rule.type);
    }
    return all;
  }
  __device__ __forceinline__ float scale(int i) const { return s[i]; }
  __device__ __forceinline__ float bias(int i) const { return b[i]; }
};

template <class Type, int kBits, int kDots>
using MixedUnits = UnitFormat<Integers<Type, kBits>, AnyScales<kDots>, kDots, true>;

template <class Format>
static int32_t launch_mixed_units(const FlatCall& all, const CudaContext& context) {
  return launch_slices(all, kTileRows, [&](const FlatCall& call) {
    return call.first().m <= 8 ? launch_unit_few<1, Format>(call, context)
                               : launch_unit_few<2, Format>(call, context);
  });
}

/// x of one type of 16 bits; dots as in launch_affine_units_together().
template <class Type, int kBits>
static int32_t launch_mixed_rows(const MatmulArgs& a, const CudaContext& context) {
  const FlatCall call{&a, 1, nullptr};
  if constexpr (kBits == 4 || kBits == 8)
    if (a.group_size > 32) return launch_mixed_units<MixedUnits<Type, kBits, 1>>(call, context);
  return launch_mixed_units<MixedUnits<Type, kBits, 2>>(call, context);
}

/// What a file exports for one width.
template <int kBits>
static int32_t launch_mixed(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  if (a.x_type == DType::f16) return launch_mixed_rows<F16, kBits>(a, context);
  return launch_planes(a, kTicketBytes, context, [&](const MatmulArgs& planes) {
    return launch_mixed_rows<Bf16, kBits>(planes, context);
  });
}
static int64_t mixed_workspace_bytes(const void* args) {
  return plane_workspace_bytes(*static_cast<const MatmulArgs*>(args), kTicketBytes);
}

}  // namespace stepless::kernels::sm80
