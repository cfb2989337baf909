// Attention of prompts by warpgroups, in an order of its own.
//
// Order wgmma_pages: a row reads its positions by chunks of 64, counted from 0, one after the
// other. Scores are sums over the head in float32; weights 2^(score - peak), relative to the
// largest score so far, meet values in f16: those of bf16 as one number, which leaves 2^-12 of
// them, where f16 of results needs two. Values of bf16 are in f16 what they are, or if they are
// smaller than it has them, within 2^-25; larger ones are met apart (prompt_values.cuh). Every row
// is summed alone by the same instructions, and a chunk of which it reads nothing leaves its sums
// as they are: so tiles, and m, change no bit. Packed pages become f16 on their way, keys and
// values, and queries beside them (prompt_packed.cuh); without any a row has the same bits.
//
// A block is a thread that starts copies, three warps that make values f16, and two readers, which
// take 64 rows of one head each; queries, sums and weights stay in registers. While a chunk's
// values are added, the next one's scores become weights. docs/decisions/0009 says where the time
// goes, what was tried, and that one number of bf16 for a weight is not enough.
#pragma once
#include "kernels/cuda/sm80/attention_merge.cuh"
#include "kernels/cuda/sm90/prompt_operands.cuh"
#include "kernels/cuda/sm90/prompt_packed.cuh"

namespace stepless::kernels::sm90 {

/// cap * tanh(x), within 2^-21 of the cap.
static __device__ __forceinline__ float capped(float x, float cap) {
  return cap - __fdividef(2 * cap, 1 + power_of_2(2 * kLog2e * x));
}

/// Weights are at most this, so that f16 has eleven bits of all down to 2^-29 of the largest.
constexpr float kMostWeightLog2 = 15, kMostWeight = 32768;

/// 64 rows of one head, by a warpgroup.
template <DType type, int kDim, int bits>
struct TallReader {
  using Room = TallRoom<kDim, bits>;
  using Ring = TallRing<Room>;
  static constexpr int kSteps = kDim / 16, kScores = kChunk / 2, kSums = kDim / 2;
  static constexpr int kValueSteps = kChunk / 16;
  // Numbers of 16 bits that make a weight: f16 is as exact as results of f16 need in two.
  static constexpr int kParts = type == DType::bf16 ? 1 : 2;

  const AttnSlab& slab;
  const uint32_t shared;
  uint8_t* const dynamic;
  const AttnArgs& a = slab.args;
  const int reader = threadIdx.x / 128 - 1;
  const int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  Ring ring{shared};
  TallTile tile;
  int rows;        // of mine that are rows
  int next;        // the visit behind the one met last; -1: none
  int first, all;  // from here to there every row of mine reads, unless `rotates`
  bool rotates;
  bool simple;                               // scores are products times a scale above 0
  bool wild;                                 // the values to be added next
  SpanEdges edges;                           // of the rows of mine
  int form;                                  // of the chunks that queries are for now; -1: none
  float scale_of_keys, scale_of_queries[2];  // of a packed chunk, and of rows, as they meet those
  float acc[kSums], peak[2], total[2];
  float shrink[2];                            // of sums so far, before the next chunk's values
  uint32_t weights[kParts * kValueSteps][4];  // in f16, then what that leaves
  uint32_t queries[kSteps][4];                // as operands
  uint32_t query_sums[4];                     // beside the biases of packed keys
  int count = 0;                              // of chunks whose values were met

  __device__ void sync() const { asm volatile("bar.sync %0,128;" ::"r"(reader + 1) : "memory"); }
  __device__ int local(int half) const { return 16 * warp + g + 8 * half; }
  __device__ Reads* reads() const {
    return reinterpret_cast<Reads*>(dynamic + Room::kReads) + reader * kReaderRows;
  }
  __device__ PackedSpan* spans() const {
    return reinterpret_cast<PackedSpan*>(dynamic + Room::kSpans) + reader * kReaderRows;
  }
  /// Of the slab; rows behind the last are the last again.
  __device__ int row_of(int mine) const {
    return tile.first + min(reader * kReaderRows + mine, tile.rows - 1);
  }
  __device__ const uint16_t* query(int mine) const {
    return static_cast<const uint16_t*>(a.q) + (slab.first_row + row_of(mine)) * a.q_stride +
           tile.head * kDim;
  }

  __device__ __forceinline__ void load_queries() {
    if (reinterpret_cast<uintptr_t>(a.q) % 16 == 0) return load_whole_queries();
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        queries[step][i] = __ldcg(
            reinterpret_cast<const uint32_t*>(query(local(i % 2)) + step * 16 + i / 2 * 8 + 2 * t));
  }
  /// The same by 16 bytes a lane, turned in the room for wild values: a tile starts 2 us sooner.
  __device__ __forceinline__ void load_whole_queries() {
    constexpr int kEach = kReaderRows * 8 / 128;
    const uint32_t room = shared + Room::kApart + reader * Room::kBlock;
    const int i0 = threadIdx.x % 128, row = 16 * warp + threadIdx.x % 16;
    uint4 q[kDim / 64][kEach];
#pragma unroll
    for (int block = 0; block < kDim / 64; ++block)
#pragma unroll
      for (int j = 0; j < kEach; ++j)
        q[block][j] =
            __ldcg(reinterpret_cast<const uint4*>(query(i0 / 8 + 16 * j)) + block * 8 + i0 % 8);
#pragma unroll
    for (int block = 0; block < kDim / 64; ++block) {
      sync();  // what was there has been read
#pragma unroll
      for (int j = 0; j < kEach; ++j)
        store_shared16(room + (i0 / 8 + 16 * j) * 128 + ((i0 % 8) ^ (i0 / 8 % 8)) * 16,
                       q[block][j]);
      sync();
#pragma unroll
      for (int step = 0; step < 4; ++step)
        load_matrices(queries[block * 4 + step],
                      room + row * 128 + ((2 * step + threadIdx.x % 32 / 16) ^ (row % 8)) * 16);
    }
  }
  /// Whether queries are operands beside the keys of a visit.
  __device__ bool are_ready(int visit) const { return bits == 0 || form == (visit & kPlainVisit); }
  /// Makes them.
  __device__ __forceinline__ void prepare_queries(int visit) {
    if (are_ready(visit)) return;
    form = visit & kPlainVisit;
    load_queries();
    if (form == 0)
      make_queries_f16<type>(queries, query_sums, scale_of_queries, a.cache.packed.group_size);
  }

  __device__ void start(const TallTile& one) {
    tile = one;
    rows = min(max(one.rows - reader * kReaderRows, 0), kReaderRows);
    const int i = threadIdx.x % 128;
    const SeqRow& seq = a.seq[slab.first_row + row_of(min(i, kReaderRows - 1))];
    const RowPlace place = RowPlace::of(seq);  // on its way while queries are
    if constexpr (bits == 0) load_queries();
    sync();  // the tile before has been read
    if (i < kReaderRows) reads()[i] = place.reads(a);
    if constexpr (bits != 0) {
      if (i < kReaderRows) spans()[i] = span_of(a, seq);
      form = -1;
    }
    sync();
    first = reads()[kReaderRows - 1].first, all = reads()[0].last;
    simple = slab.cap == 0.0f && slab.scale > 0.0f;
    rotates = reads()[0].kept != 0 || reads()[kReaderRows - 1].kept != 0;
    if constexpr (bits != 0) edges = SpanEdges::of(spans(), kReaderRows);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 begin = start_of(a, tile.head);
      peak[half] = begin.x, total[half] = t == 0 ? begin.y * kMostWeight : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kSums; ++i) acc[i] = 0.0f;
  }

  /// Waits for keys and returns their visit.
  __device__ __forceinline__ int meet_chunk(const Ring& keys) {
    wait(keys.full(), keys.parity);
    return take_chunk(keys);
  }
  /// The same of keys that are there.
  __device__ __forceinline__ int take_chunk(const Ring& keys) {
    const uint2 chunks = load_shared8(keys.chunks());
    next = static_cast<int>(chunks.y);
    if constexpr (bits != 0) scale_of_keys = __uint_as_float(load_shared8(keys.place()).y);
    return static_cast<int>(chunks.x);
  }
  /// Scores of keys of type `of`; under way when this returns.
  template <DType of, int kPlanes>
  __device__ __forceinline__ void make_scores_of(float (&s)[kScores], uint32_t keys_room) {
    begin_products();
    const auto at = static_cast<uint32_t>(operand_at(keys_room));
#pragma unroll
    for (int i = 0; i < kPlanes * kSteps; ++i) {
      const int step = i % kSteps;
      const uint64_t keys = operand_behind<operand_at(0)>(
          at, i / kSteps * Room::kStage + step / 4 * Room::kBlock + step % 4 * 32);
      if (i == 0)
        Wgmma<kChunk, of, 0, 0>::add(s, queries[step], keys);
      else
        Wgmma<kChunk, of>::add(s, queries[step], keys);
    }
  }
  __device__ __forceinline__ void make_scores(float (&s)[kScores], uint32_t keys_room) {
    if (bits != 0 && form == 0) {
      make_scores_of<DType::f16, Room::kPlanes>(s, keys_room);
      Wgmma<kChunk, DType::f16>::add(
          s, query_sums, operand_in_blocks(keys_room + Room::kPlanes * Room::kStage, 256));
    } else {
      make_scores_of<type, 1>(s, keys_room);
    }
    commit_products();
  }

  /// Whether every row of mine reads all of a visit.
  __device__ bool is_whole(int visit) const {
    const int chunk = chunk_of<bits>(visit);
    bool whole = !rotates && chunk >= first && chunk + kChunk - 1 <= all;
    if constexpr (bits != 0) whole = whole && edges.has_all(visit);
    return whole;
  }
  /// Whether a row of mine reads a visit's chunk in its form.
  __device__ bool has_form(int row, int visit) const {
    return bits == 0 || spans()[row].has(chunk_of<bits>(visit)) == ((visit & kPlainVisit) == 0);
  }

  /// Largest scores, and what weights are relative to.
  template <bool kPlain>
  __device__ __forceinline__ void find_peaks(float (&s)[kScores], int visit, float (&scale)[2],
                                             float (&to_most)[2]) {
    const int chunk = chunk_of<bits>(visit);
    scale[0] = scale[1] = slab.scale;
    if constexpr (bits != 0) {
      if ((visit & kPlainVisit) == 0) {
#pragma unroll
        for (int half = 0; half < 2; ++half)
          scale[half] *=
              fminf(fmaxf(scale_of_queries[half] * scale_of_keys, kLeastScale), 1.0f / kLeastScale);
      }
    }
    if (!kPlain && !simple) {
#pragma unroll
      for (int i = 0; i < kScores; ++i) {
        const float score = s[i] * scale[i / 2 % 2];
        s[i] = slab.cap != 0.0f ? capped(score, slab.cap) : score;
      }
      scale[0] = scale[1] = 1.0f;
    }
    if (!kPlain && !is_whole(visit)) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Reads mine = reads()[local(half)];
        if (!has_form(local(half), visit)) mine.last = -1;
#pragma unroll
        for (int i = 0; i < kScores / 4; ++i)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (!mine.has(chunk + 8 * i + 2 * t + e)) s[4 * i + 2 * half + e] = -INFINITY;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top[2] = {s[2 * half], s[2 * half + 1]};
#pragma unroll
      for (int i = 1; i < kScores / 4; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) top[e] = max_or_nan(top[e], s[4 * i + 2 * half + e]);
      top[0] = max_or_nan(top[0], top[1]);
      top[0] = max_or_nan(top[0], __shfl_xor_sync(~0u, top[0], 1));
      top[0] = max_or_nan(top[0], __shfl_xor_sync(~0u, top[0], 2));
      const float now = max_or_nan(peak[half], top[0] * scale[half]);
      // All may be -infinity so far: then nothing weighs.
      const float base = now == -INFINITY ? 0.0f : now;
      shrink[half] = power_of_2(peak[half] - base);
      peak[half] = now;
      to_most[half] = kMostWeightLog2 - base;
    }
  }
  /// Scores become weights, and what they sum to.
  __device__ __forceinline__ void weigh(float (&s)[kScores], const float (&scale)[2],
                                        const float (&to_most)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum[2] = {0.0f, 0.0f};
#pragma unroll
      for (int i = 0; i < kScores / 4; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& weight = s[4 * i + 2 * half + e];
          weight = power_of_2(fmaf(weight, scale[half], to_most[half]));
          sum[e] += weight;
        }
      total[half] = fmaf(total[half], shrink[half], sum[0] + sum[1]);
    }
  }
  /// Weights as operands.
  __device__ __forceinline__ void narrow(const float (&s)[kScores]) {
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i) {
      const uint32_t pair = narrowed<DType::f16>(s[2 * i], s[2 * i + 1]);
      weights[i / 4][i % 4] = pair;
      if constexpr (kParts == 2) {
        const float2 near = widened<DType::f16>(pair);
        weights[kValueSteps + i / 4][i % 4] =
            narrowed<DType::f16>(s[2 * i] - near.x, s[2 * i + 1] - near.y);
      }
    }
  }

  __device__ __forceinline__ void shrink_sums() {
    if (__any_sync(~0u, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) acc[i] *= shrink[i / 2 % 2];
    }
  }
  /// Sums of weighted values of `values`; under way when this returns.
  __device__ __forceinline__ void add_values(uint32_t values) {
    begin_products();
    const auto at = static_cast<uint32_t>(operand_across(values, Room::kBlock));
#pragma unroll
    for (int step = 0; step < kParts * kValueSteps; ++step)
      Wgmma<kDim, DType::f16, 1>::add(
          acc, weights[step],
          operand_behind<operand_across(0, Room::kBlock)>(at, step % kValueSteps * 2048));
    commit_products();
  }

  /// Part 0 or 1 of a step's weights as operands beside wild values.
  __device__ __forceinline__ void part_in_type(int step, int part, uint32_t (&to)[4]) const {
    if constexpr (type == DType::bf16) {
      part_in_bf16(weights[step], part, to);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = weights[part * kValueSteps + step][i];
    }
  }
  /// Writes wild values of 64 elements of a visit to `room`, of those that `only` reads.
  __device__ __forceinline__ void find_wild_of(int place, int visit, int block, int value_part,
                                               const Reads* only, uint32_t room) const {
    if constexpr (bits != 0) {
      if ((visit & kPlainVisit) == 0)
        return find_wild_packed<kDim, bits>(a.cache.packed, place, chunk_of<bits>(visit),
                                            block * 64, value_part, only, room);
    }
    find_wild<type, kDim>(a.cache.v + int64_t{place} * (kDim * 2) + block * 128,
                          chunk_of<bits>(visit), only, room);
  }
  /// Adds a chunk's wild values, which are rare: row by row where a row may leave out what others
  /// read, for its weight of 0 would make NaN of infinity. Those of packed pages are two numbers.
  __device__ __forceinline__ void add_wild(int place, int visit) {
    const uint32_t room = shared + Room::kApart + reader * Room::kBlock;
    const bool whole = is_whole(visit);
    const int value_parts = bits != 0 && (visit & kPlainVisit) == 0 ? 2 : 1;
#pragma unroll 1
    for (int row = 0; row < (whole ? 1 : kReaderRows); ++row) {
      const Reads only = reads()[row];
      if (!whole && !has_form(row, visit)) continue;
#pragma unroll
      for (int block = 0; block < kDim / 64; ++block) {
        float sum[32];
#pragma unroll
        for (int i = 0; i < 32; ++i) sum[i] = acc[block * 32 + i];
#pragma unroll 1
        for (int value_part = 0; value_part < value_parts; ++value_part) {
          find_wild_of(place, visit, block, value_part, whole ? nullptr : &only, room);
          show_to_products();
          sync();
#pragma unroll
          for (int part = 0; part < 2; ++part)
#pragma unroll
            for (int step = 0; step < kValueSteps; ++step) {
              uint32_t by[4];
              part_in_type(step, part, by);
              begin_products();
              Wgmma<64, type, 1>::add(sum, by, operand_across(room + step * 2048, 0));
              commit_products();
              wait_products<0>();
              pin(sum);
            }
          sync();
        }
#pragma unroll
        for (int i = 0; i < 32; ++i)
          if (whole || local(i / 2 % 2) == row) acc[block * 32 + i] = sum[i];
      }
    }
  }
  __device__ __forceinline__ bool are_wild(const Ring& values) {
    uint32_t last_wild;
    asm volatile("ld.shared.u32 %0,[%1];" : "=r"(last_wild) : "r"(values.wild()) : "memory");
    return static_cast<int>(last_wild) == ++count;
  }
  /// Adds all of a chunk, so that its weights can be 0 where plain values are added otherwise.
  __device__ __forceinline__ void add_with_wild(const Ring& values, int visit) {
    add_values(values.room());
    wait_products<0>();
    pin(acc);
    uint32_t place;
    asm volatile("ld.shared.u32 %0,[%1];" : "=r"(place) : "r"(values.place()) : "memory");
    add_wild(static_cast<int>(place), visit);
#pragma unroll
    for (auto& step : weights)
#pragma unroll
      for (uint32_t& pair : step) pair = 0;
  }

  /// This warp has read the stage.
  __device__ __forceinline__ void release(const Ring& stage) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(stage.empty());
  }

  /// The keys behind those whose scores are made, and whether they and the values of these, where
  /// the ring stands, have come. Behind the last keys there are none: then of the values alone.
  struct Ahead {
    Ring keys;
    bool have_values, have_keys;
  };
  __device__ __forceinline__ Ahead look_ahead() const {
    Ring keys = ring;
    if (next >= 0) keys.next();
    return {keys, is_over(ring.full(), ring.parity), is_over(keys.full(), keys.parity)};
  }
  /// Scores of a visit become weights. Meets the visit's values and, unless it is the last, the
  /// keys behind it, whose visit this returns. What a wait finds was asked for long before: the
  /// answer takes as long as ten instructions. ptxas moves nothing over these branches: without the
  /// second it waited for the products of values before it made exponentials.
  template <bool kPlain>
  __device__ __forceinline__ int weigh_ahead(float (&s)[kScores], int visit, const Ahead& ahead) {
    float scale[2], to_most[2];
    if (!ahead.have_values) wait(ring.full(), ring.parity);
    __syncwarp();
    wild = are_wild(ring);
    find_peaks<kPlain>(s, visit, scale, to_most);
    weigh(s, scale, to_most);
    pin(s);
    pin(total);
    if (!ahead.have_keys) wait(ahead.keys.full(), ahead.keys.parity);
    return next >= 0 ? take_chunk(ahead.keys) : -1;
  }

  /// Adds the values of a visit whose weights are made, and makes the weights of the second;
  /// returns the visit behind that. kPlain: the second is whole, its queries are ready, no value is
  /// wild.
  template <bool kPlain>
  __device__ __forceinline__ int add(int visit, int second) {
    float s[kScores];
    const Ring values = ring;
    if (!kPlain && wild) add_with_wild(values, visit);
    if constexpr (!kPlain && bits != 0) prepare_queries(second);
    ring.next();
    const Ring keys = ring;
    ring.next();
    make_scores(s, keys.room());
    add_values(values.room());
    const Ahead ahead = look_ahead();
    wait_products<1>();
    pin(s);
    release(keys);
    const int third = weigh_ahead<kPlain>(s, second, ahead);
    wait_products<0>();
    pin(acc);
    release(values);
    narrow(s);
    shrink_sums();
    return third;
  }
  /// The same of the last visit.
  __device__ __forceinline__ void end(int visit) {
    if (wild) add_with_wild(ring, visit);
    add_values(ring.room());
    wait_products<0>();
    pin(acc);
    release(ring);
    ring.next();
  }

  /// All chunks of the tile, of which a reader's rows may read none.
  __device__ __forceinline__ void add_all() {
    int visit = meet_chunk(ring), second;
    if constexpr (bits != 0) prepare_queries(visit);
    {
      float s[kScores];
      make_scores(s, ring.room());
      wait_products<0>();
      pin(s);
      release(ring);
      ring.next();
      second = weigh_ahead<false>(s, visit, look_ahead());
      narrow(s);
    }
    while (second >= 0) {
      // A loop of its own: jumps over code that is rarely run wait for instructions.
      while (second >= 0 && simple && !wild && are_ready(second) && is_whole(second)) {
        const int third = add<true>(visit, second);
        visit = second, second = third;
      }
      if (second < 0) break;
      const int third = add<false>(visit, second);
      visit = second, second = third;
    }
    end(visit);
  }

  __device__ void run(const uint16_t* begins, int tiles) {
    const int items = tiles * static_cast<int>(a.heads);
    for (int round = 0; round * static_cast<int>(gridDim.x) < items; ++round) {
      const int item = item_of(round);
      if (item >= items) continue;
      start(TallTile::of(slab, begins, tiles, item));
      add_all();
      store();
    }
  }

  /// Packed pages make no x of a product: their kernels take 3 to 6 % longer with that in them,
  /// more than it spares, and with this code of its own as long as before.
  __device__ void store() {
    if constexpr (bits == 0)
      store_plain();
    else
      store_rows();
  }
  __device__ __forceinline__ float total_of(int half) const {
    float sum = total[half];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    return sum;
  }
  __device__ void store_rows() {
    auto* const y = static_cast<uint16_t*>(a.y);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = total_of(half);
      if (local(half) >= rows) continue;
      const float per = 1.0f / (kValueScale<type> * sum);
      uint16_t* const to =
          y + (slab.first_row + row_of(local(half))) * a.y_stride + tile.head * kDim + 2 * t;
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i)
        *reinterpret_cast<uint32_t*>(to + 8 * i) =
            narrowed<type>(acc[4 * i + 2 * half] * per, acc[4 * i + 2 * half + 1] * per);
    }
  }
  /// Rows, or the x of a product.
  __device__ void store_plain() {
    auto* const y = static_cast<uint16_t*>(a.y);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = total_of(half);
      const bool is_row = local(half) < rows;
      if (!slab.makes_x && !is_row) continue;
      const float per = 1.0f / (kValueScale<type> * sum);
      const int64_t row = slab.first_row + row_of(is_row ? local(half) : 0);
      const auto pair = [&](int i) {
        return narrowed<type>(acc[4 * i + 2 * half] * per, acc[4 * i + 2 * half + 1] * per);
      };
      if (slab.makes_x) {
        store_as_x(row, is_row, pair);
        continue;
      }
      uint16_t* const to = y + row * a.y_stride + tile.head * kDim + 2 * t;
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i) *reinterpret_cast<uint32_t*>(to + 8 * i) = pair(i);
    }
  }
  /// A row that is the x of a product.
  template <class Pair>
  __device__ __forceinline__ void store_as_x(int64_t row, bool is_row, const Pair& pair) {
    const int steps = static_cast<int>(a.y_stride) / kStepK;
#pragma unroll
    for (int step = 0; step < kDim / kStepK; ++step) {
      uint32_t pairs[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) pairs[i] = pair(8 * step + i);
      store_quads_as_operands(static_cast<uint8_t*>(a.y), steps, static_cast<int>(row),
                              tile.head * (kDim / kStepK) + step, t, pairs, is_row);
    }
  }
};

}  // namespace stepless::kernels::sm90
