// Attention over a paged cache, written once for any vector width: an ISA file brings lanes, fma,
// cache loads and a transposing sum. The KV axis is cut into chunks at fixed positions; each chunk
// is summed on its own and merged in order, lane by lane, so a query's bits depend on itself alone:
// not on m, the batch it is computed in, or the slice.
//
// T: L lanes; kDots sums in flight; F fma(a, b, c) = a * b + c (how it rounds is T's own);
// load2<type>(p, a, b): 2 L elements of the cache; load2_part<type>(p, n, a, b): the first n < 2 L,
// else zeros; sums(acc, out): the lane sums of kDots vectors, every one in the same order of lanes.
// While the keys of a chunk are read its values are prefetched, and then the next keys: one core
// reads 512 positions of 28 layers (59 MB, cold) in 5.0 instead of 6.7 ms (Sapphire Rapids,
// AVX-512, read ceiling 12 GB/s); prompts stay equal.
//
// bf16 is read as even and odd elements (a shift and a mask); queries are laid out to match: slot()
// below.
#pragma once
#include <math.h>

#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

constexpr int64_t kChunk = 64;  // positions; also cut where a page ends
constexpr int kBatch = 4;       // queries that share the conversion of a cached element
// Not a multiple of 4 KiB: rows of all three arrays would meet in the same few sets of the first
// cache.
constexpr int64_t kRow = kMaxHeadDim + 144;

/// Queries of one KV head and one sequence. Everything of a query is its own row of these arrays.
struct Queries {
  int count;
  int64_t kv_head;
  const int32_t* pages;
  int64_t row[kBatch], head[kBatch];
  int64_t first[kBatch], last[kBatch];  // positions seen, inclusive
  float peak[kBatch];                   // largest score so far
  double total[kBatch];                 // sum of e^(score - peak)
  alignas(64) float q[kBatch][kRow];
  alignas(64) float y[kBatch][kRow];             // sum of e^(score - peak) * v
  alignas(64) float part[kBatch][kRow];          // the same of one chunk
  alignas(64) float score[kBatch][kChunk + 16];  // of one chunk; then its weights
};

/// Positions [begin, end) of a page.
struct Chunk {
  int64_t begin, end;
  const uint8_t *k, *v;   // of position `begin`
  const uint8_t* next_k;  // of the chunk after it, or of this one
};

template <class T, DType type>
struct Attention {
  static constexpr int L = T::L;
  using F = Floats<L>;
  static constexpr int64_t kSize = type == DType::f32 ? 4 : 2;
  static constexpr int64_t kStep = 2 * L;

  static int64_t padded(int64_t dim) { return (dim + kStep - 1) / kStep * kStep; }

  /// Where element i of a head lies in q and y.
  static int64_t slot(int64_t i) {
    if (type != DType::bf16) return i;
    return i / kStep * kStep + i % 2 * L + i % kStep / 2;
  }

  static void load_part(const uint8_t* from, int64_t n, F& a, F& b) {
    if (n >= kStep) return T::template load2<type>(from, a, b);
    T::template load2_part<type>(from, n, a, b);
  }

  /// Scores of positions [begin, end) of the chunk, kDots / Q at a time. The last group repeats the
  /// last position.
  template <int Q>
  static void scores(const AttnArgs& args, Queries& all, int from, const Chunk& chunk,
                     int64_t begin, int64_t end) {
    constexpr int P = T::kDots / Q;
    const int64_t dim = args.cache.k_dim;
    const int64_t whole = dim / kStep * kStep;
    const int64_t to_v = chunk.v - chunk.k;
    for (int64_t at = begin; at < end; at += P) {
      const uint8_t* k[P];
      for (int p = 0; p < P; ++p) k[p] = chunk.k + least(at + p, end - 1) * dim * kSize;
      F acc[T::kDots];
#pragma GCC unroll 16
      for (int i = 0; i < T::kDots; ++i) acc[i] = F{};
      for (int64_t i = 0; i < whole; i += kStep) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          F a, b;
          T::template load2<type>(k[p] + i * kSize, a, b);
          __builtin_prefetch(k[p] + to_v + i * kSize);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) {
            F& sum = acc[q * P + p];
            sum = T::fma(a, load<L>(all.q[from + q] + i), sum);
            sum = T::fma(b, load<L>(all.q[from + q] + i + L), sum);
          }
        }
      }
      if (whole < dim) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          F a, b;
          T::template load2_part<type>(k[p] + whole * kSize, dim - whole, a, b);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) {
            F& sum = acc[q * P + p];
            sum = T::fma(a, load<L>(all.q[from + q] + whole), sum);
            sum = T::fma(b, load<L>(all.q[from + q] + whole + L), sum);
          }
        }
      }
      float sums[T::kDots];
      T::sums(acc, sums);
      for (int q = 0; q < Q; ++q)
        __builtin_memcpy(all.score[from + q] + at, sums + q * P, P * sizeof(float));
    }
  }

  /// Turns the scores of one query into weights e^(score - their maximum); returns that maximum,
  /// adds up `sum`.
  static float soften(const AttnArgs& args, float* score, int64_t begin, int64_t end, float& sum) {
    const float low = -__builtin_inff();
    const int64_t stop = (end + L - 1) / L * L;
    for (int64_t j = 0; j < begin; ++j) score[j] = low;
    for (int64_t j = end; j < stop; ++j) score[j] = low;
    F top = splat<L>(low);
    for (int64_t j = 0; j < stop; j += L) {
      F s = load<L>(score + j) * args.scale;
      if (args.softcap != 0.0f) {
        // Positions outside stay at -infinity: the cap would lift them.
        const F capped = tanh_of<L>(s / args.softcap) * args.softcap;
        s = load<L>(score + j) == low ? splat<L>(low) : capped;
      }
      store<L>(score + j, s);
      top = s > top ? s : top;
    }
    float peak = low;
    for (int l = 0; l < L; ++l) peak = top[l] > peak ? top[l] : peak;
    F lanes = {};
    for (int64_t j = 0; j < stop; j += L) {
      const F weight = exp_of<L>(load<L>(score + j) - peak);
      store<L>(score + j, weight);
      lanes = lanes + weight;
    }
    sum = 0.0f;
    for (int l = 0; l < L; ++l) sum += lanes[l];
    return peak;
  }

  /// part += weight * v over positions [begin, end), for W * 2 L elements of v_dim from `at` (the
  /// last W may be partial).
  template <int Q, int W>
  static void values(const AttnArgs& args, Queries& all, int from, const Chunk& chunk,
                     int64_t begin, int64_t end, int64_t at) {
    const int64_t dim = args.cache.v_dim;
    const int64_t left = dim - at;
    const uint8_t* v = chunk.v + (begin * dim + at) * kSize;
    const int64_t to_next = chunk.next_k - chunk.v;
    F acc[Q * W * 2];
#pragma GCC unroll 32
    for (int i = 0; i < Q * W * 2; ++i) acc[i] = F{};
    for (int64_t j = begin; j < end; ++j, v += dim * kSize) {
#pragma GCC unroll 8
      for (int w = 0; w < W; ++w) {
        F a, b;
        if (W == 1)
          load_part(v, left, a, b);
        else
          T::template load2<type>(v + w * kStep * kSize, a, b);
        __builtin_prefetch(v + to_next + w * kStep * kSize);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const F weight = splat<L>(all.score[from + q][j]);
          acc[(q * W + w) * 2] = T::fma(weight, a, acc[(q * W + w) * 2]);
          acc[(q * W + w) * 2 + 1] = T::fma(weight, b, acc[(q * W + w) * 2 + 1]);
        }
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 16
      for (int i = 0; i < 2 * W; ++i) store<L>(all.part[from + q] + at + i * L, acc[q * W * 2 + i]);
  }

  template <int Q>
  static void all_values(const AttnArgs& args, Queries& all, int from, const Chunk& chunk,
                         int64_t begin, int64_t end) {
    constexpr int W = T::template width<Q>();
    int64_t at = 0;
    for (; at + W * kStep <= args.cache.v_dim; at += W * kStep)
      values<Q, W>(args, all, from, chunk, begin, end, at);
    for (; at < args.cache.v_dim; at += kStep) values<Q, 1>(args, all, from, chunk, begin, end, at);
  }

  /// Adds a chunk's part, weighted with its own peak, to the query.
  static void merge(Queries& all, int q, int64_t dim, float peak, float sum) {
    const float top = all.peak[q] > peak ? all.peak[q] : peak;
    const float before = exp_one(all.peak[q] - top);
    const float now = exp_one(peak - top);
    all.total[q] = all.total[q] * static_cast<double>(before) + static_cast<double>(sum) * now;
    all.peak[q] = top;
    for (int64_t i = 0; i < dim; i += L)
      store<L>(all.y[q] + i,
               T::fma(load<L>(all.part[q] + i), splat<L>(now), load<L>(all.y[q] + i) * before));
  }

  /// Queries [from, from + Q) of the batch over one chunk.
  template <int Q>
  static void visit(const AttnArgs& args, Queries& all, int from, const Chunk& chunk) {
    int64_t begin[Q], end[Q];
    int64_t low = kChunk, high = 0;
    bool same = true;
    for (int q = 0; q < Q; ++q) {
      begin[q] = most(all.first[from + q], chunk.begin) - chunk.begin;
      end[q] = least(all.last[from + q] + 1, chunk.end) - chunk.begin;
      same = same && begin[q] == begin[0] && end[q] == end[0];
      if (begin[q] >= end[q]) continue;
      low = least(low, begin[q]);
      high = most(high, end[q]);
    }
    if (low >= high) return;
    scores<Q>(args, all, from, chunk, low, high);
    float peak[Q], sum[Q];
    for (int q = 0; q < Q; ++q)
      if (begin[q] < end[q]) peak[q] = soften(args, all.score[from + q], begin[q], end[q], sum[q]);
    if (same) all_values<Q>(args, all, from, chunk, low, high);
    for (int q = 0; q < Q; ++q) {
      if (begin[q] >= end[q]) continue;
      if (!same) all_values<1>(args, all, from + q, chunk, begin[q], end[q]);
      merge(all, from + q, padded(args.cache.v_dim), peak[q], sum[q]);
    }
  }

  static void start(const AttnArgs& args, Queries& all, int q) {
    const int64_t dim = args.cache.k_dim;
    alignas(64) float plain[kMaxHeadDim];
    widen(element(args.q, args.type, all.row[q] * args.q_stride + all.head[q] * dim), args.type,
          dim, plain);
    for (int64_t i = 0; i < padded(dim); ++i) all.q[q][slot(i)] = i < dim ? plain[i] : 0.0f;
    for (int64_t i = 0; i < padded(args.cache.v_dim); ++i) all.y[q][i] = 0.0f;
    all.peak[q] = -__builtin_inff();
    all.total[q] = 0;
  }

  static void finish(const AttnArgs& args, Queries& all, int q) {
    const int64_t dim = args.cache.v_dim;
    double total = all.total[q];
    float scale = 1.0f;
    if (args.sinks != nullptr) {
      float sink = 0.0f;
      widen(element(args.sinks, args.sinks_type, all.head[q]), args.sinks_type, 1, &sink);
      const float top = all.peak[q] > sink ? all.peak[q] : sink;
      scale = exp_one(all.peak[q] - top);
      total = total * static_cast<double>(scale) + static_cast<double>(exp_one(sink - top));
    }
    const float share = static_cast<float>(static_cast<double>(scale) / total);
    alignas(64) float plain[kMaxHeadDim];
    for (int64_t i = 0; i < dim; ++i) plain[i] = all.y[q][slot(i)] * share;
    narrow(plain, args.type, dim,
           element(args.y, args.type, all.row[q] * args.y_stride + all.head[q] * dim));
  }

  /// Chunks end every kChunk positions of a page, and with it.
  static int64_t chunk_end(const KvLayer& cache, int64_t at) {
    return least(at + kChunk, (at / cache.page_tokens + 1) * cache.page_tokens);
  }

  /// Rows of the cache before this position's.
  static int64_t place_of(const KvLayer& cache, const Queries& all, int64_t at) {
    const int64_t page = all.pages[at / cache.page_tokens];
    return (page * cache.kv_heads + all.kv_head) * cache.page_tokens + at % cache.page_tokens;
  }

  /// Computes the batch and empties it.
  static void flush(const AttnArgs& args, Queries& all) {
    const KvLayer& cache = args.cache;
    int64_t first = all.first[0], last = all.last[0];
    for (int q = 0; q < all.count; ++q) {
      start(args, all, q);
      first = least(first, all.first[q]);
      last = most(last, all.last[q]);
    }
    int64_t at = first / cache.page_tokens * cache.page_tokens;
    while (chunk_end(cache, at) <= first) at = chunk_end(cache, at);
    while (at <= last) {
      const int64_t end = chunk_end(cache, at);
      const int64_t place = place_of(cache, all, at);
      const int64_t next = end <= last ? place_of(cache, all, end) : place;
      const Chunk chunk = {at, end, cache.k + place * cache.k_dim * kSize,
                           cache.v + place * cache.v_dim * kSize,
                           cache.k + next * cache.k_dim * kSize};
      if (all.count == 4) {
        visit<4>(args, all, 0, chunk);
      } else {
        if (all.count >= 2) visit<2>(args, all, 0, chunk);
        if (all.count % 2 == 1) visit<1>(args, all, all.count - 1, chunk);
      }
      at = end;
    }
    for (int q = 0; q < all.count; ++q) finish(args, all, q);
    all.count = 0;
  }

  /// Units of one KV head in the slice, row by row; neighbours of one sequence share a batch.
  static void walk(const AttnArgs& args, Slice units, int64_t kv_head, Queries& all) {
    const int64_t shared = args.heads / args.cache.kv_heads;
    all.count = 0;
    all.kv_head = kv_head;
    for (int64_t row = units.begin / args.heads; row * args.heads < units.end; ++row) {
      const SeqRow& seq = args.seq[row];
      const int64_t base = row * args.heads;
      const int64_t begin = most(units.begin, base + kv_head * shared);
      const int64_t end = least(units.end, base + (kv_head + 1) * shared);
      for (int64_t unit = begin; unit < end; ++unit) {
        if (all.count == kBatch || (all.count > 0 && all.pages != seq.pages)) flush(args, all);
        const int q = all.count++;
        all.pages = seq.pages;
        all.row[q] = row;
        all.head[q] = unit - base;
        all.last[q] = seq.position;
        all.first[q] = args.window > 0 ? most(0, seq.position - args.window + 1) : 0;
      }
    }
    if (all.count > 0) flush(args, all);
  }

  static void run(const AttnArgs& args, Slice units) {
    Queries all;
    for (int64_t kv_head = 0; kv_head < args.cache.kv_heads; ++kv_head)
      walk(args, units, kv_head, all);
  }
};

template <class T>
void run_attention(const void* opaque, Slice units) {
  const AttnArgs& args = *static_cast<const AttnArgs*>(opaque);
  if (args.cache.type == DType::f32)
    Attention<T, DType::f32>::run(args, units);
  else if (args.cache.type == DType::f16)
    Attention<T, DType::f16>::run(args, units);
  else
    Attention<T, DType::bf16>::run(args, units);
}

}  // namespace
}  // namespace stepless::kernels
