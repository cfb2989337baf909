// y = x · wᵀ by integers: four weight rows as they lie in the checkpoint, decoded unit by unit into
// registers, times up to eight rows of x. Sums within a group are exact, so how T multiplies (SDOT
// here, SMMLA in neonbf16) never shows in the bits. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/neondot/strip.hpp"

namespace stepless::kernels {

/// Bytes of prepared x that stay in the second cache while a slice of weights passes.
static constexpr int64_t kStayingBytes = 1 << 18;

/// Scales times integers, onto what the accumulators hold.
///
/// T, beside what prepare_rows() asks for: kMode; kUnitBytes of a weight row; Codes and
/// decode(rows, at, codes): four rows' units from byte `at` on; Sums<kM> with start(x_sums),
/// add(codes, x) and whole(i), the group's integers of row i of x.
template <class T, int kM>
static void add_groups(const MatmulArgs& args, const Block& block, const FourRows& codes,
                       const FourRows& scales, float32x4_t* to) {
  const uint8_t* x = planes_of(args, block);
  const float* x_scales = x_scales_of(args, block);
  const int32_t* x_sums = x_sums_of(args, block);
  const int64_t groups = args.k / args.group_size, units = args.group_size / T::kUnit;
  float32x4_t acc[kM], scale[kScaleRun];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) acc[i] = to[i];
  int64_t at = 0;
  for (int64_t g = 0; g < groups; ++g) {
    if (g % kScaleRun == 0)
      read_scales<T::kMode>(args, scales, g, least(groups - g, kScaleRun), scale);
    typename T::template Sums<kM> sums;
    sums.start(x_sums);
    for (int64_t u = 0; u < units; ++u, at += T::kUnitBytes, x += kM * 2 * T::kUnit) {
      typename T::Codes unit;
      T::decode(codes, at, unit);
      sums.add(unit, x);
    }
    const float32x4_t s = scale[g % kScaleRun];
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i)
      acc[i] = vfmaq_f32(acc[i], vcvtq_f32_s32(sums.whole(i)), vmulq_n_f32(s, x_scales[i]));
    x_scales += kM;
    if constexpr (T::kAffine) x_sums += kM;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) to[i] = acc[i];
}

/// Outputs n0 .. n0 + count - 1 of a block of kM rows.
template <class T, int kM>
static void run_strip(const MatmulArgs& args, const Block& block, int64_t n0, int64_t count) {
  const int64_t groups = args.k / args.group_size, scale_bytes = groups * (T::kAffine ? 2 : 1);
  const bool to_odd = rounds_to_odd(args);
  float32x4_t sums[kM] = {}, biases[kM] = {};
  if constexpr (T::kAffine)
    add_biases<kM>(args, block, rows_at(args.biases, scale_bytes, n0, count),
                   to_odd ? biases : sums);
  add_groups<T, kM>(args, block, rows_at(args.w, args.w_row_bytes, n0, count),
                    rows_at(args.scales, scale_bytes, n0, count), sums);
  for (int64_t i = 0; i < kM; ++i) {
    float32x4_t y = to_odd ? add_to_odd(sums[i], biases[i]) : sums[i];
    // Codes of E2M1 are twice their elements. Not sooner: the least E8M0 scale times that of x
    // would be less than float32 can hold.
    if (!T::kAffine) y = vmulq_n_f32(y, 0.5f);
    store_f32(args.y, args.y_type, (block.first + i) * args.y_stride + n0, count, y);
  }
}

template <class T>
static void run_units(const MatmulArgs& args, Slice units) {
  static constexpr void (*kRuns[])(const MatmulArgs&, const Block&, int64_t, int64_t) = {
      run_strip<T, 1>, run_strip<T, 2>, run_strip<T, 3>, run_strip<T, 4>,
      run_strip<T, 5>, run_strip<T, 6>, run_strip<T, 7>, run_strip<T, 8>};
  const int64_t fit = kStayingBytes / (2 * kMostRows * padded(args.k));
  const int64_t together = fit < 1 ? 1 : fit, blocks = count_blocks(args.m);
  for (int64_t first = 0; first < blocks; first += together)
    for (int64_t n = units.begin; n < units.end; n += kStrip)
      for (int64_t b = first; b < least(first + together, blocks); ++b) {
        const Block block = block_at(args.m, b);
        kRuns[block.rows - 1](args, block, n, least(units.end - n, kStrip));
      }
}

namespace {

/// The entry points of one kernel, T<mode, bits>: affine takes its width from the arguments.
template <template <Mode, int> class T>
struct AffineEntry {
  template <int kBits>
  using Of = T<Mode::affine, kBits>;

  static void prepare(const void* opaque, Slice rows) {
    const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
    static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {nullptr,
                                                                    prepare_rows<Of<1>>,
                                                                    prepare_rows<Of<2>>,
                                                                    prepare_rows<Of<3>>,
                                                                    prepare_rows<Of<4>>,
                                                                    prepare_rows<Of<5>>,
                                                                    prepare_rows<Of<6>>,
                                                                    nullptr,
                                                                    prepare_rows<Of<8>>};
    kByBits[args.bits](args, rows);
  }

  static void run(const void* opaque, Slice units) {
    const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
    static constexpr void (*kByBits[])(const MatmulArgs&, Slice) = {
        nullptr,          run_units<Of<1>>, run_units<Of<2>>, run_units<Of<3>>, run_units<Of<4>>,
        run_units<Of<5>>, run_units<Of<6>>, nullptr,          run_units<Of<8>>};
    kByBits[args.bits](args, units);
  }
};

template <class T>
struct OneEntry {
  static void prepare(const void* opaque, Slice rows) {
    prepare_rows<T>(*static_cast<const MatmulArgs*>(opaque), rows);
  }
  static void run(const void* opaque, Slice units) {
    run_units<T>(*static_cast<const MatmulArgs*>(opaque), units);
  }
};

}  // namespace
}  // namespace stepless::kernels
