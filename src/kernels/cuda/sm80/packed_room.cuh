// Where attention over packed pages works: shared memory, tiles of query rows, and the order in
// which chunks are added.
#pragma once
#include "kernels/cuda/sm80/packed_codes.cuh"

namespace stepless::kernels::sm80 {

// A warp has 32 positions of every 128, which are of one page, and adds 16 at a time: a product's
// rows.
constexpr int kOwn = 32, kSpan = kOwn * kAttnWarps;
constexpr int kClasses = 4;  // shares of the KV axis that are equal modulo this

/// Shared memory, in bytes from its start. Queries stand in the order of packed_query(), then as
/// they are. `sums`: peaks and totals of each warp and column; `values`: float32 of the same. Each
/// warp has a ring of `stages`: its positions of a span, codes of keys and values, then scales and
/// biases of keys and of values as they lie in their pages.
struct PackedRoom {
  int k_pitch, v_pitch;    // bytes between codes of positions
  int k_groups, v_groups;  // of a position
  int group_runs;          // runs of a group: 1, 2 or 4
  int columns;             // of a tile, at most
  int plain_queries, query_sums, sums, values, ring, end;
  int v, k_scales, v_scales, stage, stages;
  __host__ __device__ int value_pitch(int v_dim) const { return v_dim + 4; }
};

static PackedRoom packed_room_of(const AttnArgs& a, int tiles, int columns, int stages,
                                 int least_stage) {
  const PackedKv& kv = a.cache.packed;
  const auto k_dim = static_cast<int>(a.cache.k_dim), v_dim = static_cast<int>(a.cache.v_dim);
  PackedRoom room{};
  // An odd number of 16 bytes: no bank conflicts.
  room.k_pitch = (k_dim * kv.bits / 128 | 1) * 16, room.v_pitch = (v_dim * kv.bits / 128 | 1) * 16;
  room.k_groups = k_dim / kv.group_size, room.v_groups = v_dim / kv.group_size;
  room.group_runs = kv.group_size / kRun;
  room.columns = columns;
  room.plain_queries = k_dim / kRun * tiles * 512;
  room.query_sums = 2 * room.plain_queries;
  room.sums = room.query_sums + room.k_groups * tiles * 8 * 4;
  room.values = room.sums + kAttnWarps * tiles * 8 * 8;
  room.ring = room.values + kAttnWarps * columns * room.value_pitch(v_dim) * 4;
  room.v = kOwn * room.k_pitch;
  room.k_scales = room.v + kOwn * room.v_pitch;
  room.v_scales = room.k_scales + kOwn * room.k_groups * 4;
  room.stage = room.v_scales + kOwn * room.v_groups * 4;
  room.stage = room.stage > least_stage ? room.stage : least_stage;
  room.stages = stages;
  room.end = room.ring + kAttnWarps * stages * room.stage;
  return room;
}

/// `slots` for the sums of a row and head: one of each class, or one of each share and warp.
struct PackedSlab {
  AttnSlab slab;
  PackedRoom room;
  int slots;
  __device__ bool by_class() const { return slots == kClasses; }
  __device__ int64_t slot_of(int row, int head, int slot) const {
    return slab.unit_of(row, head) * slots + slot;
  }
};

/// Which pages a row reads packed, besides its place.
struct PackedPlace {
  RowPlace row;
  const int32_t* packed;  // of the sequence
  int begin, end, pack;

  static __device__ PackedPlace of(const SeqRow& seq) {
    return {RowPlace::of(seq), read_early(&seq.packed),
            static_cast<int>(read_early(&seq.packed_begin)),
            static_cast<int>(read_early(&seq.packed_end)), static_cast<int>(read_early(&seq.pack))};
  }
  __device__ bool begins_tile(const PackedPlace& before, int rows_of_tile) const {
    return row.begins_tile(before.row, rows_of_tile) || packed != before.packed ||
           begin != before.begin || end != before.end;
  }
};

/// A tile, all rows of which read the same pages packed; no rows: none begins here. `early`: what
/// it reads packed was there before the step.
struct FoundPacked {
  int rows;
  PackedPlace place;
  bool early;
};

/// The tile that begins at row r of the slab, by each warp for itself. What its columns read goes
/// to `reads`.
static __device__ FoundPacked find_packed_tile(const AttnSlab& slab, int r, int columns, int heads,
                                               Reads* reads) {
  const int lane = threadIdx.x % 32, most = min(columns / slab.heads_of_tile, 30);
  const SeqRow* const seq = slab.args.seq + slab.first_row;
  // Lane l asks whether a tile begins at row r + l.
  const int mine = r + lane;
  bool begins = mine >= slab.rows || lane > most;
  if (!begins && slab.first_row + mine > 0)
    begins = PackedPlace::of(seq[mine]).begins_tile(PackedPlace::of(seq[mine - 1]), most);
  else
    begins = true;
  // Rows of a slab's tile are of the slab.
  if (mine == 0) begins = true;
  const unsigned mask = __ballot_sync(~0u, begins);
  if ((mask & 1) == 0) return {};
  const int rows = __ffs(static_cast<int>(mask >> 1));
  for (int i = threadIdx.x; i < columns; i += kAttnThreads)
    reads[i] = RowPlace::of(seq[r + min(i / heads, rows - 1)]).reads(slab.args);
  const PackedPlace place = PackedPlace::of(seq[r]);
  const bool first = slab.first_row + r == 0 || read_early(&seq[r - 1].pages) != place.row.pages;
  return {rows, place, first && rows == 1 && place.pack < 0};
}

/// The same in all lanes, and known to be so: branches on it are the warp's.
static __device__ __forceinline__ int uniform(int x) { return __reduce_max_sync(~0u, x); }

/// A span of positions to add, of a share; -1: none.
struct PackedStep {
  int share, span;
};

/// The spans of a tile, counted from 0: share s of the KV axis has every kShares-th from s on, a
/// class every kClasses-th share. By class: blocks take every `blocks`-th class, share by share;
/// else each a share.
struct PackedWalk {
  const Reads* reads;
  int columns, heads;
  int first, last;           // positions that any row reads
  int whole_from, whole_to;  // and those that every row does
  bool rotates, by_class;
  int begin;  // the first span, by its number
  int parts;  // classes or shares that have any
  int blocks;

  __device__ PackedWalk(const PackedSlab& all, const Reads* rows, int count, int heads_of_row)
      : reads(rows),
        columns(count),
        heads(heads_of_row),
        first(uniform(rows[0].first)),
        last(uniform(rows[count - 1].last)),
        whole_from(uniform(rows[count - 1].first)),
        whole_to(uniform(rows[0].last)),
        by_class(all.by_class()),
        begin(first / kSpan),
        parts(min(last / kSpan - begin + 1, by_class ? kClasses : kShares)),
        blocks(min(parts, static_cast<int>(gridDim.z))) {
    int any = 0;
#pragma unroll 1
    for (int r = 0; r < count; r += heads_of_row) any |= rows[r].kept;
    rotates = uniform(any) != 0;
    if (rotates) whole_to = -1;
  }

  /// Of the parts that have a span, by its number among all.
  __device__ int number(int part) const {
    return (begin + part) & ((by_class ? kClasses : kShares) - 1);
  }
  /// Whether every row reads all of 16 positions.
  __device__ __forceinline__ bool is_whole(int at) const {
    return at >= whole_from && at + 15 <= whole_to;
  }
  /// Whether any row of a rotating cache reads any of kOwn positions.
  __device__ __forceinline__ bool leaves(int at) const {
#pragma unroll 1
    for (int r = 0; r < columns; r += heads) {
      const Reads& row = reads[r];
      if (row.kept == 0 || at < row.kept || at + kOwn > row.resume) return true;
    }
    return false;
  }
  __device__ __forceinline__ bool is_read(int at) const {
    return at <= last && at + kOwn > first && (!rotates || uniform(leaves(at)) != 0);
  }
  __device__ __forceinline__ PackedStep start(int share) const {
    return {share, (begin + ((share - begin) & (kShares - 1))) * kSpan};
  }
  /// The first of a part, which has one.
  __device__ __forceinline__ PackedStep start_part(int part) const {
    const PackedStep step = start(number(part));
    return step.span <= last ? step : after({step.share, last});
  }
  __device__ __forceinline__ PackedStep after(const PackedStep& step) const {
    if (step.span + kShares * kSpan <= last) return {step.share, step.span + kShares * kSpan};
#pragma unroll 1
    for (int share = step.share + kClasses; by_class && share < kShares; share += kClasses)
      if (const PackedStep next = start(share); next.span <= last) return next;
    return {kShares, -1};
  }
};

}  // namespace stepless::kernels::sm80
