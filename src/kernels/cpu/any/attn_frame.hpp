// Attention over a paged cache, written once for any vector width: an ISA file brings lanes, fma,
// cache loads and a transposing sum. The KV axis is cut into chunks at fixed positions; each chunk
// is summed on its own and merged in order, lane by lane, so a query's bits depend on itself alone:
// not on m, the batch it is computed in, or the slice.
//
// T: L lanes; kDots sums in flight; F fma(a, b, c) = a * b + c (how it rounds is T's own);
// load2<type>(p, a, b): 2 L elements of the cache; load2_part<type>(p, n, a, b): the first n < 2 L,
// else zeros; sums(acc, out): the lane sums of kDots vectors, every one in the same order of lanes;
// codes2<bits, type>(p, a, b): 2 L codes as floats in the order of load2<type>; decode<type>(codes,
// scale, bias): their values, rounded once.
// While the keys of a chunk are read its values are prefetched, and then the next keys: one core
// reads 512 positions of 28 layers (59 MB, cold) in 5.0 instead of 6.7 ms (Sapphire Rapids,
// AVX-512, read ceiling 12 GB/s); prompts stay equal.
//
// bf16 is read as even and odd elements (a shift and a mask); queries are laid out to match: slot()
// below. A packed page is decoded a chunk at a time into float32 rows laid out so
// (attn_packed.hpp), which then take the place of the cache; more queries share a chunk, as
// decoding costs more.
#pragma once
#include <math.h>

#include "kernels/cpu/any/attn_packed.hpp"
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

/// Whether rows may read packed pages; `plain` compiles to what it was without them.
enum class Cache : uint8_t { plain, mixed };

/// Queries that walk the cache together: four at a time share the conversion of a cached element,
/// all of them a decoded chunk.
constexpr int batch_of(Cache cache) { return cache == Cache::mixed ? 16 : 4; }
// Not a multiple of 4 KiB: rows of all three arrays would meet in the same few sets of the first
// cache.
constexpr int64_t kRow = kMaxHeadDim + 144;

/// Queries of one KV head and one sequence that read the same pages in the same form. Everything of
/// a query is its own row of these arrays.
template <int kBatch>
struct Queries {
  int count;
  int64_t kv_head;
  SeqRow seq;  // of the first of them
  int64_t row[kBatch], head[kBatch];
  int64_t first[kBatch], resume[kBatch], last[kBatch];  // positions seen: first .. last, inclusive
  float peak[kBatch];                                   // largest score so far
  double total[kBatch];                                 // sum of e^(score - peak)
  int64_t begin[kBatch], end[kBatch];                   // of one chunk: what is seen of it,
  float top[kBatch], sum[kBatch];  // the peak of its scores, the sum of its weights
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

template <class T, DType type, Cache cache_form>
struct Attention {
  static constexpr int L = T::L;
  using F = Floats<L>;
  using Words = typename Lanes<L>::U;
  using All = Queries<batch_of(cache_form)>;
  static constexpr int64_t kStep = 2 * L;

  /// Rows of a chunk as they are read: of the cache's own type, or decoded to float32.
  enum class From : uint8_t { cache, decoded };
  template <From from>
  static constexpr DType kRead = from == From::decoded ? DType::f32 : type;
  template <From from>
  static constexpr int64_t kSize = kRead<from> == DType::f32 ? 4 : 2;

  static int64_t padded(int64_t dim) { return (dim + kStep - 1) / kStep * kStep; }

  /// Where element i of a head lies in q and y.
  static int64_t slot(int64_t i) {
    if (type != DType::bf16) return i;
    return i / kStep * kStep + i % 2 * L + i % kStep / 2;
  }

  template <DType read>
  static void load_part(const uint8_t* at, int64_t n, F& a, F& b) {
    if (n >= kStep) return T::template load2<read>(at, a, b);
    T::template load2_part<read>(at, n, a, b);
  }

  /// Scores of positions [begin, end) of the chunk, kDots / Q at a time. The last group repeats the
  /// last position.
  template <From from, int Q>
  static void scores(const AttnArgs& args, All& all, int at_query, const Chunk& chunk,
                     int64_t begin, int64_t end) {
    constexpr int P = T::kDots / Q;
    const int64_t dim = args.cache.k_dim;
    const int64_t whole = dim / kStep * kStep;
    const int64_t to_v = chunk.v - chunk.k;
    for (int64_t at = begin; at < end; at += P) {
      const uint8_t* k[P];
      for (int p = 0; p < P; ++p) k[p] = chunk.k + least(at + p, end - 1) * dim * kSize<from>;
      F acc[T::kDots];
#pragma GCC unroll 16
      for (int i = 0; i < T::kDots; ++i) acc[i] = F{};
      for (int64_t i = 0; i < whole; i += kStep) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          F a, b;
          T::template load2<kRead<from>>(k[p] + i * kSize<from>, a, b);
          if constexpr (from == From::cache) __builtin_prefetch(k[p] + to_v + i * kSize<from>);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) {
            F& sum = acc[q * P + p];
            sum = T::fma(a, load<L>(all.q[at_query + q] + i), sum);
            sum = T::fma(b, load<L>(all.q[at_query + q] + i + L), sum);
          }
        }
      }
      if (whole < dim) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          F a, b;
          T::template load2_part<kRead<from>>(k[p] + whole * kSize<from>, dim - whole, a, b);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) {
            F& sum = acc[q * P + p];
            sum = T::fma(a, load<L>(all.q[at_query + q] + whole), sum);
            sum = T::fma(b, load<L>(all.q[at_query + q] + whole + L), sum);
          }
        }
      }
      float sums[T::kDots];
      T::sums(acc, sums);
      for (int q = 0; q < Q; ++q)
        __builtin_memcpy(all.score[at_query + q] + at, sums + q * P, P * sizeof(float));
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
  template <From from, int Q, int W>
  static void values(const AttnArgs& args, All& all, int at_query, const Chunk& chunk,
                     int64_t begin, int64_t end, int64_t at) {
    const int64_t dim = args.cache.v_dim;
    const int64_t left = dim - at;
    const uint8_t* v = chunk.v + (begin * dim + at) * kSize<from>;
    const int64_t to_next = chunk.next_k - chunk.v;
    F acc[Q * W * 2];
#pragma GCC unroll 32
    for (int i = 0; i < Q * W * 2; ++i) acc[i] = F{};
    for (int64_t j = begin; j < end; ++j, v += dim * kSize<from>) {
#pragma GCC unroll 8
      for (int w = 0; w < W; ++w) {
        F a, b;
        if (W == 1)
          load_part<kRead<from>>(v, left, a, b);
        else
          T::template load2<kRead<from>>(v + w * kStep * kSize<from>, a, b);
        if constexpr (from == From::cache)
          __builtin_prefetch(v + to_next + w * kStep * kSize<from>);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const F weight = splat<L>(all.score[at_query + q][j]);
          acc[(q * W + w) * 2] = T::fma(weight, a, acc[(q * W + w) * 2]);
          acc[(q * W + w) * 2 + 1] = T::fma(weight, b, acc[(q * W + w) * 2 + 1]);
        }
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 16
      for (int i = 0; i < 2 * W; ++i)
        store<L>(all.part[at_query + q] + at + i * L, acc[q * W * 2 + i]);
  }

  template <From from, int Q>
  static void all_values(const AttnArgs& args, All& all, int at_query, const Chunk& chunk,
                         int64_t begin, int64_t end) {
    constexpr int W = T::template width<Q>();
    int64_t at = 0;
    for (; at + W * kStep <= args.cache.v_dim; at += W * kStep)
      values<from, Q, W>(args, all, at_query, chunk, begin, end, at);
    for (; at < args.cache.v_dim; at += kStep)
      values<from, Q, 1>(args, all, at_query, chunk, begin, end, at);
  }

  /// Adds a chunk's part, weighted with its own peak, to the query.
  static void merge(All& all, int q, int64_t dim) {
    const float top = all.peak[q] > all.top[q] ? all.peak[q] : all.top[q];
    const float before = exp_one(all.peak[q] - top);
    const float now = exp_one(all.top[q] - top);
    all.total[q] =
        all.total[q] * static_cast<double>(before) + static_cast<double>(all.sum[q]) * now;
    all.peak[q] = top;
    for (int64_t i = 0; i < dim; i += L)
      store<L>(all.y[q] + i,
               T::fma(load<L>(all.part[q] + i), splat<L>(now), load<L>(all.y[q] + i) * before));
  }

  /// What each query sees of the chunk, and all of them together; false: nothing.
  static bool look(All& all, const Chunk& chunk, int64_t& low, int64_t& high) {
    low = kChunk, high = 0;
    for (int q = 0; q < all.count; ++q) {
      const bool resumed = chunk.begin >= all.seq.kept;
      const int64_t first = resumed ? most(all.first[q], all.resume[q]) : all.first[q];
      all.begin[q] = most(first, chunk.begin) - chunk.begin;
      all.end[q] = least(all.last[q] + 1, chunk.end) - chunk.begin;
      if (all.begin[q] >= all.end[q]) continue;
      low = least(low, all.begin[q]);
      high = most(high, all.end[q]);
    }
    return low < high;
  }

  /// Weights of queries [at_query, at_query + Q) for one chunk.
  template <From from, int Q>
  static void weigh(const AttnArgs& args, All& all, int at_query, const Chunk& chunk) {
    int64_t low = kChunk, high = 0;
    for (int q = at_query; q < at_query + Q; ++q) {
      if (all.begin[q] >= all.end[q]) continue;
      low = least(low, all.begin[q]);
      high = most(high, all.end[q]);
    }
    if (low >= high) return;
    scores<from, Q>(args, all, at_query, chunk, low, high);
    for (int q = at_query; q < at_query + Q; ++q)
      if (all.begin[q] < all.end[q])
        all.top[q] = soften(args, all.score[q], all.begin[q], all.end[q], all.sum[q]);
  }

  /// Adds the chunk's values to queries [at_query, at_query + Q).
  template <From from, int Q>
  static void gather(const AttnArgs& args, All& all, int at_query, const Chunk& chunk) {
    const int64_t begin = all.begin[at_query], end = all.end[at_query];
    bool same = true;
    for (int q = at_query; q < at_query + Q; ++q)
      same = same && all.begin[q] == begin && all.end[q] == end;
    if (same && begin < end) all_values<from, Q>(args, all, at_query, chunk, begin, end);
    for (int q = at_query; q < at_query + Q; ++q) {
      if (all.begin[q] >= all.end[q]) continue;
      if (!same) all_values<from, 1>(args, all, q, chunk, all.begin[q], all.end[q]);
      merge(all, q, padded(args.cache.v_dim));
    }
  }

  enum class Pass : uint8_t { weights, values, both };

  template <From from, Pass pass, int Q>
  static void visit_some(const AttnArgs& args, All& all, int at_query, const Chunk& chunk) {
    if constexpr (pass != Pass::values) weigh<from, Q>(args, all, at_query, chunk);
    if constexpr (pass != Pass::weights) gather<from, Q>(args, all, at_query, chunk);
  }

  /// The whole batch over one chunk, four queries at a time.
  template <From from, Pass pass>
  static void visit(const AttnArgs& args, All& all, const Chunk& chunk) {
    int q = 0;
    for (; q + 4 <= all.count; q += 4) visit_some<from, pass, 4>(args, all, q, chunk);
    if (q + 2 <= all.count) visit_some<from, pass, 2>(args, all, q, chunk), q += 2;
    if (q < all.count) visit_some<from, pass, 1>(args, all, q, chunk);
  }

  static void start(const AttnArgs& args, All& all, int q) {
    const int64_t dim = args.cache.k_dim;
    const uint8_t* const from =
        element(args.q, args.type, all.row[q] * args.q_stride + all.head[q] * dim);
    if (args.type == type) {
      for (int64_t i = 0; i < dim; i += kStep) {
        F a, b;
        load_part<type>(from + i * kSize<From::cache>, dim - i, a, b);
        store<L>(all.q[q] + i, a);
        store<L>(all.q[q] + i + L, b);
      }
    } else {
      alignas(64) float plain[kMaxHeadDim];
      widen(from, args.type, dim, plain);
      for (int64_t i = 0; i < padded(dim); ++i) all.q[q][slot(i)] = i < dim ? plain[i] : 0.0f;
    }
    for (int64_t i = 0; i < padded(args.cache.v_dim); ++i) all.y[q][i] = 0.0f;
    all.peak[q] = -__builtin_inff();
    all.total[q] = 0;
  }

  static Words rounded(F value) {
    return rounded_bf16s<typename Lanes<L>::I>(__builtin_bit_cast(Words, value));
  }

  /// y * share where even and odd elements lie apart; how many elements, whole vectors.
  static int64_t store_pairs(const float* y, float share, int64_t dim, uint8_t* to) {
    int64_t i = 0;
    for (; i + kStep <= dim; i += kStep) {
      const Words even = rounded(load<L>(y + i) * share), odd = rounded(load<L>(y + i + L) * share);
      const Words both = (even >> 16) | (odd & 0xffff0000u);
      __builtin_memcpy(to + 2 * i, &both, sizeof both);
    }
    return i;
  }

  static void finish(const AttnArgs& args, All& all, int q) {
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
    uint8_t* const to = element(args.y, args.type, all.row[q] * args.y_stride + all.head[q] * dim);
    int64_t done = 0;
    if (type == DType::bf16 && args.type == type) done = store_pairs(all.y[q], share, dim, to);
    alignas(64) float plain[kMaxHeadDim];
    for (int64_t i = done; i < dim; ++i) plain[i] = all.y[q][slot(i)] * share;
    narrow(plain + done, args.type, dim - done, to + done * bytes_of(args.type));
  }

  /// Chunks end every kChunk positions of a page, with it, and where a rotating cache begins to
  /// leave out.
  static int64_t chunk_end(const KvLayer& cache, const All& all, int64_t at) {
    const int64_t end = least(at + kChunk, (at / cache.page_tokens + 1) * cache.page_tokens);
    return at < all.seq.kept ? least(end, all.seq.kept) : end;
  }

  /// The position's place among the positions of all pages.
  static int64_t place_of(const KvLayer& cache, const All& all, const int32_t* pages, int64_t at) {
    const int64_t page = pages[at / cache.page_tokens];
    return (page * cache.kv_heads + all.kv_head) * cache.page_tokens + at % cache.page_tokens;
  }

  static bool is_packed(const KvLayer& cache, const All& all, int64_t at) {
    if constexpr (cache_form == Cache::plain) return false;
    const int64_t page = at / cache.page_tokens;
    return page >= all.seq.packed_begin && page < all.seq.packed_end;
  }

  /// Positions [at, end) of a plain page; `last` is the last position of all.
  static void visit_plain(const AttnArgs& args, All& all, int64_t at, int64_t end, int64_t last) {
    const KvLayer& cache = args.cache;
    constexpr int64_t size = kSize<From::cache>;
    const int64_t place = place_of(cache, all, all.seq.pages, at);
    const int64_t next = end <= last ? place_of(cache, all, all.seq.pages, end) : place;
    const Chunk chunk = {at, end, cache.k + place * cache.k_dim * size,
                         cache.v + place * cache.v_dim * size, cache.k + next * cache.k_dim * size};
    int64_t low, high;
    if (look(all, chunk, low, high)) visit<From::cache, Pass::both>(args, all, chunk);
  }

  /// Positions [at, end) of a packed page: keys are decoded for all queries, then values.
  static void visit_packed(const AttnArgs& args, All& all, int64_t at, int64_t end) {
    const KvLayer& cache = args.cache;
    const PackedKv& packed = cache.packed;
    const int64_t place = place_of(cache, all, all.seq.packed, at);
    alignas(64) float rows[kChunk * kMaxHeadDim];
    const uint8_t* const read = reinterpret_cast<const uint8_t*>(rows);
    const Chunk chunk = {at, end, read, read, read};
    int64_t low, high;
    if (!look(all, chunk, low, high)) return;
    using Decoder = Packed<T, type>;
    Decoder::decode(Decoder::keys(packed, cache.k_dim, place), low, high, rows);
    visit<From::decoded, Pass::weights>(args, all, chunk);
    Decoder::decode(Decoder::values(packed, cache.v_dim, place), low, high, rows);
    visit<From::decoded, Pass::values>(args, all, chunk);
  }

  /// Computes the batch and empties it.
  static void flush(const AttnArgs& args, All& all) {
    const KvLayer& cache = args.cache;
    int64_t first = all.first[0], last = all.last[0], resume = all.resume[0];
    for (int q = 0; q < all.count; ++q) {
      start(args, all, q);
      first = least(first, all.first[q]);
      last = most(last, all.last[q]);
      resume = least(resume, all.resume[q]);
    }
    int64_t at = first / cache.page_tokens * cache.page_tokens;
    while (chunk_end(cache, all, at) <= first) at = chunk_end(cache, all, at);
    for (int64_t end; at <= last; at = end) {
      end = chunk_end(cache, all, at);
      if (at >= all.seq.kept && end <= resume) continue;
      if (is_packed(cache, all, at)) {
        if constexpr (cache_form == Cache::mixed) visit_packed(args, all, at, end);
      } else {
        visit_plain(args, all, at, end, last);
      }
    }
    for (int q = 0; q < all.count; ++q) finish(args, all, q);
    all.count = 0;
  }

  static bool same_pages(const SeqRow& a, const SeqRow& b) {
    return a.pages == b.pages && a.kept == b.kept &&
           (cache_form == Cache::plain ||
            (a.packed_begin == b.packed_begin && a.packed_end == b.packed_end));
  }

  /// Units of one KV head in the slice, row by row; neighbours of one sequence share a batch.
  static void walk(const AttnArgs& args, Slice units, int64_t kv_head, All& all) {
    const int64_t shared = args.heads / args.cache.kv_heads;
    all.count = 0;
    all.kv_head = kv_head;
    for (int64_t row = units.begin / args.heads; row * args.heads < units.end; ++row) {
      const SeqRow& seq = args.seq[row];
      const int64_t base = row * args.heads;
      const int64_t begin = most(units.begin, base + kv_head * shared);
      const int64_t end = least(units.end, base + (kv_head + 1) * shared);
      for (int64_t unit = begin; unit < end; ++unit) {
        const bool full = all.count == batch_of(cache_form);
        if (full || (all.count > 0 && !same_pages(all.seq, seq))) flush(args, all);
        const int q = all.count++;
        if (q == 0) all.seq = seq;
        all.row[q] = row;
        all.head[q] = unit - base;
        all.last[q] = seq.position;
        all.first[q] = args.window > 0 ? most(0, seq.position - args.window + 1) : 0;
        all.resume[q] = seq.kept > 0 ? seq.resume : 0;
      }
    }
    if (all.count > 0) flush(args, all);
  }

  static void run(const AttnArgs& args, Slice units) {
    All all;
    for (int64_t kv_head = 0; kv_head < args.cache.kv_heads; ++kv_head)
      walk(args, units, kv_head, all);
  }
};

template <class T, Cache form>
void run_attention(const void* opaque, Slice units) {
  const AttnArgs& args = *static_cast<const AttnArgs*>(opaque);
  if (args.cache.type == DType::f32)
    Attention<T, DType::f32, form>::run(args, units);
  else if (args.cache.type == DType::f16)
    Attention<T, DType::f16, form>::run(args, units);
  else
    Attention<T, DType::bf16, form>::run(args, units);
}

}  // namespace
}  // namespace stepless::kernels
