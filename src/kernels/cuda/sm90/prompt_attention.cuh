// Attention of prompts by warpgroups, in an order of its own.
//
// Order wgmma_pages: a row reads its positions by chunks of 64, counted from 0, one after the
// other. Scores are sums over the head in float32; weights 2^(score - peak), relative to the
// largest score so far, meet values as two numbers of the cache's type, which leave 2^-17 of them.
// Every row is summed alone by the same instructions, and a chunk of which it reads nothing leaves
// its sums as they are: so tiles, and m, change no bit.
//
// A block is a warpgroup that copies and two readers, which take 64 rows of one head each; sums and
// weights stay in registers. While a chunk's values are added, the next one's scores become
// weights. Weights in one number would be as far from the truth as a rounded result is, and take
// 530 us instead of 648 (an H200, 2048 rows at the end of 10,240). Tried and lost there: chunks of
// 128 and three readers, for registers; queries in registers (659); scores made a chunk further
// ahead.
#pragma once
#include "kernels/cuda/sm80/attention_merge.cuh"
#include "kernels/cuda/sm90/prompt_pages.cuh"

namespace stepless::kernels::sm90 {

/// cap * tanh(x), within 2^-21 of the cap.
static __device__ __forceinline__ float capped(float x, float cap) {
  return cap - __fdividef(2 * cap, 1 + power_of_2(2 * kLog2e * x));
}

/// 64 rows of one head, by a warpgroup.
template <DType type, int kDim>
struct TallReader {
  using Room = TallRoom<kDim>;
  static constexpr int kSteps = kDim / 16, kScores = kChunk / 2, kSums = kDim / 2;
  static constexpr int kValueSteps = kChunk / 16;

  const AttnSlab& slab;
  const uint32_t shared;
  uint8_t* const dynamic;
  const AttnArgs& a = slab.args;
  const int reader = threadIdx.x / 128 - 1;
  const int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  TallRing<kDim> ring{shared};
  TallTile tile;
  int rows;  // of mine that are rows
  int next;  // the chunk behind the one met last; -1: none
  // From `first` to `all` every row of mine reads, unless `rotates`; none beyond `last`.
  int first, all, last;
  bool rotates;
  float acc[kSums], peak[2], total[2];
  float shrink[2];                       // of sums so far, before the next chunk's values
  uint32_t weights[2 * kValueSteps][4];  // in 16 bits, then what that leaves

  __device__ void sync() const { asm volatile("bar.sync %0,128;" ::"r"(reader + 1) : "memory"); }
  __device__ bool any(bool is) const {
    uint32_t result;
    asm volatile(
        "{\n.reg .pred mine,all;\nsetp.ne.u32 mine,%1,0;\n"
        "bar.red.or.pred all,%2,128,mine;\nselp.u32 %0,1,0,all;\n}"
        : "=r"(result)
        : "r"(static_cast<uint32_t>(is)), "r"(reader + 1)
        : "memory");
    return result != 0;
  }
  __device__ int local(int half) const { return 16 * warp + g + 8 * half; }
  __device__ Reads* reads() const {
    return reinterpret_cast<Reads*>(dynamic + Room::kReads) + reader * kReaderRows;
  }
  /// Of the slab; rows behind the last are the last again.
  __device__ int row_of(int mine) const {
    return tile.first + min(reader * kReaderRows + mine, tile.rows - 1);
  }
  __device__ const uint16_t* query(int mine) const {
    return static_cast<const uint16_t*>(a.q) + (slab.first_row + row_of(mine)) * a.q_stride +
           tile.head * kDim;
  }

  __device__ void start(const TallTile& one) {
    tile = one;
    rows = min(max(one.rows - reader * kReaderRows, 0), kReaderRows);
    sync();  // the tile before has been read
    if (const int i = threadIdx.x % 128; i < kReaderRows)
      reads()[i] = RowPlace::of(a.seq[slab.first_row + row_of(i)]).reads(a);
    const uint32_t to = shared + Room::kQueries + reader * Room::kQueryTile;
    for (int i = threadIdx.x % 128; i < kReaderRows * kDim / 8; i += 128) {
      const int row = i / (kDim / 8), piece = i % (kDim / 8);
      store_shared16(
          to + piece / 8 * Room::kQueryBlock + row * 128 + ((piece % 8) ^ (row % 8)) * 16,
          __ldcg(reinterpret_cast<const uint4*>(query(row) + piece * 8)));
    }
    show_to_products();
    sync();
    first = reads()[kReaderRows - 1].first, all = reads()[0].last;
    last = reads()[kReaderRows - 1].last;
    rotates = reads()[0].kept != 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 begin = start_of(a, tile.head);
      peak[half] = begin.x, total[half] = t == 0 ? begin.y : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kSums; ++i) acc[i] = 0.0f;
  }

  /// Waits for the ring's keys and returns their chunk.
  __device__ __forceinline__ int meet_chunk() {
    wait(ring.full(), ring.parity);
    const uint2 chunks = load_shared8(ring.chunks());
    next = static_cast<int>(chunks.y);
    return static_cast<int>(chunks.x);
  }
  /// Scores of the ring's keys; under way when this returns.
  __device__ __forceinline__ void make_scores(float (&s)[kScores], uint32_t keys_room) {
    begin_products();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint64_t keys = operand_at(keys_room + step / 4 * Room::kBlock + step % 4 * 32);
      const uint64_t q = operand_at(shared + Room::kQueries + reader * Room::kQueryTile +
                                    step / 4 * Room::kQueryBlock + step % 4 * 32);
      if (step == 0)
        add_shared<kChunk, type, 0>(s, q, keys);
      else
        add_shared<kChunk, type, 1>(s, q, keys);
    }
    commit_products();
  }

  __device__ bool is_whole(int chunk) const {
    return !rotates && chunk >= first && chunk + kChunk - 1 <= all;
  }

  /// Scores become weights, and what they sum to.
  __device__ __forceinline__ void weigh(float (&s)[kScores], int chunk) {
    float scale = slab.scale;
    if (slab.cap != 0.0f || scale <= 0.0f) {
#pragma unroll
      for (int i = 0; i < kScores; ++i)
        s[i] = slab.cap != 0.0f ? capped(s[i] * scale, slab.cap) : s[i] * scale;
      scale = 1.0f;
    }
    if (!is_whole(chunk)) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Reads mine = reads()[local(half)];
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
      const float now = max_or_nan(peak[half], top[0] * scale);
      // All may be -infinity so far: then nothing weighs.
      const float base = now == -INFINITY ? 0.0f : now;
      shrink[half] = power_of_2(peak[half] - base);
      peak[half] = now;
      float sum[2] = {0.0f, 0.0f};
#pragma unroll
      for (int i = 0; i < kScores / 4; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& weight = s[4 * i + 2 * half + e];
          weight = power_of_2(fmaf(weight, scale, -base));
          sum[e] += weight;
        }
      total[half] = fmaf(total[half], shrink[half], sum[0] + sum[1]);
    }
  }
  /// Weights as operands: in 16 bits, and what that leaves.
  __device__ __forceinline__ void narrow(const float (&s)[kScores]) {
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i) {
      const uint32_t pair = narrowed<type>(s[2 * i], s[2 * i + 1]);
      weights[i / 4][i % 4] = pair;
      const float2 near = widened<type>(pair);
      weights[kValueSteps + i / 4][i % 4] =
          narrowed<type>(s[2 * i] - near.x, s[2 * i + 1] - near.y);
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
#pragma unroll
    for (int step = 0; step < 2 * kValueSteps; ++step)
      Wgmma<kDim, type, 1>::add(acc, weights[step],
                                operand_across(values + step % kValueSteps * 2048, Room::kBlock));
    commit_products();
  }

  /// Rows of a tile may leave out what others read; of what no row reads there are zeros.
  __device__ bool values_are_finite(uint32_t values) const {
    bool bad = false;
#pragma unroll 1
    for (int i = threadIdx.x % 128; i < Room::kStage / 16; i += 128) {
      const uint4 v = load_shared16(values + i * 16);
      bad = bad || not_finite<type>(v.x) || not_finite<type>(v.y) || not_finite<type>(v.z) ||
            not_finite<type>(v.w);
    }
    return !any(bad);
  }
  /// Where a row leaves out values that are NaN or infinite, which would make NaN of its weight 0:
  /// row by row, the values of others zero. Sums are those of add_values().
  __device__ void add_values_apart(uint32_t values, int chunk) {
    const uint32_t room = shared + Room::kApart + reader * Room::kBlock;
#pragma unroll 1
    for (int row = 0; row < rows; ++row) {
      const Reads only = reads()[row];
#pragma unroll
      for (int block = 0; block < kDim / 64; ++block) {
        for (int i = threadIdx.x % 128; i < Room::kBlock / 16; i += 128) {
          uint4 v = load_shared16(values + block * Room::kBlock + i * 16);
          if (!only.has(chunk + i / 8)) v = make_uint4(0, 0, 0, 0);
          store_shared16(room + i * 16, v);
        }
        show_to_products();
        sync();
        float sum[32];
#pragma unroll
        for (int i = 0; i < 32; ++i) sum[i] = acc[block * 32 + i];
        begin_products();
#pragma unroll
        for (int step = 0; step < 2 * kValueSteps; ++step)
          Wgmma<64, type, 1>::add(sum, weights[step],
                                  operand_across(room + step % kValueSteps * 2048, 0));
        commit_products();
        wait_products<0>();
        pin(sum);
        sync();
#pragma unroll
        for (int i = 0; i < 32; ++i)
          if (local(i / 2 % 2) == row) acc[block * 32 + i] = sum[i];
      }
    }
  }
  __device__ __forceinline__ bool may_add(uint32_t values, int chunk) const {
    return is_whole(chunk) || tile.rows == 1 || values_are_finite(values);
  }

  /// This warp has read the stage.
  __device__ __forceinline__ void release(const TallRing<kDim>& stage) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(stage.empty());
  }

  /// The chunk whose weights are made: adds its values, makes the weights of the next one.
  __device__ __forceinline__ int add(int chunk) {
    float s[kScores];
    const TallRing<kDim> values = ring;
    wait(values.full(), values.parity);
    const bool plain = may_add(values.room(), chunk);
    ring.next();
    const TallRing<kDim> keys = ring;
    const int second = meet_chunk();
    ring.next();
    if (plain) {
      make_scores(s, keys.room());
      add_values(values.room());
      wait_products<1>();
      pin(s);
      release(keys);
      weigh(s, second);
      wait_products<0>();
      pin(acc);
    } else {
      add_values_apart(values.room(), chunk);
      make_scores(s, keys.room());
      wait_products<0>();
      pin(s);
      release(keys);
      weigh(s, second);
    }
    release(values);
    narrow(s);
    shrink_sums();
    return second;
  }
  /// The same of the last chunk.
  __device__ __forceinline__ void end(int chunk) {
    wait(ring.full(), ring.parity);
    if (may_add(ring.room(), chunk)) {
      add_values(ring.room());
      wait_products<0>();
      pin(acc);
    } else {
      add_values_apart(ring.room(), chunk);
    }
    release(ring);
    ring.next();
  }

  /// Chunks up to the last that my rows read.
  __device__ __forceinline__ void add_all() {
    int chunk = meet_chunk();
    {
      float s[kScores];
      make_scores(s, ring.room());
      wait_products<0>();
      pin(s);
      release(ring);
      ring.next();
      weigh(s, chunk);
      narrow(s);
    }
    while (next >= 0 && next <= last) chunk = add(chunk);
    end(chunk);
  }

  __device__ void run(const uint16_t* begins, int tiles) {
    const int items = tiles * static_cast<int>(a.heads);
    for (int item = blockIdx.x; item < items; item += gridDim.x) {
      start(TallTile::of(slab, begins, tiles, item));
      next = 0;
      if (rows > 0) {
        add_all();
        store();
      }
      while (next >= 0) {  // the other reader's
        meet_chunk();
        for (int each = 0; each < 2; ++each) {
          wait(ring.full(), ring.parity);
          release(ring);
          ring.next();
        }
      }
    }
  }

  __device__ void store() {
    auto* const y = static_cast<uint16_t*>(a.y);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = total[half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      if (local(half) >= rows) continue;
      const float per = 1.0f / sum;
      uint16_t* const to =
          y + (slab.first_row + row_of(local(half))) * a.y_stride + tile.head * kDim + 2 * t;
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i)
        *reinterpret_cast<uint32_t*>(to + 8 * i) =
            narrowed<type>(acc[4 * i + 2 * half] * per, acc[4 * i + 2 * half + 1] * per);
    }
  }
};

template <DType type, int kDim>
__global__ void __launch_bounds__(kTallThreads, 1)
    attend_tall(const __grid_constant__ AttnSlab slab) {
  extern __shared__ __align__(1024) uint8_t dynamic[];
  using Room = TallRoom<kDim>;
  let_next_start();
  const uint32_t shared = shared_address(dynamic);
  if (threadIdx.x < kStages) {
    make_barrier(shared + Room::kBarriers + threadIdx.x * 8, 128);
    make_barrier(shared + Room::kBarriers + (kStages + threadIdx.x) * 8, 4 * kReaders);
    publish_barriers();
  }
  auto* const begins = reinterpret_cast<uint16_t*>(dynamic + Room::kBegins);
  const int tiles = find_tall_tiles(slab, begins, reinterpret_cast<int*>(dynamic + Room::kFound));
  wait_for_inputs();
  if (threadIdx.x < 128) {
    give_registers<40>();
    TallCopier<kDim>{slab, shared}.run(begins, tiles);
  } else {
    take_registers<232>();
    TallReader<type, kDim>{slab, shared, dynamic}.run(begins, tiles);
  }
}

}  // namespace stepless::kernels::sm90
