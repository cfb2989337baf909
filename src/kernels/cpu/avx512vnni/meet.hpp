// Rows of x and a panel's codes, a group in one asm statement for the reason that woven.hpp has.
// Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/row_macros.hpp"

namespace stepless::kernels {

/// A group of kM rows of x, in two planes, and of sixteen rows of affine weights.
struct Meeting {
  const uint8_t* codes;  // as in a panel
  const float *scales, *biases;
  Part x;
  float* acc;  // a row's kStrip every kStep floats
};

struct MeetConstants {
  int32_t magic = kMagicBits;
  float byte = 256, offset = -257 * kMagic;
};
static constexpr MeetConstants kMeetConstants;

/// `units` units into the accumulators. (Two strips and one plane at a time, where a dword of x is
/// loaded once for both: 3 to 4 % slower.)
template <int kM, int kStep>
__attribute__((always_inline)) static inline void meet(const Meeting& at, int64_t units) {
  const uint8_t *x = at.x.planes, *codes = at.codes;
  asm volatile(STEPLESS_ROW_MACROS R"(
  .macro meet_start row, high, low, a, b, c, d, e
  .if \row < %c[rows]
    vpbroadcastd (%[constants]), %%zmm\high
    vpbroadcastd (%[constants]), %%zmm\low
  .endif
  .endm
  .macro meet_dword dword, through
    vmovdqa64 64*\dword(%[codes]), %%zmm\through
    each_row products, \dword, \through
  .endm
  .macro meet_end row, high, low, a, b, c, d, e
  .if \row < %c[rows]
    vfmadd132ps 4(%[constants])%{1to16%}, %%zmm24, %%zmm\high
    vmulps 4*\row(%[x_scales])%{1to16%}, %%zmm25, %%zmm27
    vmovaps %c[step]*\row(%[acc]), %%zmm28
    vaddps %%zmm\low, %%zmm\high, %%zmm\high
    vfmadd231ps 4*\row(%[x_sums])%{1to16%}, %%zmm26, %%zmm28
    vfmadd231ps %%zmm27, %%zmm\high, %%zmm28
    vmovaps %%zmm28, %c[step]*\row(%[acc])
  .endif
  .endm

  each_row meet_start
1:
  meet_dword 0, 24
  meet_dword 1, 25
  meet_dword 2, 26
  meet_dword 3, 27
  meet_dword 4, 28
  meet_dword 5, 29
  meet_dword 6, 30
  meet_dword 7, 31
  addq $512, %[codes]
  addq $64*%c[rows], %%rsi
  decq %[units]
  jnz 1b
  vbroadcastss 8(%[constants]), %%zmm24
  vmovaps (%[scales]), %%zmm25
  vmovaps (%[biases]), %%zmm26
  each_row meet_end
  .purgem meet_start
  .purgem meet_dword
  .purgem meet_end
)" STEPLESS_NO_ROW_MACROS
               : "+&S"(x), [codes] "+&r"(codes), [units] "+&r"(units)
               : [rows] "i"(kM), [step] "i"(4 * kStep), [constants] "r"(&kMeetConstants),
                 [scales] "r"(at.scales), [biases] "r"(at.biases), [x_scales] "r"(at.x.scales),
                 [x_sums] "r"(at.x.sums), [acc] "r"(at.acc)
               : "memory", "cc", STEPLESS_ALL_VECTORS);
}

}  // namespace stepless::kernels
