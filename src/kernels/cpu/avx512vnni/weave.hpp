// The asm statement of woven.hpp: up to eight groups of up to twelve rows of x times a strip of
// affine codes that are fields of a byte's halves, quarters or bits. Static only: nothing here is
// exported.
#pragma once
#include <stddef.h>

#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/row_macros.hpp"

namespace stepless::kernels {

/// What the statement reads and writes.
struct Weave {
  static constexpr int64_t kRun = 8;    // groups
  static constexpr int64_t kAhead = 3;  // units; copies must have left the store buffer
  alignas(64) float scales[kRun][kStrip];
  alignas(64) float biases[kRun][kStrip];
  alignas(64) float acc[kMostRows][kStrip];
  Queue<16> queue;
  // Of x: planes, and the scales and sums of groups.
  const uint8_t* planes;
  const float *x_scales, *x_sums;
  // Of the strip: where four rows lie, and how far apart three more are.
  const uint8_t* base[4];
  int64_t steps[3];
  const uint8_t* asked[4];  // a line of each quarter
  int64_t at, last;         // byte of the rows: of this unit, of the last
  int64_t after;            // from the byte behind these rows to the first of those read next
  int64_t place;            // of this unit in the queue
  int64_t groups, turns;    // groups to do; turns of the inner loop in each
  int32_t magic = kMagicBits, mask;
  float byte = 256, offset = -257 * kMagic;
};

#define STEPLESS_NO_WEAVE_MACROS    \
  ".purgem each_halved\n"           \
  ".purgem weave_start\n"           \
  ".purgem weave_start_second\n"    \
  ".purgem weave_join_second\n"     \
  ".purgem weave_second_products\n" \
  ".purgem weave_second\n"          \
  ".purgem weave_start_group\n"     \
  ".purgem weave_end\n"             \
  ".purgem weave_end_group\n"       \
  ".purgem weave_copies\n"          \
  ".purgem weave_ask\n"             \
  ".purgem weave_queue\n"           \
  ".purgem weave_turn\n"            \
  ".purgem weave_field\n"           \
  ".purgem weave_pair\n"            \
  ".purgem weave_next_unit\n"       \
  ".purgem weave_next_planes\n"     \
  ".purgem weave_nibbles\n"         \
  ".purgem weave_fours\n"           \
  ".purgem weave_quarter\n"         \
  ".purgem weave_twos\n"            \
  ".purgem weave_bits\n"            \
  ".purgem weave_ones\n"

/// A run of 64 elements is what groups are made of here. It takes two units of four bits, one of
/// two bits, half a unit of one bit.
static constexpr int64_t kWeaveRun = 64;

/// A product takes five cycles and two begin in one, so that few rows keep second sums for every
/// other dword of x. (At four rows they take 2 % less time in 4 bits and 2 % more in 2.)
template <int kBits>
static constexpr int kMostHalved = kBits == 4 ? 4 : 3;

/// `all.groups` groups of kM rows. rdi: all; rsi: planes of x, r8 and r9: scales and sums of its
/// groups; r12: scales of the weights; rbx, rcx, r15: from the first of four rows of weights to the
/// others; r14: the unit's byte in a row, r10: its place in the queue. What other ports do, copies
/// and asking, is spread between products, 1 % faster than ahead of them. Codes are zmm24 to 31. Up
/// to eight rows leave room for the codes of the unit after, of which four bits have few enough:
/// they are made beside the products of this one. kSplit: one bit in groups of one run, two to a
/// unit. (Rows of one or two bits straight from memory by VINSERTI32X4: 15 % slower at m = 1.)
template <int kBits, bool kSplit, int kM>
__attribute__((noinline)) static void weave(Weave& all) {
  asm volatile(STEPLESS_ROW_MACROS R"(
  .macro each_halved what, a=0, b=0
  .if %c[halved] && %c[rows] == 1
    \what 0, 0, 12, 1, 13, \a, \b
  .elseif %c[halved] && %c[rows] == 2
    \what 0, 0, 12, 2, 14, \a, \b
    \what 1, 1, 13, 3, 15, \a, \b
  .elseif %c[halved] && %c[rows] == 3
    \what 0, 0, 12, 3, 15, \a, \b
    \what 1, 1, 13, 4, 16, \a, \b
    \what 2, 2, 14, 5, 17, \a, \b
  .elseif %c[halved]
    \what 0, 0, 12, 4, 16, \a, \b
    \what 1, 1, 13, 5, 17, \a, \b
    \what 2, 2, 14, 6, 18, \a, \b
    \what 3, 3, 15, 7, 19, \a, \b
  .endif
  .endm
  .macro weave_start row, high, low, a, b, c, d, e
  .if \row < %c[rows]
    vpbroadcastd %c[magic](%%rdi), %%zmm\high
    vpbroadcastd %c[magic](%%rdi), %%zmm\low
  .endif
  .endm
  .macro weave_start_second row, high, low, other_high, other_low, a, b
    vpxord %%xmm\other_high, %%xmm\other_high, %%xmm\other_high
    vpxord %%xmm\other_low, %%xmm\other_low, %%xmm\other_low
  .endm
  .macro weave_join_second row, high, low, other_high, other_low, a, b
    vpaddd %%zmm\other_high, %%zmm\high, %%zmm\high
    vpaddd %%zmm\other_low, %%zmm\low, %%zmm\low
  .endm
  .macro weave_second_products row, high, low, other_high, other_low, dword, codes
    products \row, \other_high, \other_low, \dword, \codes
  .endm
  .macro weave_second dword, codes
  .if %c[halved]
    each_halved weave_second_products, \dword, \codes
  .else
    each_row products, \dword, \codes
  .endif
  .endm
  .macro weave_start_group
    each_row weave_start
    each_halved weave_start_second
  .endm
  .macro weave_end row, high, low, offset, scale, bias, both, sum
  .if \row < %c[rows]
    vfmadd132ps %c[byte](%%rdi)%{1to16%}, %%zmm\offset, %%zmm\high
    vmulps 4*\row(%%r8)%{1to16%}, %%zmm\scale, %%zmm\both
    vmovaps %c[acc]+64*\row(%%rdi), %%zmm\sum
    vaddps %%zmm\low, %%zmm\high, %%zmm\high
    vfmadd231ps 4*\row(%%r9)%{1to16%}, %%zmm\bias, %%zmm\sum
    vfmadd231ps %%zmm\both, %%zmm\high, %%zmm\sum
    vmovaps %%zmm\sum, %c[acc]+64*\row(%%rdi)
  .endif
  .endm
  .macro weave_end_group offset, scale, bias, both, sum
    each_halved weave_join_second
    vbroadcastss %c[offset](%%rdi), %%zmm\offset
    vmovaps %c[scales](%%r12), %%zmm\scale
    vmovaps %c[biases](%%r12), %%zmm\bias
    each_row weave_end, \offset, \scale, \bias, \both, \sum
    addq $4*%c[rows], %%r8
    addq $4*%c[rows], %%r9
    addq $64, %%r12
    decq %c[groups](%%rdi)
  .endm
  .macro weave_copies quarter, through
    movq %c[base]+8*\quarter(%%rdi), %%rdx
    addq %%rax, %%rdx
    vmovdqu64 (%%rdx), %%xmm\through
    vmovdqa64 %%xmm\through, %c[places]+16*\quarter(%%r11)
    vmovdqu64 (%%rdx,%%rbx), %%xmm\through
    vmovdqa64 %%xmm\through, %c[places]+16*\quarter+64(%%r11)
    vmovdqu64 (%%rdx,%%rcx), %%xmm\through
    vmovdqa64 %%xmm\through, %c[places]+16*\quarter+128(%%r11)
    vmovdqu64 (%%rdx,%%r15), %%xmm\through
    vmovdqa64 %%xmm\through, %c[places]+16*\quarter+192(%%r11)
  .endm
  .macro weave_ask quarter
    movq %c[asked]+8*\quarter(%%rdi), %%rdx
    prefetcht1 (%%rdx,%%r14,4)
  .endm
  .macro weave_queue
    leaq 16*%c[ahead](%%r14), %%rax
    movq %c[after](%%rdi), %%rdx
    addq %%rax, %%rdx
    cmpq %c[last](%%rdi), %%rax
    cmovgq %%rdx, %%rax
    leaq 256*%c[ahead](%%r10), %%r11
    andq $0x3ff, %%r11
    addq %%rdi, %%r11
  .endm
  .macro weave_turn units, a, b, c, d, e, f, g, h
    leaq 256*\units(%%r10), %%rdx
    andq $0x3ff, %%rdx
    addq %%rdi, %%rdx
    vmovdqa64 %c[places](%%rdx), %%zmm\a
    vmovdqa64 %c[places]+64(%%rdx), %%zmm\b
    vmovdqa64 %c[places]+128(%%rdx), %%zmm\c
    vmovdqa64 %c[places]+192(%%rdx), %%zmm\d
    vpunpckldq %%zmm\b, %%zmm\a, %%zmm\e
    vpunpckhdq %%zmm\b, %%zmm\a, %%zmm\f
    vpunpckldq %%zmm\d, %%zmm\c, %%zmm\g
    vpunpckhdq %%zmm\d, %%zmm\c, %%zmm\h
    vpunpcklqdq %%zmm\g, %%zmm\e, %%zmm\a
    vpunpckhqdq %%zmm\g, %%zmm\e, %%zmm\b
    vpunpcklqdq %%zmm\h, %%zmm\f, %%zmm\c
    vpunpckhqdq %%zmm\h, %%zmm\f, %%zmm\d
  .endm
  .macro weave_field shift, from, codes
  .if \shift == 0
    vpandd %c[mask](%%rdi)%{1to16%}, %%zmm\from, %%zmm\codes
  .else
    vpsrld $\shift, %%zmm\from, %%zmm\codes
    vpandd %c[mask](%%rdi)%{1to16%}, %%zmm\codes, %%zmm\codes
  .endif
  .endm
  .macro weave_pair quarter, dword, codes, next, more, through
    each_row products, \dword, \codes
    weave_copies \quarter, \through
    weave_ask \quarter
    weave_second \next, \more
  .endm
  .macro weave_next_unit
    addq $16, %%r14
    addq $256, %%r10
    andq $0x3ff, %%r10
  .endm
  .macro weave_next_planes
    addq $64*%c[rows], %%rsi
  .endm

  .macro weave_nibbles units, a, b, c, d, e, f, g, h
    weave_turn \units, \a, \c, \e, \g, \b, \d, \f, \h
    weave_field 4, \a, \b
    weave_field 0, \a, \a
    weave_field 4, \c, \d
    weave_field 0, \c, \c
    weave_field 4, \e, \f
    weave_field 0, \e, \e
    weave_field 4, \g, \h
    weave_field 0, \g, \g
  .endm
  .macro weave_fours a, b, c, d, e, f, g, h
    weave_queue
    weave_pair 0, 0, \a, 1, \b, \a
    weave_pair 1, 2, \c, 3, \d, \a
    weave_pair 2, 4, \e, 5, \f, \a
    weave_pair 3, 6, \g, 7, \h, \a
    weave_next_planes
    weave_next_unit
  .endm

  .macro weave_quarter quarter, dword, from
    weave_field 0, \from, 28
    weave_field 2, \from, 29
    weave_pair \quarter, \dword, 28, \dword+1, 29, 28
    weave_field 4, \from, 30
    weave_field 6, \from, 31
    each_row products, \dword+2, 30
    weave_second \dword+3, 31
  .endm
  .macro weave_twos
    weave_queue
    weave_turn 0, 24, 25, 26, 27, 28, 29, 30, 31
    weave_quarter 0, 0, 24
    weave_quarter 1, 4, 25
    weave_next_planes
    weave_quarter 2, 0, 26
    weave_quarter 3, 4, 27
    weave_next_planes
    weave_next_unit
  .endm

  .macro weave_bits quarter, from
    weave_field 0, \from, 28
    weave_field 1, \from, 29
    weave_pair \quarter, 0, 28, 1, 29, 28
    weave_field 2, \from, 30
    weave_field 3, \from, 31
    each_row products, 2, 30
    weave_second 3, 31
    weave_field 4, \from, 28
    weave_field 5, \from, 29
    each_row products, 4, 28
    weave_second 5, 29
    weave_field 6, \from, 30
    weave_field 7, \from, 31
    each_row products, 6, 30
    weave_second 7, 31
    weave_next_planes
  .endm
  .macro weave_ones
    weave_queue
    weave_turn 0, 24, 25, 26, 27, 28, 29, 30, 31
    weave_bits 0, 24
    weave_bits 1, 25
  .if %c[split]
    weave_end_group 24, 25, 28, 29, 30
    weave_start_group
  .endif
    weave_bits 2, 26
    weave_bits 3, 27
    weave_next_unit
  .endm

  movq %c[planes](%%rdi), %%rsi
  movq %c[x_scales](%%rdi), %%r8
  movq %c[x_sums](%%rdi), %%r9
  movq %c[steps](%%rdi), %%rbx
  movq %c[steps]+8(%%rdi), %%rcx
  movq %c[steps]+16(%%rdi), %%r15
  movq %c[at](%%rdi), %%r14
  movq %c[place](%%rdi), %%r10
  movq %%rdi, %%r12
  .if %c[bits] == 4 && %c[rows] <= 8
  weave_nibbles 0, 24, 25, 26, 27, 28, 29, 30, 31
  .endif
1:
  weave_start_group
  movq %c[turns](%%rdi), %%r13
2:
  .if %c[bits] == 1
  weave_ones
  .elseif %c[bits] == 2
  weave_twos
  .elseif %c[rows] <= 8
  weave_nibbles 1, 8, 9, 10, 11, 20, 21, 22, 23
  weave_fours 24, 25, 26, 27, 28, 29, 30, 31
  weave_nibbles 1, 24, 25, 26, 27, 28, 29, 30, 31
  weave_fours 8, 9, 10, 11, 20, 21, 22, 23
  .else
  .rept 2
  weave_nibbles 0, 24, 25, 26, 27, 28, 29, 30, 31
  weave_fours 24, 25, 26, 27, 28, 29, 30, 31
  .endr
  .endif
  decq %%r13
  jnz 2b
  .if %c[bits] == 4 && %c[rows] <= 8
  weave_end_group 8, 9, 10, 11, 20
  .else
  weave_end_group 24, 25, 28, 29, 30
  .endif
  jnz 1b

  movq %%rsi, %c[planes](%%rdi)
  movq %%r8, %c[x_scales](%%rdi)
  movq %%r9, %c[x_sums](%%rdi)
  movq %%r14, %c[at](%%rdi)
  movq %%r10, %c[place](%%rdi)
)" STEPLESS_NO_WEAVE_MACROS STEPLESS_NO_ROW_MACROS
               :
               : "D"(&all), [rows] "i"(kM), [bits] "i"(kBits), [split] "i"(kSplit ? 1 : 0),
                 [halved] "i"(kM <= kMostHalved<kBits> ? 1 : 0), [ahead] "i"(Weave::kAhead),
                 [scales] "i"(offsetof(Weave, scales)), [biases] "i"(offsetof(Weave, biases)),
                 [acc] "i"(offsetof(Weave, acc)), [places] "i"(offsetof(Weave, queue)),
                 [planes] "i"(offsetof(Weave, planes)), [x_scales] "i"(offsetof(Weave, x_scales)),
                 [x_sums] "i"(offsetof(Weave, x_sums)), [base] "i"(offsetof(Weave, base)),
                 [steps] "i"(offsetof(Weave, steps)), [asked] "i"(offsetof(Weave, asked)),
                 [at] "i"(offsetof(Weave, at)), [last] "i"(offsetof(Weave, last)),
                 [after] "i"(offsetof(Weave, after)), [place] "i"(offsetof(Weave, place)),
                 [groups] "i"(offsetof(Weave, groups)), [turns] "i"(offsetof(Weave, turns)),
                 [magic] "i"(offsetof(Weave, magic)), [mask] "i"(offsetof(Weave, mask)),
                 [byte] "i"(offsetof(Weave, byte)), [offset] "i"(offsetof(Weave, offset))
               : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12",
                 "r13", "r14", "r15", STEPLESS_ALL_VECTORS);
}

}  // namespace stepless::kernels
