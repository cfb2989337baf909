// Attention over a paged cache, once for plain and packed pages. A block serves the query heads of
// one row and KV head, up to kHeads at a time, and one share of the KV axis: of its chunks of 64
// positions, counted from 0, share s takes every kShares-th from s on, in order. A second kernel
// merges the shares in order. So a row's bits follow from its own position, never from the step.
//
// Scores: 8 lanes to a position, 8 elements a lane at a time. Values: a thread to kMost columns.
#pragma once
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kChunk = 64, kShares = 16, kHeads = 8, kThreads = 128, kRowsAtOnce = 64;

struct AttnShape {
  AttnArgs args;
  int64_t first_row;
  float* partial;  // (rows, heads, kShares): peak, sum, v_dim values
};

/// Eight elements of 16 bits, 16-byte aligned.
template <DType type>
__device__ void eight_wide(const uint8_t* from, float* to) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (type == DType::bf16) {
      to[2 * j] = __uint_as_float(words[j] << 16);
      to[2 * j + 1] = __uint_as_float(words[j] & 0xffff0000u);
    } else {
      const __half2 pair = *reinterpret_cast<const __half2*>(&words[j]);
      to[2 * j] = __low2float(pair), to[2 * j + 1] = __high2float(pair);
    }
  }
}

/// Eight elements from i on; what lies beyond dim is zero.
template <DType type>
__device__ void eight_plain(const uint8_t* p, int64_t place, int64_t i, int64_t dim, float* to) {
  const int64_t at = place * dim + i;
  if (type != DType::f32 && dim % 8 == 0) return eight_wide<type>(p + at * 2, to);
  for (int j = 0; j < 8; ++j) to[j] = i + j < dim ? load(p, type, at + j) : 0.0f;
}

/// Element `at` of packed keys or values: fma(scale, code, bias), rounded once to float32.
template <DType type>
__device__ float packed_element(const uint8_t* codes, const uint8_t* scales, const uint8_t* biases,
                                const PackedKv& kv, int64_t at) {
  const unsigned c = kv.bits == 8 ? codes[at] : codes[at / 2] >> (at % 2 * 4) & 15u;
  const int64_t group = at / kv.group_size;
  return fmaf(load(scales, type, group), static_cast<float>(c), load(biases, type, group));
}

/// Where the block's positions of a chunk lie, and whether they are read at all.
struct Places {
  int64_t place[kChunk];  // among the positions of all pages; -1: not read
  bool packed[kChunk];
};

template <bool kMayBePacked>
__device__ void find_places(const AttnArgs& a, const SeqRow& seq, int64_t kv_head, int64_t chunk,
                            int64_t first, Places& places) {
  for (int j = threadIdx.x; j < kChunk; j += kThreads) {
    const int64_t at = chunk * kChunk + j;
    const bool left_out = seq.kept > 0 && at >= seq.kept && at < seq.resume;
    places.place[j] = -1, places.packed[j] = false;
    if (at < first || at > seq.position || left_out) continue;
    const int64_t page = at / a.cache.page_tokens;
    const bool packed = kMayBePacked && page >= seq.packed_begin && page < seq.packed_end;
    const int64_t id = packed ? seq.packed[page] : seq.pages[page];
    places.place[j] =
        (id * a.cache.kv_heads + kv_head) * a.cache.page_tokens + at % a.cache.page_tokens;
    places.packed[j] = packed;
  }
}

/// score[h][j] for the heads of the batch; -infinity where a position is not read.
template <DType type, bool kMayBePacked>
__device__ void make_scores(const AttnArgs& a, const Places& places, const float* q, int heads,
                            float (*score)[kChunk]) {
  const int lane = threadIdx.x % 8;
  const int64_t dim = a.cache.k_dim, padded = (dim + 63) / 64 * 64;
  const PackedKv& kv = a.cache.packed;
  for (int j = threadIdx.x / 8; j < kChunk; j += kThreads / 8) {
    const int64_t place = places.place[j];
    float sums[kHeads] = {};
    if (place >= 0)
      for (int64_t i = lane * 8; i < dim; i += 64) {
        float k[8];
        if (kMayBePacked && places.packed[j]) {
          for (int e = 0; e < 8; ++e)
            k[e] = i + e < dim ? packed_element<type>(kv.k, kv.k_scales, kv.k_biases, kv,
                                                      place * dim + i + e)
                               : 0.0f;
        } else {
          eight_plain<type>(a.cache.k, place, i, dim, k);
        }
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          if (h >= heads) break;
          const float4* from = reinterpret_cast<const float4*>(q + h * padded + i);
          const float4 low = from[0], high = from[1];
          float sum = sums[h];
          sum = fmaf(k[0], low.x, sum), sum = fmaf(k[1], low.y, sum);
          sum = fmaf(k[2], low.z, sum), sum = fmaf(k[3], low.w, sum);
          sum = fmaf(k[4], high.x, sum), sum = fmaf(k[5], high.y, sum);
          sum = fmaf(k[6], high.z, sum), sum = fmaf(k[7], high.w, sum);
          sums[h] = sum;
        }
      }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= heads) break;
      float sum = sums[h];
      for (int other = 4; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
      sum *= a.scale;
      if (a.softcap != 0.0f) sum = tanhf(sum / a.softcap) * a.softcap;
      if (lane == 0) score[h][j] = place >= 0 ? sum : -INFINITY;
    }
  }
}

/// Turns scores into weights e^(score - peak) with the peak of all so far; warp w serves
/// head w and every kThreads / 32nd after it. `shrink` is what earlier sums are to be multiplied
/// with.
inline __device__ void soften(int heads, float (*score)[kChunk], float* peak, float* total,
                              float* shrink) {
  const int lane = threadIdx.x % 32;
  for (int h = threadIdx.x / 32; h < heads; h += kThreads / 32) {
    const float a = score[h][lane], b = score[h][lane + 32];
    float top = a != a || b != b ? NAN : fmaxf(a, b);
    for (int other = 16; other > 0; other /= 2) {
      const float theirs = __shfl_xor_sync(~0u, top, other);
      top = top != top || theirs != theirs ? NAN : fmaxf(top, theirs);
    }
    const float before = peak[h];
    const float now = before != before || top != top ? NAN : fmaxf(before, top);
    // All of it may be -infinity, in a chunk that is read nowhere: then nothing weighs anything.
    const float base = now == -INFINITY ? 0.0f : now;
    const float wa = expf(a - base), wb = expf(b - base);
    score[h][lane] = wa, score[h][lane + 32] = wb;
    float sum = wa + wb;
    for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
    __syncwarp();
    if (lane == 0) {
      shrink[h] = expf(before - base);
      total[h] = total[h] * shrink[h] + sum;
      peak[h] = now;
    }
  }
}

/// acc += weight * v over the chunk, for this thread's columns.
template <DType type, bool kMayBePacked, int kMost>
__device__ void add_values(const AttnArgs& a, const Places& places, int heads,
                           const float (*weight)[kChunk], const float* shrink,
                           float (&acc)[kMost][kHeads]) {
  const int64_t dim = a.cache.v_dim;
  const PackedKv& kv = a.cache.packed;
#pragma unroll
  for (int c = 0; c < kMost; ++c)
#pragma unroll
    for (int h = 0; h < kHeads; ++h) acc[c][h] *= h < heads ? shrink[h] : 0.0f;
#pragma unroll 4
  for (int j = 0; j < kChunk; ++j) {
    const int64_t place = places.place[j];
    if (place < 0) continue;
#pragma unroll
    for (int c = 0; c < kMost; ++c) {
      const int64_t column = threadIdx.x + c * kThreads;
      if (column >= dim) break;
      const int64_t at = place * dim + column;
      const float v = kMayBePacked && places.packed[j]
                          ? packed_element<type>(kv.v, kv.v_scales, kv.v_biases, kv, at)
                          : load(a.cache.v, type, at);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) acc[c][h] = fmaf(weight[h][j], v, acc[c][h]);
    }
  }
}

template <DType type, bool kMayBePacked, int kMost>
__global__ void __launch_bounds__(kThreads) attend(AttnShape shape) {
  extern __shared__ float4 shared_q[];
  __shared__ float score[kHeads][kChunk], peak[kHeads], total[kHeads], shrink[kHeads];
  __shared__ Places places;
  const AttnArgs& a = shape.args;
  begin_early();
  float* const q = reinterpret_cast<float*>(shared_q);
  const int64_t each = a.heads / a.cache.kv_heads, dim = a.cache.k_dim;
  const int64_t padded = (dim + 63) / 64 * 64, share = blockIdx.y;
  const int64_t row = blockIdx.x / a.cache.kv_heads, kv_head = blockIdx.x % a.cache.kv_heads;
  const SeqRow& seq = a.seq[shape.first_row + row];
  const int64_t first = a.window > 0 && seq.position >= a.window ? seq.position - a.window + 1 : 0;
  for (int64_t begin = 0; begin < each; begin += kHeads) {
    const int heads = static_cast<int>(each - begin < kHeads ? each - begin : kHeads);
    const int64_t head = kv_head * each + begin;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < heads * padded; i += kThreads)
      q[i] =
          i % padded < dim
              ? load(a.q, a.type,
                     (shape.first_row + row) * a.q_stride + (head + i / padded) * dim + i % padded)
              : 0.0f;
    if (threadIdx.x < kHeads) peak[threadIdx.x] = -INFINITY, total[threadIdx.x] = 0.0f;
    // Weights of heads that are not there are multiplied, and must be numbers.
    for (int i = threadIdx.x; i < kHeads * kChunk; i += kThreads) score[i / kChunk][i % kChunk] = 0;
    float acc[kMost][kHeads] = {};
    const int64_t start = first / kChunk;
    for (int64_t chunk = start + (share - start % kShares + kShares) % kShares;
         chunk * kChunk <= seq.position; chunk += kShares) {
      // A rotating cache leaves out whole chunks in the middle.
      if (seq.kept > 0 && chunk * kChunk >= seq.kept && (chunk + 1) * kChunk <= seq.resume)
        continue;
      __syncthreads();
      find_places<kMayBePacked>(a, seq, kv_head, chunk, first, places);
      __syncthreads();
      make_scores<type, kMayBePacked>(a, places, q, heads, score);
      __syncthreads();
      soften(heads, score, peak, total, shrink);
      __syncthreads();
      add_values<type, kMayBePacked, kMost>(a, places, heads, score, shrink, acc);
    }
    __syncthreads();
    for (int h = 0; h < heads; ++h) {
      float* const out =
          shape.partial + ((row * a.heads + head + h) * kShares + share) * (a.cache.v_dim + 2);
      if (threadIdx.x == 0) out[0] = peak[h], out[1] = total[h];
      if (peak[h] == -INFINITY) continue;  // read nothing: the merge passes it over
#pragma unroll
      for (int c = 0; c < kMost; ++c) {
        const int64_t column = threadIdx.x + c * kThreads;
        float value = 0.0f;
#pragma unroll
        for (int i = 0; i < kHeads; ++i) value = i == h ? acc[c][i] : value;
        if (column < a.cache.v_dim) out[2 + column] = value;
      }
    }
  }
}

/// y of one row and head: its shares in order, and the sink.
__global__ void merge_shares(AttnShape shape) {
  const AttnArgs& a = shape.args;
  begin_early();
  const int64_t row = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  const int64_t width = a.cache.v_dim + 2;
  const float* const from = shape.partial + (row * a.heads + head) * kShares * width;
  const float sink = a.sinks == nullptr ? -INFINITY : load(a.sinks, a.sinks_type, head);
  float top = sink;
  for (int s = 0; s < kShares; ++s) {
    const float peak = from[s * width];
    top = top != top || peak != peak ? NAN : fmaxf(top, peak);
  }
  double total = a.sinks == nullptr ? 0.0 : static_cast<double>(expf(sink - top));
  for (int s = 0; s < kShares; ++s) {
    if (from[s * width] == -INFINITY) continue;
    total +=
        static_cast<double>(expf(from[s * width] - top)) * static_cast<double>(from[s * width + 1]);
  }
  for (int64_t i = threadIdx.x; i < a.cache.v_dim; i += blockDim.x) {
    float sum = 0.0f;
    for (int s = 0; s < kShares; ++s) {
      if (from[s * width] == -INFINITY) continue;
      sum = fmaf(expf(from[s * width] - top), from[s * width + 2 + i], sum);
    }
    store(a.y, a.type, (shape.first_row + row) * a.y_stride + head * a.cache.v_dim + i,
          static_cast<double>(sum) / total);
  }
}

template <DType type, bool kMayBePacked>
cudaError_t launch_rows(const AttnShape& shape, int64_t rows, const CudaContext& context) {
  const AttnArgs& a = shape.args;
  const int64_t each = a.heads / a.cache.kv_heads;
  const int64_t heads = each < kHeads ? each : kHeads;
  const auto shared =
      static_cast<std::size_t>(heads * ((a.cache.k_dim + 63) / 64 * 64)) * sizeof(float);
  const dim3 blocks(static_cast<unsigned>(rows * a.cache.kv_heads), kShares);
  const auto kernel = a.cache.v_dim <= kThreads ? attend<type, kMayBePacked, 1>
                      : a.cache.v_dim <= 2 * kThreads
                          ? attend<type, kMayBePacked, 2>
                          : attend<type, kMayBePacked, kMaxHeadDim / kThreads>;
  const cudaError_t error = launch_grid(kernel, {blocks, kThreads, shared}, context, shape);
  if (error != cudaSuccess) return error;
  const Grid merge{static_cast<unsigned>(rows * a.heads), 128};
  return launch_grid(merge_shares, merge, context, shape);
}

template <bool kMayBePacked>
int32_t launch_attention(const void* opaque, const CudaContext& context) {
  AttnShape shape{*static_cast<const AttnArgs*>(opaque), 0,
                  reinterpret_cast<float*>(context.workspace + kTicketBytes)};
  const AttnArgs& a = shape.args;
  for (; shape.first_row < a.rows; shape.first_row += kRowsAtOnce) {
    const int64_t left = a.rows - shape.first_row, rows = left < kRowsAtOnce ? left : kRowsAtOnce;
    const cudaError_t error =
        a.cache.type == DType::f32   ? launch_rows<DType::f32, kMayBePacked>(shape, rows, context)
        : a.cache.type == DType::f16 ? launch_rows<DType::f16, kMayBePacked>(shape, rows, context)
                                     : launch_rows<DType::bf16, kMayBePacked>(shape, rows, context);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

inline int64_t attention_workspace(const void* opaque) {
  const AttnArgs& a = *static_cast<const AttnArgs*>(opaque);
  const int64_t rows = a.rows < kRowsAtOnce ? a.rows : kRowsAtOnce;
  return kTicketBytes + rows * a.heads * kShares * (a.cache.v_dim + 2) * 4;
}

}  // namespace
}  // namespace stepless::kernels
