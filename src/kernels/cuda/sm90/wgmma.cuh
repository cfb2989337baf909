// Hopper's instructions, one per wrapper: products of a warpgroup, and copies that a barrier in
// shared memory counts. sm_90a only.
#pragma once
#include "kernels/cuda/sm80/flat_units.cuh"

namespace stepless::kernels::sm90 {

using std::uint32_t;

// The accumulators of a product by a warpgroup, as its instruction names them and as asm takes
// them.
#define STEPLESS_NAMES_4 "%0,%1,%2,%3"
#define STEPLESS_NAMES_8 STEPLESS_NAMES_4 ",%4,%5,%6,%7"
#define STEPLESS_NAMES_16 STEPLESS_NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define STEPLESS_NAMES_24 STEPLESS_NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define STEPLESS_NAMES_32 STEPLESS_NAMES_24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define STEPLESS_NAMES_64                                            \
  STEPLESS_NAMES_32                                                  \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define STEPLESS_NAMES_128                                                       \
  STEPLESS_NAMES_64                                                              \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"             \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"             \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define STEPLESS_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define STEPLESS_D8(i) STEPLESS_D4(i), STEPLESS_D4(i + 4)
#define STEPLESS_D16(i) STEPLESS_D8(i), STEPLESS_D8(i + 8)
#define STEPLESS_D24(i) STEPLESS_D16(i), STEPLESS_D8(i + 16)
#define STEPLESS_D32(i) STEPLESS_D16(i), STEPLESS_D16(i + 16)
#define STEPLESS_D64(i) STEPLESS_D32(i), STEPLESS_D32(i + 32)
#define STEPLESS_D128(i) STEPLESS_D64(i), STEPLESS_D64(i + 64)
/// `inputs`: the places of a's four words, of b's descriptor, and of two numbers behind the
/// accumulators: whether d is added to, and whether b's columns lie side by side.
#define STEPLESS_WGMMA(n, type, names, inputs, ...)                                       \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" names \
               "}," inputs ";"                                                            \
               : __VA_ARGS__                                                              \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kAdds), "n"(kSideBySide))
#define STEPLESS_WGMMA_OF(n, names, inputs, ...)           \
  if constexpr (type == DType::bf16)                       \
    STEPLESS_WGMMA(n, "bf16", names, inputs, __VA_ARGS__); \
  else                                                     \
    STEPLESS_WGMMA(n, "f16", names, inputs, __VA_ARGS__)

/// d += a · b by a warpgroup (without kAdds, d = a · b): a is (64, 16), warp w's lanes hold rows
/// 16w.. as mma.sync's A; b is (16, n) in shared memory, by its descriptor; d has columns 8i + 2t,
/// + 1 of rows g, g + 8 in d[4i..4i + 3].
template <int n, DType type = DType::bf16, int kSideBySide = 0, int kAdds = 1>
struct Wgmma {
  static __device__ __forceinline__ void add(float (&d)[n / 2], const uint32_t (&a)[4],
                                             uint64_t b) {
    static_assert(n == 16 || n == 32 || n == 48 || n == 64 || n == 128 || n == 256);
    if constexpr (n == 16) {
      STEPLESS_WGMMA_OF(16, STEPLESS_NAMES_8, "{%8,%9,%10,%11},%12,%13,1,1,%14", STEPLESS_D8(0));
    } else if constexpr (n == 32) {
      STEPLESS_WGMMA_OF(32, STEPLESS_NAMES_16, "{%16,%17,%18,%19},%20,%21,1,1,%22",
                        STEPLESS_D16(0));
    } else if constexpr (n == 48) {
      STEPLESS_WGMMA_OF(48, STEPLESS_NAMES_24, "{%24,%25,%26,%27},%28,%29,1,1,%30",
                        STEPLESS_D24(0));
    } else if constexpr (n == 64) {
      STEPLESS_WGMMA_OF(64, STEPLESS_NAMES_32, "{%32,%33,%34,%35},%36,%37,1,1,%38",
                        STEPLESS_D32(0));
    } else if constexpr (n == 128) {
      STEPLESS_WGMMA_OF(128, STEPLESS_NAMES_64, "{%64,%65,%66,%67},%68,%69,1,1,%70",
                        STEPLESS_D64(0));
    } else {
      STEPLESS_WGMMA_OF(256, STEPLESS_NAMES_128, "{%128,%129,%130,%131},%132,%133,1,1,%134",
                        STEPLESS_D128(0));
    }
  }
};
#define STEPLESS_WGMMA_SHARED(n, type, names, inputs, ...)                                \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" names \
               "}," inputs ";"                                                            \
               : __VA_ARGS__                                                              \
               : "l"(a), "l"(b), "n"(kAdds))
#define STEPLESS_WGMMA_SHARED_OF(n, names, inputs, ...)           \
  if constexpr (type == DType::bf16)                              \
    STEPLESS_WGMMA_SHARED(n, "bf16", names, inputs, __VA_ARGS__); \
  else                                                            \
    STEPLESS_WGMMA_SHARED(n, "f16", names, inputs, __VA_ARGS__)

/// The same with a in shared memory, as operand_at() has b.
template <int n, DType type, int kAdds>
static __device__ __forceinline__ void add_shared(float (&d)[n / 2], uint64_t a, uint64_t b) {
  static_assert(n == 8 || n == 16 || n == 32 || n == 64 || n == 128);
  if constexpr (n == 8) {
    STEPLESS_WGMMA_SHARED_OF(8, STEPLESS_NAMES_4, "%4,%5,%6,1,1,0,0", STEPLESS_D4(0));
  } else if constexpr (n == 16) {
    STEPLESS_WGMMA_SHARED_OF(16, STEPLESS_NAMES_8, "%8,%9,%10,1,1,0,0", STEPLESS_D8(0));
  } else if constexpr (n == 32) {
    STEPLESS_WGMMA_SHARED_OF(32, STEPLESS_NAMES_16, "%16,%17,%18,1,1,0,0", STEPLESS_D16(0));
  } else if constexpr (n == 64) {
    STEPLESS_WGMMA_SHARED_OF(64, STEPLESS_NAMES_32, "%32,%33,%34,1,1,0,0", STEPLESS_D32(0));
  } else {
    STEPLESS_WGMMA_SHARED_OF(128, STEPLESS_NAMES_64, "%64,%65,%66,1,1,0,0", STEPLESS_D64(0));
  }
}
#undef STEPLESS_WGMMA_SHARED_OF
#undef STEPLESS_WGMMA_SHARED
#undef STEPLESS_WGMMA_OF
#undef STEPLESS_WGMMA
#undef STEPLESS_D128
#undef STEPLESS_D64
#undef STEPLESS_D32
#undef STEPLESS_D24
#undef STEPLESS_D16
#undef STEPLESS_D8
#undef STEPLESS_D4
#undef STEPLESS_NAMES_128
#undef STEPLESS_NAMES_64
#undef STEPLESS_NAMES_32
#undef STEPLESS_NAMES_24
#undef STEPLESS_NAMES_16
#undef STEPLESS_NAMES_8
#undef STEPLESS_NAMES_4

/// What lane (g, t) makes of row g's step: 16 of its elements as operands; zeros from row m on.
static __device__ __forceinline__ void load_operands(const uint8_t* row, int step, int t,
                                                     uint32_t (&b)[8]) {
  uint4 p = make_uint4(0, 0, 0, 0), q = p;
  if (row != nullptr) {
    const uint8_t* const from = row + (step * sm80::kStepK + t * 16) * 2;
    p = sm80::load_input16(from), q = sm80::load_input16(from + 16);
  }
  sm80::permute_x(p, q, b);
}
static __device__ __forceinline__ void load_operands(const void* x, int64_t x_row_bytes, int row,
                                                     int m, int step, int t, uint32_t (&b)[8]) {
  const auto* const first = static_cast<const uint8_t*>(x);
  load_operands(row < m ? first + row * x_row_bytes : nullptr, step, t, b);
}

/// The descriptor of b, 16 of 64 k: a column has 128 bytes, its 16-byte chunk c at place c ^ column
/// % 8, and 8 columns have 1024, which is also how they are aligned. Four such b's begin 32 bytes
/// apart. (Without swizzle, columns of 16 bytes side by side, products take as long.)
static constexpr __device__ __forceinline__ uint64_t operand_at(uint32_t shared) {
  constexpr uint64_t kEightColumns = 1024 >> 4, kSwizzle128 = uint64_t{1} << 62;
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) | uint64_t{1} << 16 | kEightColumns << 32 |
         kSwizzle128;
}

/// The descriptor of b where 8 columns of 8 k lie together, 128 bytes, the next 8 k behind them,
/// and the next 8 columns `columns8` bytes further.
static __device__ __forceinline__ uint64_t operand_in_blocks(uint32_t shared, uint32_t columns8) {
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) | uint64_t{128 >> 4} << 16 |
         static_cast<uint64_t>(columns8 >> 4) << 32;
}

/// A unit's sums of x in 8 columns (UnitSums) as b of products by warpgroups: blocks of 8 k, where
/// lane (g, t) has word t of column g.
template <int kGroup>
struct SumBlock {
  static constexpr int kBytes = kGroup == 64 ? 512 : 256;
  /// Calls store(bytes, word) for all words of this lane, zeros included.
  template <class Sums, class Store>
  static __device__ __forceinline__ void each(const Sums& sums, Store store) {
#pragma unroll
    for (int i = 0; i < kBytes / 128; ++i)
      store(i * 128, i < sums.kWords ? sums.b[i < sums.kWords ? i : 0] : 0u);
  }
  /// The descriptor of the first product's b; the next ones' lie kApart further each. Scales of f16
  /// meet a block twice: what is "8 k further" is the same again.
  template <class Type>
  static __device__ __forceinline__ uint64_t operand(uint32_t shared) {
    const uint64_t next8 = uint64_t{128 >> 4} << 16;
    return operand_in_blocks(shared, kBytes) - (Type::kHalf ? next8 : 0);
  }
  template <class Type>
  static constexpr int kApart = (Type::kHalf ? 128 : 256) >> 4;
};

/// The descriptor of b where it is (k, n), n side by side: 64 columns have 128 bytes, chunk c of
/// row r at place c ^ r % 8; 8 rows have 1024, and columns from 64 on begin `columns64` bytes
/// further.
static constexpr __device__ __forceinline__ uint64_t operand_across(uint32_t shared,
                                                                    uint32_t columns64) {
  constexpr uint64_t kEightRows = 1024 >> 4, kSwizzle128 = uint64_t{1} << 62;
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) |
         static_cast<uint64_t>(columns64 >> 4) << 16 | kEightRows << 32 | kSwizzle128;
}

/// The descriptor of an operand that lies `bytes` behind another, of whose descriptor this is the
/// low word; the rest is as in `like`. One addition, where to mask and shift each address took four
/// instructions that wait for each other.
template <uint64_t like>
static __device__ __forceinline__ uint64_t operand_behind(uint32_t low, int bytes) {
  uint64_t operand;
  asm("mov.b64 %0,{%1,%2};"
      : "=l"(operand)
      : "r"(low + static_cast<uint32_t>(bytes) / 16), "n"(static_cast<uint32_t>(like >> 32)));
  return operand;
}

static __device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most `pending` of the groups committed are under way.
template <int pending = 0>
static __device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
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

/// What this thread wrote to shared memory by plain stores and copies is seen by products and bulk
/// copies.
static __device__ __forceinline__ void show_to_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
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
/// Arrives when `seen` is there, whatever it is: an arrival overtakes loads from shared memory that
/// nothing has waited for yet, while products keep that busy, and what it gives back may be
/// overwritten before they are done.
static __device__ __forceinline__ void arrive_after(uint32_t at, uint32_t seen) {
  asm volatile(
      "{\n.reg .pred is;\n"
      "setp.eq.b32 is,%1,0x7fbadbad;\n"
      "@is mbarrier.arrive.shared::cta.b64 _,[%0];\n"
      "@!is mbarrier.arrive.shared::cta.b64 _,[%0];\n}" ::"r"(at),
      "r"(seen)
      : "memory");
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
/// Whether a phase is over, or will be soon. What asks need not wait for the answer.
static __device__ __forceinline__ bool is_over(uint32_t at, uint32_t parity) {
  uint32_t over;
  asm volatile(
      "{\n.reg .pred done;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done,[%1],%2;\n"
      "selp.u32 %0,1,0,done;\n}"
      : "=r"(over)
      : "r"(at), "r"(parity)
      : "memory");
  return over != 0;
}
/// The barrier waits for `bytes` that copies bring; this arrives at it.
static __device__ __forceinline__ void expect_bytes(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
/// Copies `bytes` (a multiple of 16, as both addresses) that the barrier expects.
static __device__ __forceinline__ void copy_expected(uint32_t to, const void* from, uint32_t bytes,
                                                     uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(
          to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
/// Copies `bytes` and tells the barrier, which this arrives at.
static __device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes,
                                                 uint32_t barrier) {
  expect_bytes(barrier, bytes);
  copy_expected(to, from, bytes, barrier);
}
/// Arrives at the barrier, as one that it counts, when this thread's copies so far are done.
static __device__ __forceinline__ void arrive_after_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

/// Registers of a thread from here on, by whole warpgroups.
template <int count>
static __device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
static __device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

/// Both halves of the result are the 16 bits there.
static __device__ __forceinline__ uint32_t load_shared_twice(uint32_t from) {
  uint32_t v;
  asm volatile("{\n.reg .u16 half;\nld.shared.u16 half,[%1];\nmov.b32 %0,{half,half};\n}"
               : "=r"(v)
               : "r"(from));
  return v;
}
static __device__ __forceinline__ uint32_t mul_f16x2(uint32_t a, uint32_t b) {
  uint32_t v;
  asm("mul.rn.f16x2 %0,%1,%2;" : "=r"(v) : "r"(a), "r"(b));
  return v;
}
/// What a * b, rounded to `product`, has lost: exactly.
static __device__ __forceinline__ uint32_t lost_f16x2(uint32_t a, uint32_t b, uint32_t product) {
  uint32_t v;
  asm("{\n.reg .b32 less;\nneg.f16x2 less,%3;\nfma.rn.f16x2 %0,%1,%2,less;\n}"
      : "=r"(v)
      : "r"(a), "r"(b), "r"(product));
  return v;
}
/// Four 8 x 8 matrices of 16 bits, each transposed: lane l gives the place of column l % 8 of
/// matrix l / 8, whose 8 elements go there; it holds row l / 4, columns 2 (l % 4), + 1.
static __device__ __forceinline__ void store_transposed(uint32_t to, uint32_t a, uint32_t b,
                                                        uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0],{%1,%2,%3,%4};" ::"r"(to),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

static __device__ __forceinline__ void store_release(unsigned* to, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0],%1;" ::"l"(to), "r"(value) : "memory");
}
static __device__ __forceinline__ unsigned load_acquire(const unsigned* from) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0,[%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

}  // namespace stepless::kernels::sm90
