// Attention behind rotary embeddings: queries are turned on their way to shared memory. Keys of the
// step's own rows are turned, and put into their pages with the values, by every block that reads
// them, before it reads pages: blocks do not see what others write, but all write the same.
#pragma once
#include "kernels/cuda/sm80/attention_chunks.cuh"

namespace stepless::kernels::sm80 {

/// Queries, keys and values are in the cache and turned.
struct NoTurnedRows {
  static constexpr bool kAreThere = false;
};
/// What has not been turned, of all rows of the step. Rows of one sequence stand together, at
/// positions one after another.
struct TurnedRows {
  static constexpr bool kAreThere = true;
  RopeArgs q, k;
  const uint16_t* v;
  int64_t v_stride;
};

/// Copies 8 elements at a time can serve them, and pairs lie half a rotation apart. Host side.
static bool can_turn(const TurnedRows& rows, const AttnSlab& slab) {
  const RopeArgs &q = rows.q, &k = rows.k;
  bool can = slab.whole_pages && q.pairs == k.pairs && q.pairs % 8 == 0 && rows.v_stride % 8 == 0;
  for (const RopeArgs* rope : {&q, &k})
    can = can && !rope->interleaved && rope->type == slab.args.type &&
          rope->head_dim == slab.args.cache.k_dim && rope->x_stride % 8 == 0;
  for (const void* p : {q.x, k.x, static_cast<const void*>(q.angles),
                        static_cast<const void*>(k.angles), static_cast<const void*>(rows.v)})
    can = can && reinterpret_cast<std::uintptr_t>(p) % 16 == 0;
  return can;
}

static __device__ __forceinline__ uint4 load_l2_words(const uint16_t* from) {
  const float4 v = load_l2(from);
  return make_uint4(__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z),
                    __float_as_uint(v.w));
}

/// Where 8 lanes bring a row: to shared memory, to its page, or to both; null: not there.
struct Destination {
  uint16_t *shared, *page;
  __device__ void put(int at, uint4 v) const {
    if (shared != nullptr) store_shared16(shared_address(shared + at), v);
    if (page != nullptr) *reinterpret_cast<uint4*>(page + at) = v;
  }
};

/// Both halves of two pairs turned as turn_unit() of any/rope.cuh does it.
template <DType type>
static __device__ __forceinline__ void turn_two(uint32_t& a, uint32_t& b, float2 cosine,
                                                float2 sine) {
  const float2 x = widened<type>(a), y = widened<type>(b);
  a = narrowed<type>(x.x * cosine.x - y.x * sine.x, x.y * cosine.y - y.y * sine.y);
  b = narrowed<type>(x.x * sine.x + y.x * cosine.x, x.y * sine.y + y.y * cosine.y);
}

/// A head of a row by 8 lanes.
template <DType type>
static __device__ __forceinline__ void turn_head(const RopeArgs& rope, int row, int head,
                                                 const Destination& to) {
  const int lane = threadIdx.x % kLanesOfRow, pairs = static_cast<int>(rope.pairs);
  const int dim = static_cast<int>(rope.head_dim);
  const uint16_t* const x =
      static_cast<const uint16_t*>(rope.x) + row * rope.x_stride + int64_t{head} * dim;
  const float* const cosines = rope.angles + int64_t{row} * 2 * pairs;
#pragma unroll 1
  for (int i = lane * 8; i < pairs; i += kLanesOfRow * 8) {
    uint4 a = load_l2_words(x + i), b = load_l2_words(x + pairs + i);
    const float4 c = load_l2(cosines + i), d = load_l2(cosines + i + 4);
    const float4 s = load_l2(cosines + pairs + i), t = load_l2(cosines + pairs + i + 4);
    turn_two<type>(a.x, b.x, make_float2(c.x, c.y), make_float2(s.x, s.y));
    turn_two<type>(a.y, b.y, make_float2(c.z, c.w), make_float2(s.z, s.w));
    turn_two<type>(a.z, b.z, make_float2(d.x, d.y), make_float2(t.x, t.y));
    turn_two<type>(a.w, b.w, make_float2(d.z, d.w), make_float2(t.z, t.w));
    to.put(i, a), to.put(pairs + i, b);
  }
#pragma unroll 1
  for (int i = 2 * pairs + lane * 8; i < dim; i += kLanesOfRow * 8) to.put(i, load_l2_words(x + i));
}

/// Where a tile's sequence begins in this step.
struct FreshRows {
  int first_row, first_position;
  __device__ int row_of(int position) const { return first_row + position - first_position; }
};

/// The tile's 16 rows of queries, one to each 8 lanes: where some are free, to warps other than the
/// one that turns the key of `position`. Behind the last row there are zeros.
template <DType type>
static __device__ __forceinline__ void turn_queries(const TurnedRows& rows, const Tile& tile,
                                                    uint16_t* to, int pitch, int position) {
  const int skipped = (position % kRowsAtOnce / 4 + 1) * 4;
  const int row = (static_cast<int>(threadIdx.x) / kLanesOfRow - skipped) & (kRowsAtOnce - 1);
  const int query = row / tile.heads, lane = threadIdx.x % kLanesOfRow;
  const int dim = static_cast<int>(rows.q.head_dim);
  const Destination there{to + row * pitch, nullptr};
  const uint4 zeros = make_uint4(0, 0, 0, 0);
  if (query < tile.rows) {
    turn_head<type>(rows.q, tile.first + query, tile.head + row - query * tile.heads, there);
    if (lane == 0 && dim % 16 != 0) there.put(dim, zeros);
  } else {
    for (int i = lane * 8; i < up_to_16(dim); i += kLanesOfRow * 8) there.put(i, zeros);
  }
}

/// Keys and values, these of at most 64 * kPieces elements, of the positions `fresh` (bits) of a
/// chunk: to their pages and, unless the chunk is a later one, to shared memory. All that is read
/// for a position is asked for at once.
template <DType type, int kPieces>
static __device__ __forceinline__ void put_fresh(const TurnedRows& rows, const FreshRows& own,
                                                 const Chunk& chunk, unsigned fresh, bool is_later,
                                                 const ChunkCopy& keys, const ChunkCopy& values) {
  const auto destination = [&](const ChunkCopy& copy, int slot) {
    uint16_t* const page = const_cast<uint16_t*>(copy.from) + (chunk.place + slot) * copy.dim;
    return Destination{is_later ? nullptr : copy.to + slot * copy.pitch, page};
  };
  const int column = threadIdx.x % kLanesOfRow * 8;
#pragma unroll 1
  for (int i = 0; i < Chunk::kOwn; ++i) {
    if ((fresh >> i & 1) == 0) continue;
    const int row = own.row_of(chunk.position(i)), slot = chunk.position(i) - chunk.first;
    const uint16_t* const from =
        rows.v + row * rows.v_stride + int64_t{values.kv_head} * values.dim + column;
    uint4 v[kPieces];
#pragma unroll
    for (int e = 0; e < kPieces; ++e)
      if (column + 64 * e < values.dim) v[e] = load_l2_words(from + 64 * e);
    turn_head<type>(rows.k, row, keys.kv_head, destination(keys, slot));
    const Destination to = destination(values, slot);
#pragma unroll
    for (int e = 0; e < kPieces; ++e)
      if (column + 64 * e < values.dim) to.put(column + 64 * e, v[e]);
  }
}

/// How many rows before row r of the slab are of the same sequence, by each warp for itself.
static __device__ int rows_before(const AttnSlab& slab, int r, const int32_t* pages, int position) {
  int count = 0;
  for (;;) {
    const int row = r - 1 - count - static_cast<int>(threadIdx.x) % 32;
    bool same = false;
    if (row >= 0) {
      const RowPlace place = RowPlace::of(slab.args.seq[slab.first_row + row]);
      same = place.pages == pages && place.position == position - (r - row);
    }
    const unsigned others = ~__ballot_sync(~0u, same);
    if (others != 0) return count + __ffs(static_cast<int>(others)) - 1;
    count += 32;
  }
}

}  // namespace stepless::kernels::sm80
