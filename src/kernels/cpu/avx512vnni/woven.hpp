// Up to two dozen rows of x times affine codes of one, two or four bits, as fused.hpp, eight groups
// in one asm statement: gcc 12 moves sums from register to register and back, some 45 times a unit
// of eight rows, and not all of that is free. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/weave.hpp"

namespace stepless::kernels {

/// More rows of x meet panels, which are decoded once for all.
static constexpr int64_t kMostWoven = 2 * kMostRows;

/// Elements of a unit, sixteen bytes of a row.
template <int kBits>
static constexpr int64_t kWovenUnit = 128 / kBits;

/// Groups are of whole runs, rows of whole units, and no strip is so short that copies ahead pass
/// it by.
template <int kBits>
static inline bool is_woven(const MatmulArgs& args) {
  return args.m <= kMostWoven && args.group_size >= kWeaveRun && args.k % kWovenUnit<kBits> == 0 &&
         args.k >= Weave::kAhead * kWovenUnit<kBits>;
}

/// A block of x and what multiplies it.
struct WovenBlock {
  Block block;
  Part x;
  void (*weave)(Weave&);
};

template <int kBits, bool kSplit>
static constexpr void (*kWeaveByRows[kMostRows])(Weave&) = {
    weave<kBits, kSplit, 1>,  weave<kBits, kSplit, 2>,  weave<kBits, kSplit, 3>,
    weave<kBits, kSplit, 4>,  weave<kBits, kSplit, 5>,  weave<kBits, kSplit, 6>,
    weave<kBits, kSplit, 7>,  weave<kBits, kSplit, 8>,  weave<kBits, kSplit, 9>,
    weave<kBits, kSplit, 10>, weave<kBits, kSplit, 11>, weave<kBits, kSplit, 12>};

template <class F, int kBits>
static inline WovenBlock woven_block(const MatmulArgs& args, int64_t index) {
  const Block block = block_at(args, index);
  const bool split = kBits == 1 && args.group_size == kWeaveRun;
  const auto* const by_rows = split ? kWeaveByRows<kBits, kBits == 1> : kWeaveByRows<kBits, false>;
  return {block, part_at<F>(args, block, 0), by_rows[block.rows - 1]};
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
template <class F, int kBits>
static void run_woven(const MatmulArgs& args, Slice units) {
  const int64_t row = args.w_row_bytes, scale_row = scale_bytes_of(args);
  const int64_t rows = rows_ahead(args, kStrip, 1), groups = args.k / args.group_size;
  const int64_t blocks = count_blocks(args);
  // Divisions once and for all: a strip of k = 1024 takes a microsecond.
  WovenBlock each[kMostWoven / kMostRows];
  for (int64_t b = 0; b < blocks; ++b) each[b] = woven_block<F, kBits>(args, b);
  Weave all;
  all.last = (args.k / kWovenUnit<kBits> - 1) * 16;
  all.turns =
      kBits == 1 ? (args.group_size + kWeaveRun) / (2 * kWeaveRun) : args.group_size / kWeaveRun;
  all.mask = 0x01010101 * ((1 << kBits) - 1);
  for (int64_t n0 = units.begin, within = n0 % rows; n0 < units.end; n0 += kStrip) {
    const Strip strip = strip_at(args, n0);
    const WeightScales scales = {
        strip.scales,
        strip.biases,
        {args.scales + (n0 + rows) * scale_row, args.biases + (n0 + rows) * scale_row}};
    for (int q = 0; q < 4; ++q) all.base[q] = strip.codes.base[q];
    for (int j = 1; j < 4; ++j) all.steps[j - 1] = strip.codes.step[j];
    for (int q = 0; q < 4; ++q)
      all.asked[q] = args.w + (n0 - within + rows + within / 4 + rows / 4 * q) * row;
    if (n0 == units.begin || args.n - n0 < kStrip)
      begin_queue(strip.codes, args.k / kWovenUnit<kBits>, all);
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
