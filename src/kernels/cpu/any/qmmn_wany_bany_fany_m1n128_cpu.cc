// y = x · w with w packed along its outputs (n). Each output adds its k terms in order, in runs of
// kRun that are then added to the total: at k = 32768 one chain would lose three digits more. A
// tile holds whole groups of every size.
#include "kernels/cpu/any/product.hpp"

namespace stepless::kernels {

static constexpr int64_t kTile = 128;  // outputs
static constexpr int64_t kRun = 32;    // k

/// total[0..16) += sum over k < count of x[k] * w[k][0..16).
static inline void add_run(const float* x, const float (*w)[kTile], int64_t count, float* total) {
  Four sum[4] = {};
  for (int64_t k = 0; k < count; ++k)
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) sum[l] += x[k] * *reinterpret_cast<const LooseFour*>(w[k] + 4 * l);
#pragma GCC unroll 4
  for (int l = 0; l < 4; ++l) *reinterpret_cast<LooseFour*>(total + 4 * l) += sum[l];
}

/// Outputs [n, n + columns) of `rows` rows from first_row on; columns is a multiple of 16.
static void run_tile(const MatmulArgs& args, int64_t first_row, int64_t rows, int64_t n,
                     int64_t columns) {
  const float* const x = reinterpret_cast<const float*>(args.workspace);
  const int64_t width = padded(args.k), groups = args.n / args.group_size;
  alignas(64) float weights[kRun][kTile];
  alignas(64) float totals[kRowBlock][kTile];
  memset(totals, 0, static_cast<size_t>(rows) * sizeof totals[0]);
  for (int64_t k = 0; k < args.k; k += kRun) {
    const int64_t count = least(kRun, args.k - k);
    for (int64_t j = 0; j < count; ++j)
      decode_packed(args, groups, k + j, n, columns, rounding_for(args.y_type), weights[j]);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < columns; c += 16)
        add_run(x + (first_row + i) * width + k,
                reinterpret_cast<const float(*)[kTile]>(&weights[0][c]), count, totals[i] + c);
  }
  for (int64_t i = 0; i < rows; ++i)
    narrow(totals[i], args.y_type, columns,
           element(args.y, args.y_type, (first_row + i) * args.y_stride + n));
}

static void run(const void* opaque, Slice outputs) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t row = 0; row < args.m; row += kRowBlock) {
    const int64_t rows = least(kRowBlock, args.m - row);
    for (int64_t n = outputs.begin; n < outputs.end; n += kTile)
      run_tile(args, row, rows, n, least(kTile, outputs.end - n));
  }
}

STEPLESS_KERNEL(qmmn_wany_bany_fany_m1n128_cpu) = {widen_rows, run, nullptr};

}  // namespace stepless::kernels
