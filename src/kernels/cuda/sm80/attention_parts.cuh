// What tiled attention is made of: 16-bit products, fragments out of shared memory, how a tile of
// rows lies over sequences and heads, and the sums of a row.
#pragma once
#include "kernels/cuda/sm80/mma.cuh"

namespace stepless::kernels::sm80 {

constexpr int kChunk = 64, kShares = 16;  // positions of a chunk; parts of the KV axis
constexpr int kAttnWarps = 4, kAttnThreads = 32 * kAttnWarps;
constexpr int kMostTileRows = 64;  // query rows times heads of a tile, at most
constexpr int kSlabRows = 128;     // query rows of a launch: partial sums stay in the L2 cache
constexpr int kPad = 8;            // elements between rows in shared memory: no bank conflicts

/// d += a · b as mma(), of f16 or bf16.
template <DType type>
static __device__ __forceinline__ void mma16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  if constexpr (type == DType::bf16)
    mma(d, d, a, b0, b1);
  else
    mma_f16(d, d, a, b0, b1);
}

/// The same as load_matrices(), each transposed.
static __device__ __forceinline__ void load_transposed(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row)
               : "memory");
}

/// Low or high halves of two words.
static __device__ __forceinline__ uint32_t low_halves(uint32_t a, uint32_t b) {
  return __byte_perm(a, b, 0x5410);
}
static __device__ __forceinline__ uint32_t high_halves(uint32_t a, uint32_t b) {
  return __byte_perm(a, b, 0x7632);
}

/// Two numbers in 16 bits each, and back.
template <DType type>
static __device__ __forceinline__ uint32_t narrowed(float low, float high) {
  union {
    __nv_bfloat162 bf16;
    __half2 f16;
    uint32_t bits;
  } pair;
  if constexpr (type == DType::bf16)
    pair.bf16 = __floats2bfloat162_rn(low, high);
  else
    pair.f16 = __floats2half2_rn(low, high);
  return pair.bits;
}
template <DType type>
static __device__ __forceinline__ float2 widened(uint32_t pair) {
  if constexpr (type == DType::bf16) return make_float2(low_bf16(pair), high_bf16(pair));
  return make_float2(__half2float(__ushort_as_half(static_cast<uint16_t>(pair))),
                     __half2float(__ushort_as_half(static_cast<uint16_t>(pair >> 16))));
}
/// Exponent bits of either element all set: NaN or infinity.
template <DType type>
static __device__ __forceinline__ bool not_finite(uint32_t pair) {
  constexpr uint32_t kLow = type == DType::bf16 ? 0x7f80u : 0x7c00u, kHigh = kLow << 16;
  return (pair & kLow) == kLow || (pair & kHigh) == kHigh;
}

static __device__ __forceinline__ float max_or_nan(float a, float b) {
  float most;
  asm("max.NaN.f32 %0,%1,%2;" : "=f"(most) : "f"(a), "f"(b));
  return most;
}

/// A slab of rows, and where shares of the KV axis that meet in memory leave their sums: per row,
/// head and share a peak and a total, and `pitch` values.
struct AttnSlab {
  AttnArgs args;
  int64_t first_row;
  int rows;
  int heads_of_tile;  // query heads of one KV head that share a tile
  int batches;        // tiles that all query heads of one KV head take
  bool whole_pages;   // pages hold whole chunks, and heads whole 16 bytes
  // x / page_tokens is x * page_magic >> page_shift, for x below 2^31.
  uint32_t page_magic;
  int page_shift;
  int pitch;  // v_dim up to a multiple of 4
  // Scores are binary logarithms: products times `scale`, or `cap` times the tanh of that.
  float scale, cap;
  float2* sums;
  float* values;
  unsigned* tickets;  // (tiles, KV heads, batches); zero between launches
  bool makes_x;       // y is stored as the x of a product of prompts (sm90/prompt_operands.cuh)

  __device__ int64_t unit_of(int row, int head) const { return row * args.heads + head; }
};

/// Which positions a query row reads. Positions are below 2^31.
struct Reads {
  int first, last, kept, resume;
  __device__ bool has(int at) const {
    return at >= first && at <= last && !(kept > 0 && at >= kept && at < resume);
  }
};

/// Whether any of every `step`-th of the rows reads a position, or any of the chunk that begins
/// there. In a rotating cache a page in the middle may be gone, which no row reads then.
static __device__ __noinline__ bool anyone_reads(const Reads* rows, int count, int step, int at) {
#pragma unroll 1
  for (int r = 0; r < count; r += step)
    if (rows[r].has(at)) return true;
  return false;
}
static __device__ __noinline__ bool anyone_reads_chunk(const Reads* rows, int count, int step,
                                                       int at) {
#pragma unroll 1
  for (int r = 0; r < count; r += step)
    if (at < rows[r].kept || at + kChunk > rows[r].resume) return true;
  return false;
}

/// What a tile asks of a row of the step, and may ask before wait_for_inputs().
struct RowPlace {
  const int32_t* pages;
  int position, kept, resume;

  static __device__ RowPlace of(const SeqRow& seq) {
    return {read_early(&seq.pages), static_cast<int>(read_early(&seq.position)),
            static_cast<int>(read_early(&seq.kept)), static_cast<int>(read_early(&seq.resume))};
  }
  __device__ Reads reads(const AttnArgs& a) const {
    const int window = static_cast<int>(a.window);
    const int first = window > 0 && position >= window ? position - window + 1 : 0;
    return {first, position, kept, resume};
  }
  /// Whether a tile begins here. A row's place in its tile follows from what stands around it, its
  /// bits do not: every row of a product is summed alone.
  __device__ bool begins_tile(const RowPlace& before, int rows_of_tile) const {
    return pages != before.pages || position != before.position + 1 ||
           static_cast<unsigned>(position) % static_cast<unsigned>(rows_of_tile) == 0;
  }
};

/// Where a position lies: in which of its sequence's pages, and where in that.
struct PagePlace {
  int page, slot;
  static __device__ PagePlace of(const AttnSlab& slab, int at) {
    const auto page =
        static_cast<int>(static_cast<uint64_t>(at) * slab.page_magic >> slab.page_shift);
    return {page, at - page * static_cast<int>(slab.args.cache.page_tokens)};
  }
};

/// Rows [first, first + rows) of the slab, all of one sequence and in order, and heads [head, head
/// + heads), all of one KV head.
struct Tile {
  int first, rows, kv_head, head, heads;
};

static __device__ Tile tile_of(const AttnSlab& slab, int first, int rows, int kv_head, int batch) {
  const int each = static_cast<int>(slab.args.heads / slab.args.cache.kv_heads);
  const int begin = batch * slab.heads_of_tile;
  return {first, rows, kv_head, kv_head * each + begin, min(slab.heads_of_tile, each - begin)};
}

/// Sums of 16 * kTiles rows and a warp's columns: of weights relative to the peak, and of weighted
/// values. Lanes hold rows and columns as an mma's result.
template <int kTiles, int kCols>
struct Sums {
  float acc[kTiles][kCols][4], peak[kTiles][2], total[kTiles][2];

  __device__ void clear() {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) peak[t][h] = -INFINITY, total[t][h] = 0.0f;
#pragma unroll
      for (int c = 0; c < kCols; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[t][c][i] = 0.0f;
    }
  }
};

constexpr float kLog2e = 1.44269504f;

/// 2^x within 2^-22 of it; results below 2^-126 are 0.
static __device__ __forceinline__ float power_of_2(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(power) : "f"(x));
  return power;
}

/// With shift - 31 the binary logarithm, rounded up: what the magic number is too large by is below
/// 1 in 2^31 then.
static void set_page_tokens(AttnSlab& slab) {
  const auto tokens = static_cast<uint64_t>(slab.args.cache.page_tokens);
  slab.page_shift = 31;
  while (uint64_t{1} << (slab.page_shift - 31) < tokens) ++slab.page_shift;
  slab.page_magic = static_cast<uint32_t>(((uint64_t{1} << slab.page_shift) + tokens - 1) / tokens);
}

/// A slab of no rows yet. Host side.
static AttnSlab slab_of(const AttnArgs& a) {
  AttnSlab slab{};
  slab.args = a;
  set_page_tokens(slab);
  slab.whole_pages =
      a.cache.page_tokens % kChunk == 0 && a.cache.k_dim % 8 == 0 && a.cache.v_dim % 8 == 0;
  slab.scale = a.softcap != 0.0f ? a.scale / a.softcap : a.scale * kLog2e;
  slab.cap = a.softcap * kLog2e;
  return slab;
}

/// How the sums of a row take in those of its next share: both shrink to the larger peak.
/// merge_units() and fold() do it alike, so that it does not matter where shares meet.
struct Shrink {
  float mine, theirs;
  static __device__ Shrink of(float peak, float now, float their_peak) {
    return {power_of_2(peak - now), power_of_2(their_peak - now)};
  }
  __device__ float sum(float a, float b) const { return fmaf(a, mine, b * theirs); }
  __device__ float4 sum(const float4& a, const float4& b) const {
    return make_float4(sum(a.x, b.x), sum(a.y, b.y), sum(a.z, b.z), sum(a.w, b.w));
  }
};

}  // namespace stepless::kernels::sm80
