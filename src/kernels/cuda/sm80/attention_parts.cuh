// What tiled attention is made of: 16-bit products, fragments out of shared memory, and how a tile
// of rows lies over sequences, heads and pages.
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
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 x 8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
static __device__ __forceinline__ void load_matrices(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row)
               : "memory");
}
static __device__ __forceinline__ void load_transposed(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row)
               : "memory");
}

template <DType type>
static __device__ __forceinline__ float widened(uint16_t bits) {
  if constexpr (type == DType::bf16) return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  return __half2float(__ushort_as_half(bits));
}
template <DType type>
static __device__ __forceinline__ uint16_t narrowed(float value) {
  if constexpr (type == DType::bf16) return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  return __half_as_ushort(__float2half_rn(value));
}
/// Exponent bits all set: NaN or infinity.
template <DType type>
static __device__ __forceinline__ bool not_finite(uint16_t bits) {
  constexpr uint16_t kExponent = type == DType::bf16 ? 0x7f80 : 0x7c00;
  return (bits & kExponent) == kExponent;
}

static __device__ __forceinline__ float max_or_nan(float a, float b) {
  return a != a || b != b ? NAN : fmaxf(a, b);
}

/// A slab of rows and where their partial sums go: (rows, heads, kShares) times peak, sum and v_dim
/// values.
struct AttnSlab {
  AttnArgs args;
  int64_t first_row;
  int rows;
  int heads_of_tile;  // query heads of one KV head that share a tile
  int batches;        // tiles that all query heads of one KV head take
  float* partial;
};

/// Which positions a query row reads.
struct Reads {
  int64_t first, last, kept, resume;
  __device__ bool has(int64_t at) const {
    return at >= first && at <= last && !(kept > 0 && at >= kept && at < resume);
  }
};

static __device__ Reads reads_of(const AttnArgs& a, const SeqRow& seq) {
  const int64_t from = a.window > 0 && seq.position >= a.window ? seq.position - a.window + 1 : 0;
  return {from, seq.position, seq.kept, seq.resume};
}

/// Rows [first, first + rows) of the slab, all of one sequence and in order.
struct Tile {
  int first, rows;
};

/// Whether a tile begins at row r. A row's place in its tile follows from what stands around it,
/// its bits do not: every row of a product is summed alone.
static __device__ bool begins_tile(const AttnSlab& slab, int r, int rows_of_tile) {
  if (r == 0) return true;
  const SeqRow& row = slab.args.seq[slab.first_row + r];
  const SeqRow& before = slab.args.seq[slab.first_row + r - 1];
  return row.pages != before.pages || row.position != before.position + 1 ||
         row.position % rows_of_tile == 0;
}

/// The slab's tiles, found by all threads of a block together. Returns how many.
static __device__ int find_tiles(const AttnSlab& slab, int rows_of_tile, int* begins) {
  __shared__ int found[kAttnWarps];
  static_assert(kSlabRows <= kAttnThreads);
  const int r = threadIdx.x, warp = r / 32;
  const bool here = r < slab.rows && begins_tile(slab, r, rows_of_tile);
  const unsigned mask = __ballot_sync(~0u, here);
  if (r % 32 == 0) found[warp] = __popc(mask);
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < kAttnWarps; ++w) {
    before += w < warp ? found[w] : 0;
    all += found[w];
  }
  if (here) begins[before + __popc(mask & ((1u << r % 32) - 1))] = r;
  if (r == 0) begins[all] = slab.rows;
  __syncthreads();
  return all;
}

}  // namespace stepless::kernels::sm80
