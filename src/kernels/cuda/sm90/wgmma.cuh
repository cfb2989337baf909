// Hopper's instructions, one per wrapper: products of a warpgroup, and copies that a barrier in
// shared memory counts. sm_90a only.
#pragma once
#include "kernels/cuda/sm80/flat_units.cuh"

namespace stepless::kernels::sm90 {

using std::uint32_t;

/// d += a · b by a warpgroup: a is (64, 16), warp w's lanes hold rows 16w.. as mma.sync's A; b is
/// (16, n) in shared memory (operand_at()); d has columns 8i + 2t, + 1 of rows g, g + 8 in d[4i..4i
/// + 3].
template <int n>
struct Wgmma;
template <>
struct Wgmma<128> {
  static __device__ __forceinline__ void add(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "},{%64,%65,%66,%67},%68,1,1,1,0;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
          "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
          "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
          "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
          "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
          "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
          "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
          "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
          "+f"(d[63])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};

/// The descriptor of b, 16 of 64 k: a column has 128 bytes, its 16-byte chunk c at place c ^ column
/// % 8, and 8 columns have 1024, which is also how they are aligned. Four such b's begin 32 bytes
/// apart. (Without swizzle, columns of 16 bytes side by side, products take as long.)
static __device__ __forceinline__ uint64_t operand_at(uint32_t shared) {
  constexpr uint64_t kEightColumns = 1024 >> 4, kSwizzle128 = uint64_t{1} << 62;
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) | uint64_t{1} << 16 | kEightColumns << 32 |
         kSwizzle128;
}

static __device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
/// The compiler may not move what these registers hold across this place.
template <int n>
static __device__ __forceinline__ void pin(float (&d)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
static __device__ __forceinline__ void pin(uint32_t (&a)[4]) {
  asm volatile("" : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])::"memory");
}

static __device__ __forceinline__ void make_barrier(uint32_t at, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(at), "r"(arrivals) : "memory");
}
/// After make_barrier(), before anyone else uses them.
static __device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
static __device__ __forceinline__ void arrive(uint32_t at) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(at) : "memory");
}
static __device__ __forceinline__ void wait(uint32_t at, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "AGAIN_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done,[%0],%1;\n"
      "@!done bra AGAIN_%=;\n}" ::"r"(at),
      "r"(parity)
      : "memory");
}
/// Copies `bytes` (a multiple of 16, as both addresses) and tells the barrier, which this arrives
/// at.
static __device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes,
                                                 uint32_t barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(barrier), "r"(bytes)
               : "memory");
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(
          to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

}  // namespace stepless::kernels::sm90
