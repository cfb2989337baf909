// The asm statement of few.hpp: two to four rows of weights in step, decoded into registers, times
// one to ten rows of x. gcc 12 keeps some of the sums in memory, 5 to 20 % slower. Static only:
// nothing here is exported.
#pragma once
#include <stddef.h>

#include "kernels/cpu/avx512/decode.hpp"

namespace stepless::kernels {

/// How weights are packed; folded as in decode_e4m3().
enum class Form { nibbles, e4m3, e4m3_folded };

/// Rows of weights in step: as many as leave their sums in registers.
template <int kM>
static constexpr int kInStep = kM <= 4   ? 4
                               : kM <= 7 ? 3
                                         : 2;

/// What the statement reads and writes.
struct Step {
  alignas(64) float values[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  alignas(64) int32_t shifts[16] = {0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4};
  alignas(64) uint16_t halves[4][64];  // 64 weights of each row as float16
  uint32_t sign_and_exponent = 0xBF80BF80;
  float two_to_8 = 256;
  const uint8_t* const* rows;
  const ChunkScales* scales;  // of each row
  const float* x;             // of the first 64 weights
  float* sums;                // sixteen for each row of weights and row of x
  int64_t from, to;           // bytes of the rows
  int64_t ahead;              // from these to what is asked for
  int64_t per_scale;          // log2 of the bytes that share a scale
};

#define STEPLESS_NO_STEP_MACROS \
  ".purgem step_nibbles\n"      \
  ".purgem step_half\n"         \
  ".purgem step_e4m3\n"         \
  ".purgem step_start\n"        \
  ".purgem step_value\n"        \
  ".purgem step_shift\n"        \
  ".purgem step_load\n"         \
  ".purgem step_product\n"      \
  ".purgem step_sixteen\n"

/// rdi: all; r8 to r11: the rows, rax: where in them, rbx: what is asked for; rsi: x; rdx: scales.
/// Sums are the first registers; then, for each row of weights, sixteen of them, codes and what
/// codes mean; then x.
template <Form kForm, int kM>
__attribute__((noinline)) static void multiply_step(Step& all) {
  constexpr int kN = kInStep<kM>, kLeft = kM * kN, kCodes = kLeft + kN, kTables = kCodes + kN;
  constexpr int kX = kForm == Form::nibbles ? kTables + kN : kCodes;
  constexpr int kXs = 32 - kX < kM ? 32 - kX : kM;
  static_assert(kXs > 0);
  asm volatile(
      R"(
  .altmacro
  .macro step_nibbles row, left, codes, table, scales
    vbroadcasti64x4 (%%\row,%%rax), %%zmm\codes
    vbroadcastss %c[bias]+\scales(%%rdx), %%zmm\left
    vbroadcastss \scales(%%rdx), %%zmm\table
    vpsrlvd %c[shifts](%%rdi), %%zmm\codes, %%zmm\codes
    vfmadd132ps %c[values](%%rdi), %%zmm\left, %%zmm\table
  .endm
  .macro step_half row, offset, left, to
    vpmovsxbw \offset(%%\row,%%rax), %%zmm\left
    vpsllw $7, %%zmm\left, %%zmm\left
    vpandd %c[sign_and_exponent](%%rdi)%{1to16%}, %%zmm\left, %%zmm\left
    vmovdqa64 %%zmm\left, \to(%%rdi)
  .endm
  .macro step_e4m3 row, left, to
    step_half \row, 0, \left, \to
    step_half \row, 32, \left, \to+64
  .endm
  .macro step_start row, index
    prefetcht1 (%%\row,%%rbx)
    .set .Lleft, %c[left]+\index
    .if %c[nibbles]
      .set .Lcodes, %c[codes]+\index
      .set .Ltable, %c[tables]+\index
      step_nibbles \row, %%(.Lleft), %%(.Lcodes), %%(.Ltable), %%(%c[each]*\index)
    .else
      step_e4m3 \row, %%(.Lleft), %%(%c[halves]+128*\index)
    .endif
  .endm
  .macro step_value left, codes, table, half, scale
    .if %c[nibbles]
      vpermps %%zmm\table, %%zmm\codes, %%zmm\left
    .else
      vcvtph2ps \half(%%rdi), %%zmm\left
      .if %c[folded] == 0
        vmulps %c[two_to_8](%%rdi)%{1to16%}, %%zmm\left, %%zmm\left
      .endif
      vmulps \scale(%%rdx)%{1to16%}, %%zmm\left, %%zmm\left
    .endif
  .endm
  .macro step_shift codes
    vpsrld $8, %%zmm\codes, %%zmm\codes
  .endm
  .macro step_load offset, x
    vmovaps \offset(%%rsi), %%zmm\x
  .endm
  .macro step_product x, left, sum
    vfmadd231ps %%zmm\x, %%zmm\left, %%zmm\sum
  .endm
  .macro step_sixteen t
    .set .Lrow, 0
    .rept %c[n]
      .set .Lleft, %c[left]+.Lrow
      .set .Lcodes, %c[codes]+.Lrow
      .set .Ltable, %c[tables]+.Lrow
      .set .Lhalf, %c[halves]+128*.Lrow+32*\t
      .set .Lscale, %c[each]*.Lrow+4*(\t/2)
      step_value %%(.Lleft), %%(.Lcodes), %%(.Ltable), %%(.Lhalf), %%(.Lscale)
      .if %c[nibbles] && \t < 3
        step_shift %%(.Lcodes)
      .endif
      .set .Lrow, .Lrow+1
    .endr
    .set .Li, 0
    .rept %c[m]
      .set .Lat, \t*%c[m]+.Li
      .set .Lx, %c[x]+.Lat%%%c[xs]
      step_load %%(64*.Lat), %%(.Lx)
      .set .Lrow, 0
      .rept %c[n]
        step_product %%(.Lx), %%(%c[left]+.Lrow), %%(.Lrow*%c[m]+.Li)
        .set .Lrow, .Lrow+1
      .endr
      .set .Li, .Li+1
    .endr
  .endm

  movq %c[rows](%%rdi), %%rdx
  movq (%%rdx), %%r8
  movq 8(%%rdx), %%r9
  .if %c[n] > 2
  movq 16(%%rdx), %%r10
  .endif
  .if %c[n] > 3
  movq 24(%%rdx), %%r11
  .endif
  movq %c[from](%%rdi), %%rax
  movq %c[per_scale](%%rdi), %%rcx
  movq %c[x_at](%%rdi), %%rsi
  movq %c[sums](%%rdi), %%rdx
  .irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23
  .if \i < %c[left]
  vmovaps 64*\i(%%rdx), %%zmm\i
  .endif
  .endr
1:
  movq %%rax, %%rdx
  movq %c[ahead](%%rdi), %%rbx
  shrq %%cl, %%rdx
  addq %%rax, %%rbx
  shlq $2, %%rdx
  addq %c[scales](%%rdi), %%rdx
  step_start r8, 0
  step_start r9, 1
  .if %c[n] > 2
  step_start r10, 2
  .endif
  .if %c[n] > 3
  step_start r11, 3
  .endif
  step_sixteen 0
  step_sixteen 1
  step_sixteen 2
  step_sixteen 3
  addq $256*%c[m], %%rsi
  addq $64/(1+%c[nibbles]), %%rax
  cmpq %c[to](%%rdi), %%rax
  jl 1b
  movq %c[sums](%%rdi), %%rdx
  .irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23
  .if \i < %c[left]
  vmovaps %%zmm\i, 64*\i(%%rdx)
  .endif
  .endr
  .noaltmacro
)" STEPLESS_NO_STEP_MACROS
      :
      : "D"(&all), [m] "i"(kM), [n] "i"(kN), [nibbles] "i"(kForm == Form::nibbles ? 1 : 0),
        [folded] "i"(kForm == Form::e4m3_folded ? 1 : 0), [left] "i"(kLeft), [codes] "i"(kCodes),
        [tables] "i"(kTables), [x] "i"(kX), [xs] "i"(kXs), [each] "i"(sizeof(ChunkScales)),
        [bias] "i"(offsetof(ChunkScales, bias)), [values] "i"(offsetof(Step, values)),
        [shifts] "i"(offsetof(Step, shifts)), [halves] "i"(offsetof(Step, halves)),
        [sign_and_exponent] "i"(offsetof(Step, sign_and_exponent)),
        [two_to_8] "i"(offsetof(Step, two_to_8)), [rows] "i"(offsetof(Step, rows)),
        [scales] "i"(offsetof(Step, scales)), [x_at] "i"(offsetof(Step, x)),
        [sums] "i"(offsetof(Step, sums)), [from] "i"(offsetof(Step, from)),
        [to] "i"(offsetof(Step, to)), [ahead] "i"(offsetof(Step, ahead)),
        [per_scale] "i"(offsetof(Step, per_scale))
      : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0", "xmm1",
        "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
        "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}

}  // namespace stepless::kernels
