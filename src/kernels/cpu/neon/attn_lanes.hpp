// Four lanes with fused multiply-add for attention: those of any/attn_lanes.hpp, but for what NEON
// has an instruction for.
#pragma once
#include <arm_neon.h>

#include "kernels/cpu/any/attn_lanes.hpp"

namespace stepless::kernels {
namespace {

struct Neon : Portable {
  // Thirty-two registers: sixteen sums in flight.
  static constexpr int kDots = 16;
  static constexpr int kTileQueries = 4, kTileVectors = 4;
  template <int Q>
  static constexpr int width() {
    return 8 / Q;
  }

  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }

  static F from_f16(const uint8_t* p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }

  template <DType type>
  static void load2(const uint8_t* p, F& a, F& b) {
    if constexpr (type == DType::f16)
      a = from_f16(p), b = from_f16(p + 8);
    else
      Portable::load2<type>(p, a, b);
  }

  template <DType type>
  static void load2_part(const uint8_t* p, int64_t n, F& a, F& b) {
    uint8_t whole[32] = {};
    memcpy(whole, p, static_cast<size_t>(n * bytes_of(type)));
    load2<type>(whole, a, b);
  }

  template <int bits, DType type>
  static void decode2(const uint8_t* p, float scale, float bias, F& a, F& b) {
    codes2<bits, type>(p, a, b);
    a = vfmaq_n_f32(vdupq_n_f32(bias), a, scale);
    b = vfmaq_n_f32(vdupq_n_f32(bias), b, scale);
  }

  /// sums() adds neighbours.
  static constexpr int lane_at(int place) { return place; }

  static void sums(const F* acc, float* out) {
#pragma GCC unroll 4
    for (int i = 0; i < kDots; i += 4) {
      const F ab = vpaddq_f32(acc[i], acc[i + 1]), cd = vpaddq_f32(acc[i + 2], acc[i + 3]);
      store<4>(out + i, vpaddq_f32(ab, cd));
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
