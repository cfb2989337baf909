// Values of prompts on their way to the tensor cores, which multiply f16: of bf16, what f16 has
// when it is 64 times as large becomes plain, exactly from 2^-20 on; what is too large then,
// infinities and NaN are wild, and added apart.
#pragma once
#include "kernels/cuda/sm90/prompt_pages.cuh"

namespace stepless::kernels::sm90 {

constexpr int kConverters = 3;  // warps; the fourth of their warpgroup starts copies

/// What sums of values are too large by.
template <DType type>
constexpr float kValueScale = type == DType::bf16 ? 64 : 1;

/// 64 times as large, or infinite.
static __device__ __forceinline__ uint32_t scaled_bf16(uint32_t pair) {
  uint32_t product;
  asm("mul.rn.bf16x2 %0,%1,%2;" : "=r"(product) : "r"(pair), "r"(0x42804280));
  return product;
}

/// Wild values of f16 mark what is F16::fma2(value, 0, marks) with NaN, which all others leave 0.
static __device__ __forceinline__ bool is_marked(uint32_t marks) {
  return (marks & 0x7fff7fffu) != 0;
}
/// Zeros take the place of infinities and NaN of f16.
static __device__ __forceinline__ void clear_wild(uint32_t& pair) {
  if ((pair & 0x7c00u) == 0x7c00u) pair &= 0xffff0000u;
  if ((pair & 0x7c000000u) == 0x7c000000u) pair &= 0xffffu;
}

/// Zeros take the place of wild values.
template <DType type, int n>
static __device__ __forceinline__ void make_plain(uint4 (&v)[n], bool& wild) {
  uint32_t marks[n] = {}, any = 0;  // NaN of all but numbers
#pragma unroll
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (uint32_t* const w : {&v[i].x, &v[i].y, &v[i].z, &v[i].w}) {
      if constexpr (type == DType::bf16) {
        *w = scaled_bf16(*w);
        *w = narrowed<DType::f16>(low_bf16(*w), high_bf16(*w));
      }
      marks[i] = F16::fma2(*w, 0, marks[i]);
    }
    any |= marks[i];
  }
  if (!is_marked(any)) return;
  wild = true;
#pragma unroll
  for (int i = 0; i < n; ++i)
#pragma unroll
    for (uint32_t* const w : {&v[i].x, &v[i].y, &v[i].z, &v[i].w}) clear_wild(*w);
}

/// Makes a stage's values plain where they lie; zeros for what no row reads. By a warp.
template <DType type, class Room, class IsRead>
static __device__ __forceinline__ bool make_chunk_plain(uint32_t room, const IsRead& is_read) {
  constexpr int kBatch = 4;  // of 16 bytes a lane
  bool wild = false;
#pragma unroll 1
  for (int i0 = threadIdx.x % 32; i0 < Room::kStage / 16; i0 += 32 * kBatch) {
    uint4 v[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int at = i0 + i * 32;
      v[i] = make_uint4(0, 0, 0, 0);
      if (is_read(at % (Room::kBlock / 16) / 8)) v[i] = load_shared16(room + at * 16);
    }
    make_plain<type>(v, wild);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) store_shared16(room + (i0 + i * 32) * 16, v[i]);
  }
  return wild;
}

/// The warps that make values plain, each every third chunk.
template <DType type, int kDim>
struct TallConverter {
  using Room = TallRoom<kDim>;
  const AttnSlab& slab;
  const uint32_t shared;
  const int lane = threadIdx.x % 32;
  TallRing<Room> ring{shared};

  __device__ void run(const uint16_t* begins, int tiles) {
    const int items = tiles * static_cast<int>(slab.args.heads);
    int count = 0, turn = threadIdx.x / 32 % 4 - 1;  // of chunks; until mine
    for (int round = 0; round * static_cast<int>(gridDim.x) < items; ++round) {
      const int item = item_of(round);
      if (item >= items) continue;
      const TallWalk walk(slab, TallTile::of(slab, begins, tiles, item));
      for (int chunk = walk.begin(); chunk >= 0; chunk = walk.after(chunk)) {
        ring.next();
        ++count;
        if (turn-- == 0) {
          turn = kConverters - 1;
          wait(ring.raw(), ring.parity);
          const bool whole =
              !walk.rotates && chunk >= walk.first && chunk + kChunk - 1 <= walk.last;
          const bool wild =
              whole ? make_chunk_plain<type, Room>(ring.room(), [](int) { return true; })
                    : make_chunk_plain<type, Room>(ring.room(),
                                                   [&](int i) { return walk.is_read(chunk + i); });
          show_to_products();
          if (__any_sync(~0u, wild) && lane == 0)
            asm volatile("st.shared.u32 [%0],%1;" ::"r"(ring.wild()), "r"(count) : "memory");
          __syncwarp();  // what all lanes wrote is there for whom lane 0 tells
          if (lane == 0) arrive(ring.full());
        }
        ring.next();
      }
    }
  }
};

/// Wild values of 64 positions and elements as operands, zeros for all others, and for what `only`
/// does not read. By a warpgroup.
template <DType type, int kDim>
static __device__ __forceinline__ void find_wild(const uint8_t* from, int at, const Reads* only,
                                                 uint32_t room) {
  constexpr uint32_t kWild = type == DType::bf16 ? 0x4480u : 0x7c00u;  // 2^10 and what is above
#pragma unroll 1
  for (int i = threadIdx.x % 128; i < kChunk * 8; i += 128) {
    uint32_t w[4] = {0, 0, 0, 0};
    if (only == nullptr || only->has(at + i / 8)) {
      const uint4 v = __ldcg(reinterpret_cast<const uint4*>(from + i / 8 * (kDim * 2)) + i % 8);
      w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    }
#pragma unroll
    for (uint32_t& pair : w) {
      if ((pair & 0x7fffu) < kWild) pair &= 0xffff0000u;
      if ((pair >> 16 & 0x7fffu) < kWild) pair &= 0xffffu;
    }
    store_shared16(room + i / 8 * 128 + ((i % 8) ^ (i / 8 % 8)) * 16,
                   make_uint4(w[0], w[1], w[2], w[3]));
  }
}

/// Part 0 or 1 of f16 weights as operands of bf16: together they are what f16 has, and as large as
/// plain values.
static __device__ __forceinline__ void part_in_bf16(const uint32_t (&weights)[4], int part,
                                                    uint32_t (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 plain = widened<DType::f16>(weights[i]);
    const float2 whole =
        make_float2(plain.x * kValueScale<DType::bf16>, plain.y * kValueScale<DType::bf16>);
    const uint32_t high = narrowed<DType::bf16>(whole.x, whole.y);
    const float2 near = widened<DType::bf16>(high);
    to[i] = part == 0 ? high : narrowed<DType::bf16>(whole.x - near.x, whole.y - near.y);
  }
}

}  // namespace stepless::kernels::sm90
