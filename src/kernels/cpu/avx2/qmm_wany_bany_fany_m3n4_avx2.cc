// Every packed format, decoded to float32 as fma(s, q, b) or scale * element, then summed by
// tile.hpp, or by few.hpp for up to three rows of x.
#include "kernels/cpu/avx2/few.hpp"

namespace stepless::kernels {

struct Width {
  void (*prepare)(const MatmulArgs&, Slice);
  void (*run)(const MatmulArgs&, Slice);
};

template <Mode kMode, int kBits>
static void run_width(const MatmulArgs& args, Slice units) {
  // 16-bit results of affine weights: is_rare() is each chunk's own.
  if (args.m > kTileM || (kMode == Mode::affine && args.y_type != DType::f32))
    return run_outputs<decode_chunk<kMode, kBits>>(args, units);
  static constexpr void (*kRuns[])(const MatmulArgs&, int64_t, int64_t) = {
      run_few<kMode, kBits, 1>, run_few<kMode, kBits, 2>, run_few<kMode, kBits, 3>};
  for (int64_t n = units.begin; n < units.end; n += kRows)
    kRuns[args.m - 1](args, n, min_of(units.end - n, kRows));
}

template <Mode kMode, int kBits>
static constexpr Width kWidth = {prepare_rows<kMode, kBits>, run_width<kMode, kBits>};

static const Width& width_of(const MatmulArgs& args) {
  static constexpr Width kAffine[] = {{},
                                      kWidth<Mode::affine, 1>,
                                      kWidth<Mode::affine, 2>,
                                      kWidth<Mode::affine, 3>,
                                      kWidth<Mode::affine, 4>,
                                      kWidth<Mode::affine, 5>,
                                      kWidth<Mode::affine, 6>,
                                      {},
                                      kWidth<Mode::affine, 8>};
  static constexpr Width kMxfp4 = kWidth<Mode::mxfp4, 4>, kMxfp8 = kWidth<Mode::mxfp8, 8>,
                         kNvfp4 = kWidth<Mode::nvfp4, 4>;
  if (args.mode == Mode::affine) return kAffine[args.bits];
  return args.mode == Mode::mxfp4 ? kMxfp4 : args.mode == Mode::mxfp8 ? kMxfp8 : kNvfp4;
}

static void prepare(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  width_of(args).prepare(args, rows);
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  width_of(args).run(args, units);
}

STEPLESS_KERNEL(qmm_wany_bany_fany_m3n4_avx2) = {prepare, run, nullptr};

}  // namespace stepless::kernels
