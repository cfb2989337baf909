// How sums of parts get from the blocks that made them to the one of a tile that adds them up
// (flat_mid.cuh): four floats of a lane at places in global memory, counted or not.
#pragma once
#include "kernels/cuda/sm90/wgmma.cuh"

namespace stepless::kernels::sm90 {

/// Counts as count_in() does, and tells nothing by it: waits for no store of this thread's.
static __device__ __forceinline__ void count_relaxed(unsigned* ticket, unsigned count) {
  asm volatile("red.relaxed.gpu.global.inc.u32 [%0],%1;" ::"l"(ticket), "r"(count - 1) : "memory");
}

/// k is one part: nothing travels.
struct StayingSums {
  static constexpr bool kStay = true;
  float4* at;        // not used,
  unsigned* ticket;  // nor this
};

/// Sums in memory that is anyone's: the warps that meet are counted when they come and when they
/// go, at a ticket that is zero before and after.
struct CountedSums {
  static constexpr bool kStay = false;
  float4* at;
  unsigned* ticket;

  __device__ __forceinline__ void send(int64_t place, float4 v) const { at[place] = v; }
  __device__ __forceinline__ void meet(int parts) const {
    const auto all = static_cast<unsigned>(parts);
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      sm80::count_in(ticket, 2 * all);
      while (load_acquire(ticket) < all) __nanosleep(20);
    }
    __syncwarp();
  }
  /// A release here waits until y is written: 2 us a layer of a step at 16 to 64 rows.
  __device__ __forceinline__ void leave(int parts) const {
    if (threadIdx.x % 32 == 0) count_relaxed(ticket, 2 * static_cast<unsigned>(parts));
  }
  /// each(take) calls take(place, v) for all that is wanted.
  template <class Each>
  __device__ __forceinline__ void take(const Each& each) const {
    each([&](int64_t place, float4& v) { v = sm80::load_l2(at + place); });
  }
};

/// Sums that tell by themselves that they are there, in memory that is zero before and after: their
/// bits are turned, so that zero would be a NaN that no sum gives. That spares a release, an
/// arrival and looking for it, 1 us of a product, and costs as many stores as there are sums: 4096
/// x 4096 takes 6.7 us instead of 7.7 at 16 rows of an H200, but 128256 x 3072 186 instead of 165
/// at 64.
struct TellingSums {
  static constexpr bool kStay = false;
  float4* at;
  unsigned* ticket;  // not used

  __device__ __forceinline__ void send(int64_t place, float4 v) const {
    reinterpret_cast<uint4*>(at)[place] = make_uint4(~__float_as_uint(v.x), ~__float_as_uint(v.y),
                                                     ~__float_as_uint(v.z), ~__float_as_uint(v.w));
  }
  __device__ __forceinline__ void meet(int) const {}
  __device__ __forceinline__ void leave(int) const {}
  template <class Each>
  __device__ __forceinline__ void take(const Each& each) const {
    bool is_there;
    do {
      is_there = true;
      each([&](int64_t place, float4& v) { v = look(at + place); });
      each([&](int64_t, const float4& v) { is_there = is_there && has_come(v); });
    } while (!__all_sync(~0u, is_there));
    each([&](int64_t place, float4& v) {
      at[place] = make_float4(0, 0, 0, 0);
      v = make_float4(turned(v.x), turned(v.y), turned(v.z), turned(v.w));
    });
  }

 private:
  static __device__ __forceinline__ float turned(float v) {
    return __uint_as_float(~__float_as_uint(v));
  }
  static __device__ __forceinline__ bool has_come(const float4& v) {
    return __float_as_uint(v.x) != 0 && __float_as_uint(v.y) != 0 && __float_as_uint(v.z) != 0 &&
           __float_as_uint(v.w) != 0;
  }
  static __device__ __forceinline__ float4 look(const float4* from) {
    float4 v;
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0,%1,%2,%3},[%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(from)
                 : "memory");
    return v;
  }
};

}  // namespace stepless::kernels::sm90
