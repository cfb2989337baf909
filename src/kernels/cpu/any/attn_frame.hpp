// Attention over a paged cache, written once for any vector width: an ISA file brings lanes, fma,
// cache loads and a transposing sum. The KV axis is cut into chunks at fixed positions; each chunk
// is summed on its own and merged in order, lane by lane, so a query's bits depend on itself alone:
// not on m, the batch it is computed in, or the slice.
//
// T: L lanes; kDots sums in flight; F fma(a, b, c) = a * b + c (how it rounds is T's own);
// load2<type>(p, a, b): 2 L elements of the cache; load2_part<type>(p, n, a, b): the first n < 2 L,
// else zeros; sums(acc, out): the lane sums of kDots vectors, every one in the same order of lanes;
// lane_at(i): the lane that is i-th in that order, neighbours first; turn(v): transposes L vectors;
// kTileQueries, kTileVectors: registers of a tile; exp(x): e^(x / kExpUnit) for x <= 0; larger(a,
// b): b where either is NaN; largest(v), total(v): of all lanes; width<Q>(): steps of values for Q
// queries; decode2<bits, type>(p, scale, bias, a, b): the values of 2 L codes in the order of
// load2<type>, rounded once. Where T has a PackedReader<type>, chunks of packed pages are that
// one's.
//
// Few queries read the cache as it lies (attn_few.hpp). From kManyQueries on, a chunk is decoded to
// float32 rows once for all of them, and its keys are turned (attn_tiles.hpp): the bits are the
// same.
// While a chunk is read the next one is prefetched, also that of the next batch: 78 instead of 87
// us for a step of 8 KV heads at 256 positions, cold (Sapphire Rapids, AVX-512).
//
// bf16 is read as even and odd elements (a shift and a mask); queries are laid out to match: slot()
// below.
#pragma once
#include <math.h>

#include "kernels/cpu/any/attn_few.hpp"
#include "kernels/cpu/any/attn_queries.hpp"
#include "kernels/cpu/any/attn_rows.hpp"
#include "kernels/cpu/any/attn_tiles.hpp"
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

/// Whether rows may read packed pages; `plain` compiles to what it was without them.
enum class Cache : uint8_t { plain, mixed };

/// From here on turning a chunk pays (rows of one sequence at 4096 positions, cold, 2 heads a KV
/// head: 4 rows 2.0 ms by dots and 3.1 by tiles, 16 rows 6.1 and 5.7, 32 rows 11.8 and 9.1; packed,
/// 4 bits: 6 rows 2.8 and 3.3 ms, 12 rows 5.4 and 4.9).
constexpr int kManyQueries = 24, kManyPacked = 16;

/// What the rows of a chunk become.
struct Decoded {
  alignas(64) float rows[kChunk * kMaxHeadDim];
  alignas(64) float keys[kChunk * kMaxHeadDim];  // turned
  alignas(64) float scales[2][kChunkGroups], biases[2][kChunkGroups];
};

/// T::PackedReader<type>, or none: packed pages are decoded to float32. Of a reader:
/// keys.take(cache, all, q) when query q is there; visit(); settle() before anything else is added
/// to y.
struct NoReader {};
template <class T, DType type, Cache form>
struct PackedReaderOf {
  using Type = NoReader;
};
template <class T, DType type>
requires requires { typename T::template PackedReader<type>; }
struct PackedReaderOf<T, type, Cache::mixed> {
  using Type = typename T::template PackedReader<type>;
};

/// Keys and values of positions one after the other.
struct Places {
  Place k, v;
  int64_t count;
};

template <class T, DType type, Cache cache_form>
struct Attention {
  static constexpr int L = T::L;
  using F = Floats<L>;
  using Words = typename Lanes<L>::U;
  static constexpr int64_t kStep = 2 * L;
  static constexpr int64_t kSize = type == DType::f32 ? 4 : 2;
  static constexpr int kTile = T::kTileQueries;
  using PackedReader = typename PackedReaderOf<T, type, cache_form>::Type;
  static constexpr bool kDecodes = __is_same(PackedReader, NoReader);

  struct Room : Decoded {
    PackedReader packed;
  };

  static int64_t padded(int64_t dim) { return (dim + kStep - 1) / kStep * kStep; }

  /// Where element i of a head lies in q and y.
  static int64_t slot(int64_t i) {
    if (type != DType::bf16) return i;
    return i / kStep * kStep + i % 2 * L + i % kStep / 2;
  }

  /// What each query sees of the chunk, and all of them together; false: nothing.
  static bool look(Queries& all, int64_t chunk_begin, int64_t chunk_end) {
    const bool whole = chunk_begin >= all.all_from && chunk_end <= all.all_to;
    if (whole && all.alike && all.most_end == chunk_end - chunk_begin)
      return true;  // as the one before
    int64_t low = kChunk, high = 0;
    // Nothing that a vectorizer stumbles at: query by query it took as long as turning the keys.
    const int64_t resumed = chunk_begin >= all.seq.kept ? -1 : 0;
    for (int q = 0; q < all.count; ++q) {
      const int64_t first = most(all.first[q], all.resume[q] & resumed);
      const int64_t begin = most(first, chunk_begin) - chunk_begin;
      const int64_t end = least(all.last[q] + 1, chunk_end) - chunk_begin;
      all.begin[q] = begin < end ? begin : kChunk;
      all.end[q] = begin < end ? end : 0;
      low = least(low, all.begin[q]);
      high = most(high, all.end[q]);
    }
    all.least_begin = low, all.most_end = high, all.alike = whole;
    for (int q = all.count; q % kTile != 0; ++q) all.begin[q] = kChunk, all.end[q] = 0;
    return low < high;
  }

  /// The query as float32, in slots, padded with zeros.
  static void read_query(const AttnArgs& args, const Queries& all, int q, float* to) {
    const int64_t dim = args.cache.k_dim;
    const uint8_t* const from =
        element(args.q, args.type, all.row[q] * args.q_stride + all.head[q] * dim);
    if (args.type == type)
      return Reader<T, type, From::cache>::decode({{from}, {from}, dim}, 0, 1, to);
    alignas(64) float plain[kMaxHeadDim];
    widen(from, args.type, dim, plain);
    for (int64_t i = 0; i < padded(dim); ++i) to[slot(i)] = i < dim ? plain[i] : 0.0f;
  }

  /// Prefetches the query and where its result goes: rows of q and y lie far apart, and all are
  /// read before the first is needed. gcc 12 drops calls of a function that only prefetches.
  __attribute__((always_inline)) static void ask_for(const AttnArgs& args, const Queries& all,
                                                     int q) {
    const int64_t row = all.row[q], head = all.head[q], size = bytes_of(args.type);
    const int64_t k_dim = args.cache.k_dim, v_dim = args.cache.v_dim;
    const uint8_t* const from = element(args.q, args.type, row * args.q_stride + head * k_dim);
    const uint8_t* const to = element(args.y, args.type, row * args.y_stride + head * v_dim);
    for (int64_t i = 0; i < k_dim * size; i += 64) __builtin_prefetch(from + i, 0, 2);
    for (int64_t i = 0; i < v_dim * size; i += 64) __builtin_prefetch(to + i, 1, 2);
  }

  static void start(const AttnArgs& args, Queries& all, Room& room, int q) {
    read_query(args, all, q, all.q(q));
    bool zeros = all.count < kManyQueries;  // else the first values are stored as they are
    if constexpr (!kDecodes)
      if (all.seq.packed_begin < all.seq.packed_end)
        room.packed.keys.take(args.cache, all, q), zeros = true;
    if (zeros)
      for (int64_t i = 0; i < padded(args.cache.v_dim); ++i) all.y(q)[i] = 0.0f;
    all.chunks[q] = 0;
    all.peak[q] = -__builtin_inff();
    all.total[q] = 0;
  }

  static Words rounded(F value) { return rounded_bf16s<F>(__builtin_bit_cast(Words, value)); }

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

  static void finish(const AttnArgs& args, Queries& all, int q) {
    const int64_t dim = args.cache.v_dim;
    double total = all.total[q];
    float scale = 1.0f;
    if (args.sinks != nullptr) {
      float sink = 0.0f;
      widen(element(args.sinks, args.sinks_type, all.head[q]), args.sinks_type, 1, &sink);
      const float peak = all.peak[q] / T::kExpUnit, top = peak > sink ? peak : sink;
      scale = exp_one(peak - top);
      total = total * static_cast<double>(scale) + static_cast<double>(exp_one(sink - top));
    }
    float share = static_cast<float>(static_cast<double>(scale) / total);
    if (total != total) {
      // One NaN for all: which of several a sum keeps is the compiler's choice, in every tile anew.
      for (int64_t i = 0; i < padded(dim); ++i) all.y(q)[i] = __builtin_nanf("");
      share = 1.0f;
    }
    uint8_t* const to = element(args.y, args.type, all.row[q] * args.y_stride + all.head[q] * dim);
    int64_t done = 0;
    if (type == DType::bf16 && args.type == type) done = store_pairs(all.y(q), share, dim, to);
    alignas(64) float plain[kMaxHeadDim];
    for (int64_t i = done; i < dim; ++i) plain[i] = all.y(q)[slot(i)] * share;
    narrow(plain + done, args.type, dim - done, to + done * bytes_of(args.type));
  }

  /// Chunks end every kChunk positions of a page, with it, and where a rotating cache begins to
  /// leave out.
  static int64_t chunk_end(const KvLayer& cache, const SeqRow& seq, int64_t at) {
    const int64_t end = least(at + kChunk, (at / cache.page_tokens + 1) * cache.page_tokens);
    return at < seq.kept ? least(end, seq.kept) : end;
  }

  /// Keys and values of a chunk's positions from `at` to `last`, in the form in which they are
  /// read.
  __attribute__((always_inline)) static Places lies_at(const KvLayer& cache, int64_t kv_head,
                                                       const SeqRow& seq, int64_t at,
                                                       int64_t last) {
    const int64_t count = least(chunk_end(cache, seq, at), last + 1) - at;
    const int64_t page = at / cache.page_tokens;
    const bool packed =
        cache_form != Cache::plain && page >= seq.packed_begin && page < seq.packed_end;
    const int64_t id = (packed ? seq.packed : seq.pages)[page];
    const int64_t place = (id * cache.kv_heads + kv_head - page) * cache.page_tokens + at;
    const int64_t k = place * cache.k_dim, v = place * cache.v_dim;
    if (!packed) return {{cache.k + k * kSize}, {cache.v + v * kSize}, count};
    const PackedKv& from = cache.packed;
    const int64_t k_group = k / from.group_size * kSize, v_group = v / from.group_size * kSize;
    return {{from.k + k * from.bits / 8, from.k_scales + k_group, from.k_biases + k_group},
            {from.v + v * from.bits / 8, from.v_scales + v_group, from.v_biases + v_group},
            count};
  }

  /// Positions [at, end) of a page.
  static Chunk chunk_of(const KvLayer& cache, int64_t at, int64_t end, const Places& here,
                        const Places& next) {
    Chunk chunk = {at, end, {here.k, next.k, cache.k_dim}, {here.v, next.v, cache.v_dim}};
    chunk.after = next.count;
    if (here.k.scales == nullptr) return chunk;
    chunk.k.bits = chunk.v.bits = cache.packed.bits;
    chunk.k.group = chunk.v.group = cache.packed.group_size;
    return chunk;
  }

  /// Keys [low, high) turned. L at a time: rows and columns stay in the first cache.
  template <From from>
  static void turn_keys(const Rows& keys, int64_t low, int64_t high, Decoded& decoded) {
    const int64_t width = padded(keys.dim);
    float* const rows = decoded.rows;
    for (int64_t at = low / L * L; at < high; at += L) {
      const int64_t begin = most(low, at), end = least(high, at + L);
      if (from == From::cache && type == DType::bf16 && end - begin == L && width == keys.dim) {
        Tiles<T>::turn_pairs(keys.here.at + at * width * kSize, width, at, decoded.keys);
        continue;
      }
      // What fills the vectors must be a number, no matter which.
      for (int64_t i = 0; i < (begin - at) * width; ++i) rows[i] = 0.0f;
      for (int64_t i = (end - at) * width; i < L * width; ++i) rows[i] = 0.0f;
      Reader<T, type, from>::decode(keys, begin, end, rows + (begin - at) * width);
      Tiles<T>::turn(rows, width, at, decoded.keys);
    }
  }

  /// Weights of many queries; decoded.keys holds the chunk's, `values` is read after them.
  static void weigh_tiles(const AttnArgs& args, Queries& all, const Decoded& decoded,
                          Ahead values) {
    const int64_t width = padded(args.cache.k_dim);
    // The exponentials of a tile come after the scores of the next: its peaks are known by then.
    int last = -1;
    int64_t from = all.least_begin, to = all.most_end, last_from = 0, last_to = 0;
    for (int tile = 0; tile < all.count; tile += kTile) {
      const bool seen = all.alike || all.seen_by(tile, kTile, from, to);
      values.fetch();
      if (!seen) continue;
      Tiles<T>::all_scores(all.q(tile), all.stride, decoded.keys, width, from, to, all.score(tile),
                           kScoreRow);
      if (last >= 0) weigh_scores<T, kTile>(all, last, last_from, last_to);
      find_tops<T, kTile>(args, all, tile, from, to);
      last = tile, last_from = from, last_to = to;
    }
    if (last >= 0) weigh_scores<T, kTile>(all, last, last_from, last_to);
    weigh_chunk<T>(all);
  }

  /// `bytes` of memory in as many pieces as there are fours of queries.
  static Ahead ahead(const Queries& all, const uint8_t* at, int64_t bytes) {
    const int64_t fours = all.count / 4;
    return {at, at + bytes, (bytes / 64 + fours) / fours};
  }

  /// Positions [low, high) of a chunk by tiles.
  template <From from>
  static void visit_many(const AttnArgs& args, Queries& all, Decoded& decoded, const Chunk& chunk,
                         int64_t low, int64_t high) {
    using Read = Reader<T, type, from>;
    const int64_t width = padded(chunk.v.dim);
    turn_keys<from>(chunk.k, low, high, decoded);
    weigh_tiles(args, all, decoded,
                ahead(all, chunk.k.next.at, Read::bytes(chunk.after * chunk.k.dim)));
    Read::decode(chunk.v, low, high, decoded.rows + low * width);
    const uint8_t* const rows = reinterpret_cast<const uint8_t*>(decoded.rows);
    const Chunk plain = {chunk.begin, chunk.end, {}, {{rows}, {rows}, width}};
    Few<T, type, From::decoded>::gather_panels(
        all, plain, ahead(all, chunk.v.next.at, Read::bytes(chunk.after * chunk.v.dim)));
  }

  template <From from>
  static void visit_few(const AttnArgs& args, Queries& all, Chunk& chunk) {
    using Reading = Few<T, type, from>;
    Reading::weigh_all(args, all, chunk);
    Reading::gather_all(all, chunk);
    chunk.fetched = most(0, least(chunk.high + chunk.skip - chunk.after, chunk.more));
  }

  static void visit_packed(const AttnArgs& args, Queries& all, Room& room, Chunk& chunk,
                           int64_t low, int64_t high) {
    if constexpr (!kDecodes) return room.packed.visit(args, all, chunk, room);
    widen_groups(chunk.k, type, low, high, room.scales[0], room.biases[0]);
    widen_groups(chunk.v, type, low, high, room.scales[1], room.biases[1]);
    by_bits(chunk.k.bits, [&]<From from>() {
      if (all.count >= kManyPacked) return visit_many<from>(args, all, room, chunk, low, high);
      visit_few<from>(args, all, chunk);
    });
  }

  static void visit(const AttnArgs& args, Queries& all, Room& room, Chunk& chunk) {
    if (!look(all, chunk.begin, chunk.end)) return;
    const int64_t low = all.least_begin, high = chunk.high = all.most_end;
    if constexpr (cache_form == Cache::mixed)
      if (chunk.k.bits != 0) return visit_packed(args, all, room, chunk, low, high);
    if constexpr (!kDecodes) room.packed.settle(all);
    if (all.count >= kManyQueries)
      return visit_many<From::cache>(args, all, room, chunk, low, high);
    visit_few<From::cache>(args, all, chunk);
  }

  /// Computes the batch and empties it; `after` is what the next one reads first.
  static void flush(const AttnArgs& args, Queries& all, Room& room, const Places& after) {
    const KvLayer& cache = args.cache;
    int64_t first = all.first[0], last = all.last[0], resume = all.resume[0];
    all.alike = false, all.all_from = 0, all.all_to = last + 1;
    for (int q = 0; q < all.count; ++q) {
      start(args, all, room, q);
      all.all_from = most(all.all_from, most(all.first[q], all.resume[q]));
      all.all_to = least(all.all_to, all.last[q] + 1);
      first = least(first, all.first[q]);
      last = most(last, all.last[q]);
      resume = least(resume, all.resume[q]);
    }
    int64_t at = first / cache.page_tokens * cache.page_tokens;
    while (chunk_end(cache, all.seq, at) <= first) at = chunk_end(cache, all.seq, at);
    Places here = lies_at(cache, all.kv_head, all.seq, at, last);
    int64_t fetched = 0;  // positions of the next chunk
    for (int64_t end; at <= last; at = end) {
      end = chunk_end(cache, all.seq, at);
      const Places next = end <= last ? lies_at(cache, all.kv_head, all.seq, end, last) : after;
      if (at < all.seq.kept || end > resume) {
        Chunk chunk = chunk_of(cache, at, end, here, next);
        chunk.skip = fetched;
        if (end <= last && next.count - fetched < end - at) {
          const int64_t then = chunk_end(cache, all.seq, end);
          const Places later =
              then <= last ? lies_at(cache, all.kv_head, all.seq, then, last) : after;
          chunk.later_k = later.k.at, chunk.later_v = later.v.at, chunk.more = later.count;
        }
        visit(args, all, room, chunk);
        fetched = chunk.fetched;
      }
      here = next;
    }
    if constexpr (!kDecodes) room.packed.settle(all);
    for (int q = 0; q < all.count; ++q) finish(args, all, q);
    all.count = 0;
  }

  static bool same_pages(const SeqRow& a, const SeqRow& b) {
    return a.pages == b.pages && a.kept == b.kept &&
           (cache_form == Cache::plain ||
            (a.packed_begin == b.packed_begin && a.packed_end == b.packed_end));
  }

  /// The first position that a row sees.
  static int64_t first_of(const AttnArgs& args, const SeqRow& seq) {
    return args.window > 0 ? most(0, seq.position - args.window + 1) : 0;
  }

  /// Units of one KV head in the slice, row by row; neighbours of one sequence share a batch.
  static void walk(const AttnArgs& args, Slice units, int64_t kv_head, Queries& all, Room& room) {
    const int64_t shared = args.heads / args.cache.kv_heads;
    const int64_t first_row = units.begin / args.heads;
    const auto first_of_row = [&](int64_t head, int64_t row) {
      const SeqRow& seq = args.seq[row];
      return lies_at(args.cache, head, seq, first_of(args, seq), seq.position);
    };
    all.count = 0;
    all.kv_head = kv_head;
    for (int64_t row = first_row; row * args.heads < units.end; ++row) {
      const SeqRow& seq = args.seq[row];
      const int64_t base = row * args.heads;
      const int64_t begin = most(units.begin, base + kv_head * shared);
      const int64_t end = least(units.end, base + (kv_head + 1) * shared);
      for (int64_t unit = begin; unit < end; ++unit) {
        if (all.count == all.most || (all.count > 0 && !same_pages(all.seq, seq)))
          flush(args, all, room, first_of_row(kv_head, row));
        const int q = all.count++;
        if (q == 0) all.seq = seq;
        all.row[q] = row;
        all.head[q] = unit - base;
        all.last[q] = seq.position;
        all.first[q] = first_of(args, seq);
        all.resume[q] = seq.kept > 0 ? seq.resume : 0;
        ask_for(args, all, q);
      }
    }
    if (all.count == 0) return;
    const bool is_last = kv_head + 1 == args.cache.kv_heads;
    Places after = first_of_row(is_last ? kv_head : kv_head + 1, first_row);
    if (is_last) after.count = 0;
    flush(args, all, room, after);
  }

  static void run(const AttnArgs& args, Slice units) {
    Queries all;
    Room room;
    all.make_room(padded(most(args.cache.k_dim, args.cache.v_dim)));
    for (int64_t kv_head = 0; kv_head < args.cache.kv_heads; ++kv_head)
      walk(args, units, kv_head, all, room);
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
