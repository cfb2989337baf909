// The gated delta rule (Yang et al. 2024), one frame for every width of lanes. prepare() makes each
// row's keys and queries of length 1 and its gates; a strip of value columns then walks all rows
// with its part of the state in L1. Columns do not meet: a column's sums run over k alone, two
// partial sums at even and odd k, so its bits depend on its own sequence. T gives L and fma().
#pragma once
#include <math.h>

#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/recurrent.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

/// A row of `prepared`: queries, keys, then per value head its decay and its learning rate.
struct Prepared {
  const float *queries, *keys, *decay, *rate;
};

inline Prepared prepared_row(const DeltaArgs& args, int64_t row) {
  const int64_t keys = args.k_heads * args.k_dim;
  const float* at =
      args.prepared + row * delta_prepared_width(args.k_heads, args.k_dim, args.v_heads);
  return {at, at + keys, at + 2 * keys, at + 2 * keys + args.v_heads};
}

/// x scaled to length `length` (epsilon: x of zeros stays zeros).
inline void scale_to(const float* x, int64_t n, double length, double epsilon, float* y) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const float scale = static_cast<float>(length / sqrt(squares + epsilon));
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * scale;
}

inline void prepare_delta(const void* opaque, Slice rows) {
  const DeltaArgs& args = *static_cast<const DeltaArgs*>(opaque);
  const int64_t keys = args.k_heads * args.k_dim, values = args.v_heads * args.v_dim;
  const double readout = 1 / sqrt(static_cast<double>(args.k_dim));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* qkv = args.qkv + row * (2 * keys + values);
    float* to = args.prepared + row * delta_prepared_width(args.k_heads, args.k_dim, args.v_heads);
    for (int64_t at = 0; at < keys; at += args.k_dim) {
      scale_to(qkv + at, args.k_dim, readout, static_cast<double>(args.epsilon), to + at);
      scale_to(qkv + keys + at, args.k_dim, 1, static_cast<double>(args.epsilon), to + keys + at);
    }
    float* decay = to + 2 * keys;
    for (int64_t h = 0; h < args.v_heads; ++h) {
      float a_log, bias;
      widen(element(static_cast<const void*>(args.a_log), args.a_log_type, h), args.a_log_type, 1,
            &a_log);
      widen(element(static_cast<const void*>(args.dt_bias), args.dt_bias_type, h),
            args.dt_bias_type, 1, &bias);
      const double x =
          static_cast<double>(args.a[row * args.v_heads + h]) + static_cast<double>(bias);
      const double softplus = x > 40 ? x : log1p(exp(x));  // beyond 40 they are equal
      decay[h] = static_cast<float>(exp(-exp(static_cast<double>(a_log)) * softplus));
      decay[args.v_heads + h] =
          static_cast<float>(1 / (1 + exp(-static_cast<double>(args.b[row * args.v_heads + h]))));
    }
  }
}

template <class T>
struct Delta {
  static constexpr int L = T::L, kVectors = 4, kColumns = kVectors * L;
  using F = Floats<L>;

  /// What one row does to one head's strip.
  struct Row {
    const float *query, *key;  // (k_dim)
    float decay, rate;
  };

  /// Reads what the state holds for the key: sum over k of key(k) * state(k, column).
  static void recall(const float* state, const float* key, int64_t k_dim, F* seen) {
    F even[kVectors] = {}, odd[kVectors] = {};
    int64_t i = 0;
    for (; i + 1 < k_dim; i += 2) {
      const float* at = state + i * kColumns;
      const F first = splat<L>(key[i]), second = splat<L>(key[i + 1]);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        even[c] = T::fma(first, load<L>(at + c * L), even[c]);
        odd[c] = T::fma(second, load<L>(at + kColumns + c * L), odd[c]);
      }
    }
    if (i < k_dim) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c)
        even[c] = T::fma(splat<L>(key[i]), load<L>(state + i * kColumns + c * L), even[c]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) seen[c] = even[c] + odd[c];
  }

  /// Decays the state, corrects it towards the row's values, reads it for the query.
  static void update(float* state, const Row& row, int64_t k_dim, const float* values, float* y) {
    F change[kVectors], out[kVectors] = {};
    recall(state, row.key, k_dim, change);
    const F decay = splat<L>(row.decay), rate = splat<L>(row.rate);
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c)
      change[c] = (load<L>(values + c * L) - change[c] * decay) * rate;
    for (int64_t i = 0; i < k_dim; ++i) {
      float* at = state + i * kColumns;
      const F key = splat<L>(row.key[i]), query = splat<L>(row.query[i]);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        const F next = T::fma(key, change[c], load<L>(at + c * L) * decay);
        store<L>(at + c * L, next);
        out[c] = T::fma(query, next, out[c]);
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) store<L>(y + c * L, out[c]);
  }

  /// Columns [column, column + count) of one value head, over all rows.
  static void run_strip(const DeltaArgs& args, int64_t head, int64_t column, int64_t count) {
    alignas(64) float state[kMostStateKeys * kColumns];
    alignas(64) float values[kColumns] = {}, y[kColumns];
    const int64_t keys = args.k_heads * args.k_dim, width = args.v_heads * args.v_dim;
    const int64_t key_head = head / (args.v_heads / args.k_heads);
    const int64_t place = head * args.k_dim * args.v_dim + column;
    for (int64_t row = 0; row < args.rows; ++row) {
      const SeqRow& seq = args.seq[row];
      if (!continues(args.seq, row))
        load_runs(args.state, seq.state_in, place, args.v_dim, args.k_dim, count, kColumns, state);
      const Prepared p = prepared_row(args, row);
      const Row one = {p.queries + key_head * args.k_dim, p.keys + key_head * args.k_dim,
                       p.decay[head], p.rate[head]};
      const int64_t at = head * args.v_dim + column;
      memcpy(values, args.qkv + row * (2 * keys + width) + 2 * keys + at,
             static_cast<size_t>(count) * 4);
      update(state, one, args.k_dim, values, y);
      memcpy(args.y + row * width + at, y, static_cast<size_t>(count) * 4);
      if (is_left(args.seq, args.rows, row))
        store_runs(args.state, seq.state_out, place, args.v_dim, args.k_dim, count, kColumns,
                   state);
    }
  }

  static void run(const void* opaque, Slice columns) {
    const DeltaArgs& args = *static_cast<const DeltaArgs*>(opaque);
    for (int64_t at = columns.begin; at < columns.end;) {
      const int64_t head = at / args.v_dim, column = at % args.v_dim;
      const int64_t count = least(least(kColumns, columns.end - at), args.v_dim - column);
      run_strip(args, head, column, count);
      at += count;
    }
  }
};

}  // namespace
}  // namespace stepless::kernels
