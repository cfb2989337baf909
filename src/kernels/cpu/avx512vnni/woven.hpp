// Up to two dozen rows of x times affine 4-bit codes, as fused.hpp, eight groups in one asm
// statement: gcc 12 moves sums from register to register and back, some 45 times a unit of eight
// rows, and not all of that is free. Static only: nothing here is exported.
#pragma once
#include <stddef.h>

#include "kernels/cpu/avx512vnni/fused.hpp"
#include "kernels/cpu/avx512vnni/row_macros.hpp"

namespace stepless::kernels {

/// Rows of x: one keeps halves of its sums apart and takes as long, more meet panels, which are
/// decoded once for all.
static constexpr int64_t kLeastWoven = 2, kMostWoven = 2 * kMostRows;

/// Units of a group are even, and no strip is so short that copies ahead pass it by.
static inline bool is_woven(const MatmulArgs& args) {
  return args.m >= kLeastWoven && args.m <= kMostWoven && args.group_size > kUnit &&
         args.k > 2 * kUnit;
}

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
  const uint8_t* asked;  // a line of each quarter
  int64_t quarter;
  int64_t at, last;       // byte of the rows: of this unit, of the last
  int64_t after;          // from the byte behind these rows to the first of those read next
  int64_t place;          // of this unit in the queue
  int64_t groups, pairs;  // groups to do; pairs of units in each
  int32_t magic = kMagicBits, mask = 0x0F0F0F0F;
  float byte = 256, offset = -257 * kMagic;
};

/// `all.groups` groups of kM rows. rdi: all; rsi: planes of x, r8 and r9: scales and sums of its
/// groups; r12: scales of the weights; rbx, rcx, r15: from the first of four rows of weights to the
/// others; r14: the unit's byte in a row, r10: its place in the queue. What other ports do, copies
/// and asking, is spread between products, 1 % faster than ahead of them. Codes are zmm24 to 31. Up
/// to eight rows leave room for the codes of the unit after, which are made beside the products of
/// this one.
template <int kM>
__attribute__((noinline)) static void weave(Weave& all) {
  asm volatile(STEPLESS_ROW_MACROS R"(
  .macro weave_start row, high, low, a, b, c, d, e
  .if \row < %c[rows]
    vpbroadcastd %c[magic](%%rdi), %%zmm\high
    vpbroadcastd %c[magic](%%rdi), %%zmm\low
  .endif
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
    vbroadcastss %c[offset](%%rdi), %%zmm\offset
    vmovaps %c[scales](%%r12), %%zmm\scale
    vmovaps %c[biases](%%r12), %%zmm\bias
    each_row weave_end, \offset, \scale, \bias, \both, \sum
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
  .macro weave_masks low, high
    vpsrld $4, %%zmm\low, %%zmm\high
    vpandd %c[mask](%%rdi)%{1to16%}, %%zmm\low, %%zmm\low
    vpandd %c[mask](%%rdi)%{1to16%}, %%zmm\high, %%zmm\high
  .endm
  .macro weave_codes units, a, b, c, d, e, f, g, h
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
    vpunpckhqdq %%zmm\g, %%zmm\e, %%zmm\c
    vpunpcklqdq %%zmm\h, %%zmm\f, %%zmm\e
    vpunpckhqdq %%zmm\h, %%zmm\f, %%zmm\g
    weave_masks \a, \b
    weave_masks \c, \d
    weave_masks \e, \f
    weave_masks \g, \h
  .endm
  .macro weave_ask quarter
    imulq $\quarter, %c[quarter](%%rdi), %%rdx
    addq %c[asked](%%rdi), %%rdx
    prefetcht1 (%%rdx,%%r14,4)
  .endm
  .macro weave_pair quarter, dword, codes, next, more, through
    each_row products, \dword, \codes
    weave_copies \quarter, \through
    weave_ask \quarter
    each_row products, \next, \more
  .endm
  .macro weave_unit a, b, c, d, e, f, g, h
    weave_queue
    weave_pair 0, 0, \a, 1, \b, \a
    weave_pair 1, 2, \c, 3, \d, \a
    weave_pair 2, 4, \e, 5, \f, \a
    weave_pair 3, 6, \g, 7, \h, \a
    addq $64*%c[rows], %%rsi
    addq $16, %%r14
    addq $256, %%r10
    andq $0x3ff, %%r10
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
  .if %c[rows] <= 8
  weave_codes 0, 24, 25, 26, 27, 28, 29, 30, 31
  .endif
1:
  each_row weave_start
  movq %c[pairs](%%rdi), %%r13
2:
  .if %c[rows] <= 8
  weave_codes 1, 8, 9, 10, 11, 20, 21, 22, 23
  weave_unit 24, 25, 26, 27, 28, 29, 30, 31
  weave_codes 1, 24, 25, 26, 27, 28, 29, 30, 31
  weave_unit 8, 9, 10, 11, 20, 21, 22, 23
  .else
  .rept 2
  weave_codes 0, 24, 25, 26, 27, 28, 29, 30, 31
  weave_unit 24, 25, 26, 27, 28, 29, 30, 31
  .endr
  .endif
  decq %%r13
  jnz 2b
  .if %c[rows] <= 8
  weave_end_group 8, 9, 10, 11, 20
  .else
  weave_end_group 24, 25, 26, 27, 28
  .endif
  addq $4*%c[rows], %%r8
  addq $4*%c[rows], %%r9
  addq $64, %%r12
  decq %c[groups](%%rdi)
  jnz 1b

  movq %%rsi, %c[planes](%%rdi)
  movq %%r8, %c[x_scales](%%rdi)
  movq %%r9, %c[x_sums](%%rdi)
  movq %%r14, %c[at](%%rdi)
  movq %%r10, %c[place](%%rdi)
  .purgem weave_start
  .purgem weave_end
  .purgem weave_end_group
  .purgem weave_copies
  .purgem weave_queue
  .purgem weave_masks
  .purgem weave_codes
  .purgem weave_unit
  .purgem weave_pair
  .purgem weave_ask
)" STEPLESS_NO_ROW_MACROS
               :
               : "D"(&all), [rows] "i"(kM), [ahead] "i"(Weave::kAhead),
                 [scales] "i"(offsetof(Weave, scales)), [biases] "i"(offsetof(Weave, biases)),
                 [acc] "i"(offsetof(Weave, acc)), [places] "i"(offsetof(Weave, queue)),
                 [planes] "i"(offsetof(Weave, planes)), [x_scales] "i"(offsetof(Weave, x_scales)),
                 [x_sums] "i"(offsetof(Weave, x_sums)), [base] "i"(offsetof(Weave, base)),
                 [steps] "i"(offsetof(Weave, steps)), [asked] "i"(offsetof(Weave, asked)),
                 [quarter] "i"(offsetof(Weave, quarter)), [at] "i"(offsetof(Weave, at)),
                 [last] "i"(offsetof(Weave, last)), [after] "i"(offsetof(Weave, after)),
                 [place] "i"(offsetof(Weave, place)), [groups] "i"(offsetof(Weave, groups)),
                 [pairs] "i"(offsetof(Weave, pairs)), [magic] "i"(offsetof(Weave, magic)),
                 [mask] "i"(offsetof(Weave, mask)), [byte] "i"(offsetof(Weave, byte)),
                 [offset] "i"(offsetof(Weave, offset))
               : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12",
                 "r13", "r14", "r15", STEPLESS_ALL_VECTORS);
}

/// A block of x and what multiplies it.
struct WovenBlock {
  Block block;
  Part x;
  void (*weave)(Weave&);
};

template <class F>
static inline WovenBlock woven_block(const MatmulArgs& args, int64_t index) {
  static constexpr void (*kByRows[])(Weave&) = {weave<2>,  weave<3>,  weave<4>, weave<5>,
                                                weave<6>,  weave<7>,  weave<8>, weave<9>,
                                                weave<10>, weave<11>, weave<12>};
  const Block block = block_at(args, index);
  return {block, part_at<F>(args, block, 0), kByRows[block.rows - kLeastWoven]};
}

/// A strip's scales and biases, and what is asked for beside them.
struct WeightScales {
  Rows scales, biases;
  const uint8_t* asked[2];
};

/// Sums of a block of x times a strip.
template <class F>
static inline void weave_block(const MatmulArgs& args, const WovenBlock& with, int64_t groups,
                               const WeightScales& from, Weave& all) {
  all.planes = with.x.planes, all.x_scales = with.x.scales, all.x_sums = with.x.sums;
  all.at = 0;
  for (int64_t i = 0; i < with.block.rows; ++i) _mm512_store_ps(all.acc[i], _mm512_setzero_ps());
  const uint8_t *scales = from.asked[0], *biases = from.asked[1];
  for (int64_t g = 0; g < groups; g += Weave::kRun) {
    all.groups = least(groups - g, Weave::kRun);
    read_scales<F>(args, from.scales, g, all.groups, all.scales);
    Ahead::ask(scales, 16 * kStrip / 64);
    read_scales<F>(args, from.biases, g, all.groups, all.biases);
    Ahead::ask(biases, 16 * kStrip / 64);
    with.weave(all);
  }
}

/// The first units of a strip, where those before did not copy them.
static inline void begin_queue(const Rows& codes, int64_t units, Weave& all) {
  all.place = 0;
  for (int64_t u = 0; u < Weave::kAhead; ++u) all.queue.put(codes, u % units);
}

/// All rows of x.
template <class F>
static void run_woven(const MatmulArgs& args, Slice units) {
  const int64_t row = args.w_row_bytes, scale_row = scale_bytes_of(args);
  const int64_t rows = rows_ahead(args, kStrip, 1), groups = args.k / args.group_size;
  const int64_t blocks = count_blocks(args);
  // Divisions once and for all: a strip of k = 1024 takes a microsecond.
  WovenBlock each[kMostWoven / kMostRows];
  for (int64_t b = 0; b < blocks; ++b) each[b] = woven_block<F>(args, b);
  Weave all;
  all.quarter = rows / 4 * row;
  all.last = (args.k / kUnit - 1) * 16;
  all.pairs = args.group_size / kUnit / 2;
  for (int64_t n0 = units.begin, within = n0 % rows; n0 < units.end; n0 += kStrip) {
    const Strip strip = strip_at(args, n0);
    const WeightScales scales = {
        strip.scales,
        strip.biases,
        {args.scales + (n0 + rows) * scale_row, args.biases + (n0 + rows) * scale_row}};
    for (int q = 0; q < 4; ++q) all.base[q] = strip.codes.base[q];
    for (int j = 1; j < 4; ++j) all.steps[j - 1] = strip.codes.step[j];
    all.asked = args.w + (n0 - within + rows + within / 4) * row;
    if (n0 == units.begin || args.n - n0 < kStrip) begin_queue(strip.codes, args.k / kUnit, all);
    for (int64_t b = 0; b < blocks; ++b) {
      const Block block = each[b].block;
      // Behind a strip's last units the first are copied of the same strip for its next block, or
      // of the next strip, if that is a whole one.
      const bool goes_on = b == blocks - 1 && n0 + kStrip < units.end && args.n - n0 >= 2 * kStrip;
      all.after = (goes_on ? kStrip * row : 0) - all.last - 16;
      weave_block<F>(args, each[b], groups, scales, all);
      for (int64_t i = 0; i < block.rows; ++i)
        store_strip<F>(args, strip, block.first + i, n0, least(units.end - n0, kStrip),
                       _mm512_load_ps(all.acc[i]));
    }
    within = within + kStrip == rows ? 0 : within + kStrip;
  }
}

}  // namespace stepless::kernels
