// The warps that fill the ring with keys and values of packed and plain pages (prompt_packed.cuh
// says what those are). Four, three for 8 bits, take a visit each in turn: they have its codes
// brought to a room of their own. A visit is a chunk in one of its forms: of rows that stand at
// both sides of a page's border some read it packed and some plain. Rows that a visit does not
// concern read nothing of it.
#pragma once
#include "kernels/cuda/sm90/prompt_packed.cuh"

namespace stepless::kernels::sm90 {

/// The visits of a tile, in order.
struct VisitWalk {
  const SeqRow* seq;
  const int32_t *packed, *plain;  // pages
  int rows, first, last;
  bool rotates;
  SpanEdges edges;

  __device__ int begin(const AttnSlab& slab, const TallTile& tile) {
    seq = slab.args.seq + slab.first_row + tile.first, rows = tile.rows;
    packed = read_early(&seq->packed), plain = read_early(&seq->pages);
    first = RowPlace::of(seq[0]).reads(slab.args).first;
    last = static_cast<int>(read_early(&seq[rows - 1].position));
    rotates = read_early(&seq[rows - 1].kept) != 0;
    edges = SpanEdges::gather(rows, [&](int r) { return span_of(slab.args, seq[r]); });
    return settle(slab, first / kChunk * kChunk);
  }
  __device__ int after(const AttnSlab& slab, int visit) const {
    return settle(slab, following(visit));
  }
  static __device__ int following(int visit) {
    return (visit & kPlainVisit) == 0 ? visit + kPlainVisit : visit - kPlainVisit + kChunk;
  }
  /// -1 behind the last.
  __device__ int settle(const AttnSlab& slab, int visit) const {
#pragma unroll 1
    while (chunk_of<1>(visit) <= last && !is_made(slab, visit)) visit = following(visit);
    return chunk_of<1>(visit) <= last ? visit : -1;
  }
  /// Whether any row reads any of a visit.
  __device__ bool is_made(const AttnSlab& slab, int visit) const {
    const int chunk = chunk_of<1>(visit);
    const bool plain = (visit & kPlainVisit) != 0;
    if (!rotates && edges.all.has(chunk)) return !plain;
    if (!rotates && !edges.any.has(chunk)) return plain;
    bool any = false;
#pragma unroll 1
    for (int r = threadIdx.x % 32; r < rows; r += 32) {
      const Reads reads = RowPlace::of(seq[r]).reads(slab.args);
      const bool left_out = reads.kept > 0 && chunk >= reads.kept && chunk + kChunk <= reads.resume;
      any = any || (reads.first < chunk + kChunk && reads.last >= chunk && !left_out &&
                    span_of(slab.args, seq[r]).has(chunk) != plain);
    }
    return __any_sync(~0u, any) != 0;
  }
};

/// Of a power of 2.
static __device__ int log2_of(int x) { return __ffs(x) - 1; }

/// One of the warps that fill the ring.
template <DType type, int kDim, int bits>
struct PackedDecoder {
  using Room = TallRoom<kDim, bits>;
  static constexpr int kVisits = Room::kStages / 2, kEights = kDim / 8, kRowsAtOnce = 32 / kEights;
  static constexpr int kRowBytes = kDim * bits / 8;

  const TallCall& call;
  const uint32_t shared;
  const AttnSlab& slab = call.slab;
  const PackedKv& kv = slab.args.cache.packed;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int group_shift = log2_of(kv.group_size);
  const int groups = kDim >> group_shift, groups_shift = log2_of(groups);
  const int counts = kChunk << groups_shift;  // scales of a chunk
  const uint32_t codes = shared + Room::kCodes + warp * Room::kRaw;
  // The visit that the walk stands at, its number among all of the block's, and the one behind it.
  VisitWalk walk;
  TallTile tile;
  int round = -1, visit = -1, next = -1, number = -1;
  uint32_t parity = 0;  // of the barrier of this warp's codes, or plain values

  __device__ uint32_t arrived() const { return TallRing<Room>{shared, warp}.raw(); }
  __device__ uint32_t factors(int half) const {
    return codes + 2 * Room::kCodeBytes + half * counts * 4;
  }

  /// Goes on by a visit; false behind the last.
  __device__ bool advance(const uint16_t* begins, int tiles) {
    const int items = tiles * static_cast<int>(slab.args.heads);
    const auto blocks = static_cast<int>(gridDim.x);
    ++number;
    visit = next;
    while (visit < 0) {
      if (++round * blocks >= items) return false;
      const int item = item_of(round);
      if (item >= items) continue;
      tile = TallTile::of(slab, begins, tiles, item);
      visit = walk.begin(slab, tile);
    }
    next = walk.after(slab, visit);
    return true;
  }
  /// Among all positions of all pages.
  __device__ int find_place() const {
    const AttnArgs& a = slab.args;
    const PagePlace at = PagePlace::of(slab, chunk_of<bits>(visit));
    const int32_t* const pages = (visit & kPlainVisit) == 0 ? walk.packed : walk.plain;
    const auto tokens = static_cast<int>(a.cache.page_tokens);
    return (read_early(pages + at.page) * static_cast<int>(a.cache.kv_heads) + tile.kv_head(slab)) *
               tokens +
           at.slot;
  }

  __device__ void bring_half(const PackedHalf& half, int which, int64_t place) const {
    const int bytes = counts * 2;
    copy_expected(codes + which * Room::kCodeBytes, half.codes + place * kRowBytes,
                  Room::kCodeBytes, arrived());
    copy_expected(factors(which), half.scales + place * groups * 2, bytes, arrived());
    copy_expected(factors(which) + bytes, half.biases + place * groups * 2, bytes, arrived());
  }
  /// Starts the copies of a packed visit.
  __device__ void bring(int place) const {
    __syncwarp();
    if (lane != 0 || (visit & kPlainVisit) != 0) return;
    expect_bytes(arrived(), 2 * Room::kCodeBytes + 8 * counts);
    bring_half(PackedHalf::keys(kv), 0, place);
    bring_half(PackedHalf::values(kv), 1, place);
  }

  static constexpr int kFactors = kChunk * (kDim / 32) / 32;  // of a lane, at most
  /// Scales and biases, of which one array comes behind the other. Words of 32 bits will take the
  /// place of both.
  __device__ __forceinline__ void load_factors(float2 (&to)[kFactors], int half) const {
#pragma unroll
    for (int i = 0; i < kFactors; ++i) {
      to[i] = make_float2(0.0f, 0.0f);
      if (32 * i >= counts) continue;
      uint16_t scale, bias;
      const uint32_t from = factors(half) + (32 * i + lane) * 2;
      asm volatile("ld.shared.u16 %0,[%1];" : "=h"(scale) : "r"(from) : "memory");
      asm volatile("ld.shared.u16 %0,[%1];" : "=h"(bias) : "r"(from + counts * 2) : "memory");
      to[i] = make_float2(low_bf16(scale), low_bf16(bias));
    }
    __syncwarp();
  }
  __device__ __forceinline__ void store_factor(int half, int i, uint32_t word) const {
    asm volatile("st.shared.u32 [%0],%1;" ::"r"(factors(half) + (32 * i + lane) * 4), "r"(word)
                 : "memory");
  }
  /// The power of 2 that makes keys as large as they shall be.
  static __device__ __forceinline__ int key_power(const float2 (&all)[kFactors]) {
    uint32_t most = 0;
#pragma unroll
    for (int i = 0; i < kFactors; ++i) {
      const float last = fmaf(all[i].x, static_cast<float>((1 << bits) - 1), all[i].y);
      const uint32_t x = __float_as_uint(fabsf(all[i].y)), y = __float_as_uint(fabsf(last));
      if (x < 0x7f800000u && y < 0x7f800000u) most = max(most, max(x, y));
    }
    return power_to(__reduce_max_sync(~0u, most), 13);
  }
  /// Scales for decode_keys(), and biases as operands behind the keys of a stage: of each group the
  /// first part twice, then the second.
  __device__ __forceinline__ void store_key_factors(const float2 (&all)[kFactors], int power,
                                                    uint32_t keys_room) const {
    constexpr float kCenter = 1 << (bits - 1);
    const float by = exact_power(power);
#pragma unroll
    for (int i = 0; i < kFactors; ++i) {
      if (32 * i >= counts) continue;
      const float scale = all[i].x * by;
      store_factor(0, i, narrowed<DType::f16>(scale, scale));
      const uint32_t two = in_two(fmaf(scale, kCenter, all[i].y * by));
      const unsigned place = 32 * i + lane, position = place >> groups_shift;
      const unsigned group = place & (groups - 1);
      const uint32_t to = keys_room + Room::kPlanes * Room::kStage + position / 8 * 256 +
                          group / 2 * 128 + position % 8 * 16 + group % 2 * 8;
      asm volatile("st.shared.v2.u32 [%0],{%1,%2};" ::"r"(to), "r"(low_halves(two, two)),
                   "r"(high_halves(two, two))
                   : "memory");
    }
    __syncwarp();
  }
  /// Whether there may be wild values: f16 lacks a factor, or the value of the last code.
  __device__ __forceinline__ bool store_value_factors(const float2 (&all)[kFactors]) const {
    bool may_be = false;
#pragma unroll
    for (int i = 0; i < kFactors; ++i) {
      if (32 * i >= counts) continue;
      const uint32_t two = value_factors<bits>(all[i].x, all[i].y);
      const uint32_t last = F16::fma2(low_halves(two, two), 0x3c003c00u, high_halves(two, two));
      may_be = may_be || not_finite<DType::f16>(two) || not_finite<DType::f16>(last);
      store_factor(1, i, two);
    }
    may_be = __any_sync(~0u, may_be) != 0;
    __syncwarp();
    return may_be;
  }

  /// Calls one(where it goes, its codes, its factors) for each eight of a chunk's keys or values.
  template <class One>
  __device__ __forceinline__ void each_eight(int half, uint32_t to, const One& one) const {
    constexpr int kBatch = 4, kBatches = kChunk / (kBatch * kRowsAtOnce);
    const unsigned column = lane % kEights, row = lane / kEights;
    uint32_t from = codes + half * Room::kCodeBytes + lane * bits;
    uint32_t factor = factors(half) + ((row << groups_shift) + (column * 8 >> group_shift)) * 4;
    const uint32_t factor_step = kRowsAtOnce * 4 << groups_shift;
    // Rows of a batch differ in bits that the lane's own has not.
    to += column / 8 * Room::kBlock + row * 128 + (column ^ row) % 8 * 16;
#pragma unroll 1
    for (int batch = 0; batch < kBatches; ++batch) {
      uint2 words[kBatch];
      uint32_t by[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        words[i] = make_uint2(0, 0);
        if constexpr (bits == 4)
          asm volatile("ld.shared.u32 %0,[%1];" : "=r"(words[i].x) : "r"(from + i * 32 * bits));
        else
          words[i] = load_shared8(from + i * 32 * bits);
        asm volatile("ld.shared.u32 %0,[%1];" : "=r"(by[i]) : "r"(factor));
        factor += factor_step;
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        one((to ^ i * kRowsAtOnce % 8 * 16) + i * kRowsAtOnce * 128, words[i], by[i]);
      from += kBatch * 32 * bits, to += kBatch * kRowsAtOnce * 128;
    }
  }
  __device__ __forceinline__ void decode_keys(uint32_t room) const {
    each_eight(0, room, [](uint32_t to, uint2 words, uint32_t scale) {
      uint32_t high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t code = centered_codes<bits>(words, i);
        high[i] = mul_f16x2(code, scale);
        if constexpr (bits == 8) low[i] = lost_f16x2(code, scale, high[i]);
      }
      store_shared16(to, make_uint4(high[0], high[1], high[2], high[3]));
      if constexpr (bits == 8)
        store_shared16(to + Room::kStage, make_uint4(low[0], low[1], low[2], low[3]));
    });
  }
  /// Whether any value is wild, which there is none of unless one `may_be`.
  template <bool may_be>
  __device__ __forceinline__ bool decode_chunk_values(uint32_t room) const {
    bool wild = false;
    each_eight(1, room, [&wild](uint32_t to, uint2 words, uint32_t factors_of) {
      uint32_t v[4];
      decode_values<bits>(words, factors_of, v);
      if constexpr (may_be) {
        uint32_t marks = 0;
#pragma unroll
        for (uint32_t& w : v) marks = F16::fma2(w, 0, marks);
        if (is_marked(marks)) {
          wild = true;
#pragma unroll
          for (uint32_t& w : v) clear_wild(w);
        }
      }
      store_shared16(to, make_uint4(v[0], v[1], v[2], v[3]));
    });
    return wild;
  }

  /// What readers ask of a stage.
  __device__ void tell(const TallRing<Room>& stage, int place, int power) const {
    asm volatile("st.shared.v2.u32 [%0],{%1,%2};" ::"r"(stage.chunks()), "r"(visit), "r"(next)
                 : "memory");
    asm volatile("st.shared.v2.u32 [%0],{%1,%2};" ::"r"(stage.place()), "r"(place),
                 "r"(__float_as_uint(exact_power(-power)))
                 : "memory");
  }
  /// The stage is there, written by this warp.
  __device__ void end_stage(const TallRing<Room>& stage, bool wild) const {
    show_to_products();
    wild = __any_sync(~0u, wild) != 0;
    __syncwarp();  // what all lanes wrote is there for whom lane 0 tells
    if (lane != 0) return;
    if (wild)
      asm volatile("st.shared.u32 [%0],%1;" ::"r"(stage.wild()), "r"(number + 1) : "memory");
    arrive(stage.full());
  }
  __device__ void fill_packed(const TallRing<Room>& keys, const TallRing<Room>& values, int place) {
    float2 all[kFactors];
    wait(arrived(), parity);
    load_factors(all, 0);
    const int power = key_power(all);
    wait(keys.empty(), keys.parity ^ 1);
    store_key_factors(all, power, keys.room());
    decode_keys(keys.room());
    if (lane == 0) tell(keys, place, power);
    end_stage(keys, false);
    load_factors(all, 1);
    const bool may_be = store_value_factors(all);
    wait(values.empty(), values.parity ^ 1);
    const bool wild = may_be ? decode_chunk_values<true>(values.room())
                             : decode_chunk_values<false>(values.room());
    if (lane == 0) tell(values, place, 0);
    end_stage(values, wild);
  }
  __device__ void fill_plain(const TallRing<Room>& keys, const TallRing<Room>& values, int place) {
    if (lane == 0) {
      wait(keys.empty(), keys.parity ^ 1);
      tell(keys, place, 0);
      copy_chunk<Room>(keys.room(), call.keys, place, keys.full());
      wait(values.empty(), values.parity ^ 1);
      tell(values, place, 0);
      copy_chunk<Room>(values.room(), call.values, place, arrived());
    }
    __syncwarp();
    wait(arrived(), parity);
    const int chunk = chunk_of<bits>(visit);
    const bool wild = make_chunk_plain<type, Room>(
        values.room(), [&](int i) { return chunk + i >= walk.first && chunk + i <= walk.last; });
    end_stage(values, wild);
  }

  __device__ void run(const uint16_t* begins, int tiles) {
    if (warp >= kVisits) return;
    // Biases of groups that there are not.
    const uint32_t biases = TallRing<Room>{shared, 2 * warp}.room() + Room::kPlanes * Room::kStage;
    for (int i = lane; i < kChunk * 2; i += 32)
      store_shared16(biases + i * 16, make_uint4(0, 0, 0, 0));
    __syncwarp();
    // Visits of other warps are passed over.
    const auto find_mine = [&](int steps) {
      bool is = true;
      for (; is && steps > 0; --steps) is = advance(begins, tiles);
      return is;
    };
    bool is = find_mine(warp + 1);
    int place = is ? find_place() : 0;
    if (is) bring(place);
    while (is) {
      const int stage = 2 * number % Room::kStages;
      const uint32_t turn = 2 * number / Room::kStages & 1;
      const TallRing<Room> keys{shared, stage, turn}, values{shared, stage + 1, turn};
      if ((visit & kPlainVisit) == 0)
        fill_packed(keys, values, place);
      else
        fill_plain(keys, values, place);
      parity ^= 1;
      is = find_mine(kVisits);
      if (!is) break;
      place = find_place();
      bring(place);
    }
  }
};

}  // namespace stepless::kernels::sm90
