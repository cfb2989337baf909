// One instruction per wrapper, so that a main loop reads as the algorithm. sm_80 and later.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/any/launch.cuh"

namespace stepless::kernels::sm80 {

using std::uint32_t;

static __device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

/// d += a · b: a is (16, 16), b (16, 8), both bf16, d (16, 8) float32. Lane (g, t) = (lane / 4,
/// lane % 4) holds a's rows g and g + 8 (a0, a1 at k 2t, 2t + 1; a2, a3 at k + 8), b's column g,
/// d's rows g and g + 8 at columns 2t, 2t + 1.
static __device__ __forceinline__ void mma(float (&d)[4], const float (&c)[4],
                                           const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
      "{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]),
        "f"(c[2]), "f"(c[3]));
}

/// The same of f16.
static __device__ __forceinline__ void mma_f16(float (&d)[4], const float (&c)[4],
                                               const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
      "{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]),
        "f"(c[2]), "f"(c[3]));
}

/// (bits & mask) | value.
static __device__ __forceinline__ uint32_t and_or(uint32_t bits, uint32_t mask, uint32_t value) {
  uint32_t result;
  asm("lop3.b32 %0,%1,%2,%3,0xEA;" : "=r"(result) : "r"(bits), "r"(mask), "r"(value));
  return result;
}

template <int kBytes>
static __device__ __forceinline__ void copy_async(uint32_t to, const void* from) {
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global.L2::128B [%0],[%1],16;" ::"r"(to), "l"(from)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0],[%1],%2;" ::"r"(to), "l"(from), "n"(kBytes)
                 : "memory");
}
/// 16 bytes, or 16 zeros: `from` is not read then.
static __device__ __forceinline__ void copy_or_zero16(uint32_t to, const void* from, bool is) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0],[%1],16,%2;" ::"r"(to), "l"(from),
               "r"(is ? 16 : 0)
               : "memory");
}
static __device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
static __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

static __device__ __forceinline__ uint2 load_shared8(uint32_t from) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0,%1},[%2];" : "=r"(v.x), "=r"(v.y) : "r"(from));
  return v;
}
static __device__ __forceinline__ uint4 load_shared16(uint32_t from) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3},[%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(from));
  return v;
}
static __device__ __forceinline__ void store_shared16(uint32_t to, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0],{%1,%2,%3,%4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

/// What an earlier kernel of the stream wrote. Never ld.global.nc or __ldg: the compiler moves
/// those above wait_for_inputs() and reads what was there before.
static __device__ __forceinline__ uint4 load_input16(const void* from) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0,%1,%2,%3},[%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}
/// Past the first-level cache, which does not see other multiprocessors' writes.
static __device__ __forceinline__ float4 load_l2(const void* from) {
  float4 v;
  asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3},[%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

/// Counts an arrival. What this warp wrote before is seen by whoever counts later. (A __threadfence
/// here is sequentially consistent and waits for every copy in flight.)
static __device__ __forceinline__ unsigned take_ticket(unsigned* ticket) {
  unsigned before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0,[%1],1;"
               : "=r"(before)
               : "l"(ticket)
               : "memory");
  return before;
}

/// Counts one more of `count`, of whom the last leaves zero, and waits for no answer.
static __device__ __forceinline__ void count_in(unsigned* ticket, unsigned count) {
  asm volatile("red.release.gpu.global.inc.u32 [%0],%1;" ::"l"(ticket), "r"(count - 1) : "memory");
}

/// Whether this block is the last of `count` to come here; what the others wrote is seen then.
static __device__ __forceinline__ bool is_last(unsigned* ticket, unsigned count) {
  __shared__ unsigned before;
  __syncthreads();
  if (threadIdx.x == 0) {
    before = take_ticket(ticket);
    if (before + 1 == count) *ticket = 0;  // for the next launch
  }
  __syncthreads();
  return before + 1 == count;
}

static __device__ __forceinline__ float low_bf16(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
static __device__ __forceinline__ float high_bf16(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

/// Four 8 x 8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
static __device__ __forceinline__ void load_matrices(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row)
               : "memory");
}

}  // namespace stepless::kernels::sm80
