// Few rows of x: a stretch of some weight rows at a time, two to four of them in step (step.hpp).
// Values and order of summation are those of tile.hpp, so such a row takes turns with the tiles
// that serve more rows of x. Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512/step.hpp"

namespace stepless::kernels {

/// Weight rows that meet the same elements of x while those lie in L1. Up to four rows of x only
/// those in step: DRAM is read slower in pieces of a row (m = 3 at 4 bits: 8 of them together take
/// 4 % longer, 16 take 20 %).
template <int kM>
static constexpr int kTogether = kM <= 4   ? 4
                                 : kM <= 7 ? 12
                                           : 16;

/// Weight rows whose sums are added up and stored together.
template <int kM>
static constexpr int kAtOnce = kTogether<kM> < 8 ? 8 : kTogether<kM>;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/// Weights of a row whose scales are decoded at once. (512, as of a panel: the loop in C++ that was
/// here before lost 15 % at m = 1, 4 bits.)
template <Form kForm>
static constexpr int64_t kStretch = (kForm == Form::nibbles ? 64 : 32) * kChunkGroups;
/// Elements of x that stay in L1.
template <Form kForm, int kM>
static constexpr int64_t kPart = kM <= 4 ? kStretch<kForm> : 512;

template <Form kForm>
static constexpr int64_t kStepBytes = kForm == Form::nibbles ? 32 : 64;  // of 64 weights

/// x as prepared: sixteen elements of each row in turn, zero beyond k.
template <bool kNibbles>
static void prepare_few(const void* opaque, Slice rows) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    put_row<kNibbles>(args, i, args.k, reinterpret_cast<float*>(args.workspace) + 16 * i,
                      16 * args.m);
}

/// Some weight rows, where a stretch of them begins.
template <Form kForm, int kM>
struct Stretch {
  const uint8_t* rows[kTogether<kM>];
  ChunkScales scales[kTogether<kM>];

  void start(const MatmulArgs& args, int64_t n0, int64_t count, int64_t k0, int64_t length) {
    // Asked for beside these, the scales of the rows that come next: 1 to 3 % at 4 bits.
    const int shift = __builtin_ctz(static_cast<unsigned>(args.group_size));
    const int64_t size = kForm != Form::nibbles ? 1 : args.w_type == DType::f32 ? 4 : 2;
    const int64_t row = (args.k >> shift) * size, bytes = (length >> shift) * size;
    const int64_t first = n0 + kTogether<kM>;
    int64_t next = first * row + (k0 >> shift) * size;
    for (int64_t r = 0; r < kTogether<kM>; ++r, next += row) {
      for (int64_t i = 0; i < bytes; i += 64) {
        _mm_prefetch(args.scales + next + i, _MM_HINT_T0);
        if (kForm == Form::nibbles) _mm_prefetch(args.biases + next + i, _MM_HINT_T0);
      }
      const Chunk c = {args, n0 + (r < count ? r : 0), k0, length, nullptr};
      read_scales(c, scales[r]);
      rows[r] = chunk_bytes(c, kForm == Form::nibbles ? 4 : 8);
      if (kForm != Form::e4m3_folded) continue;
      for (int64_t g = 0; g * 32 < length; g += 16)
        _mm512_store_ps(scales[r].scale + g,
                        _mm512_mul_ps(_mm512_load_ps(scales[r].scale + g), _mm512_set1_ps(256)));
    }
  }
};

/// 32 weights that end rows of E4M3, as 64.
template <Form kForm, int kM>
static void multiply_last(const Stretch<kForm, kM>& w, int s, int64_t at, Step& all) {
  constexpr int kN = kInStep<kM>;
  alignas(64) uint8_t last[kN][64];
  const uint8_t* rows[kN];
  for (int r = 0; r < kN; ++r) {
    _mm512_store_si512(last[r], _mm512_maskz_loadu_epi8(0xFFFFFFFF, w.rows[s + r] + at));
    rows[r] = last[r] - at;
  }
  all.rows = rows;
  all.from = at, all.to = at + 64, all.ahead = 0;
  multiply_step<kForm, kM>(all);
}

/// Sums of rows n0 .. n0 + count - 1, at most kTogether.
template <Form kForm, int kM>
static void sum_rows(const MatmulArgs& args, int64_t n0, int64_t count, __m512 (*sums)[kM]) {
  constexpr int kN = kInStep<kM>;
  constexpr int64_t kBytes = kStepBytes<kForm>, kLength = kStretch<kForm>, kFew = kPart<kForm, kM>;
  const float* x = reinterpret_cast<const float*>(args.workspace);
  Stretch<kForm, kM> w;
  Step all;
  all.per_scale = args.group_size == 128 ? 6 : 5;
  const int64_t ahead = bytes_ahead(args, kTogether<kM>);
  for (int64_t k0 = 0; k0 < args.k; k0 += kLength) {
    const int64_t length = least(args.k - k0, kLength);
    w.start(args, n0, count, k0, length);
    for (int64_t from = 0; from < length; from += kFew) {
      const int64_t end = least(length, from + kFew);
      for (int s = 0; s < kTogether<kM> && s < count; s += kN) {
        all.rows = w.rows + s;
        all.scales = w.scales + s;
        all.x = x + (k0 + from) * kM;
        all.sums = reinterpret_cast<float*>(sums[s]);
        all.from = from / 64 * kBytes, all.to = end / 64 * kBytes, all.ahead = ahead;
        if (all.from < all.to) multiply_step<kForm, kM>(all);
        if (kForm == Form::nibbles || end % 64 == 0) continue;
        all.x = x + (k0 + end / 64 * 64) * kM;
        multiply_last(w, s, all.to, all);
      }
    }
  }
}

/// Outputs n0 .. n0 + count - 1, at most kAtOnce.
template <Form kForm, int kM>
static void run_rows(const MatmulArgs& args, int64_t n0, int64_t count) {
  __m512 sums[kAtOnce<kM>][kM];
  for (int r = 0; r < kAtOnce<kM>; ++r)
    for (int i = 0; i < kM; ++i) sums[r][i] = _mm512_setzero_ps();
  for (int64_t s = 0; s < count; s += kTogether<kM>)
    sum_rows<kForm, kM>(args, n0 + s, least(count - s, kTogether<kM>), sums + s);
  for (int64_t s = 0; s < count; s += 8)
    for (int i = 0; i < kM; ++i) {
      __m512 each[8];
#pragma GCC unroll 8
      for (int64_t r = 0; r < 8; ++r)
        each[r] = s + r < kAtOnce<kM> ? sums[s + r][i] : _mm512_setzero_ps();
      store_f32(args.y, args.y_type, i * args.y_stride + n0 + s, first16(least(count - s, 8)),
                _mm512_castps256_ps512(sum_each(each)));
    }
}

template <Form kForm>
static constexpr void (*kRunRows[])(const MatmulArgs&, int64_t, int64_t) = {
    run_rows<kForm, 1>, run_rows<kForm, 2>, run_rows<kForm, 3>, run_rows<kForm, 4>,
    run_rows<kForm, 5>, run_rows<kForm, 6>, run_rows<kForm, 7>, run_rows<kForm, 8>,
    run_rows<kForm, 9>, run_rows<kForm, 10>};

/// Most outputs of a call, for m rows of x.
static inline int64_t outputs_at_once(int64_t m) {
  return m <= 4 ? kAtOnce<4> : m <= 7 ? kAtOnce<7> : kAtOnce<8>;
}

}  // namespace stepless::kernels
