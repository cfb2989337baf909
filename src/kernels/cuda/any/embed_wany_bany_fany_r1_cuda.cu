// Rows of a table, packed or dense (its scales are null). Each value is rounded once to y's type.
// An id below 0 is read as 0: a sampler that could draw nothing says -1, and a step launched behind
// it begins there before the host can know.
#include "kernels/cuda/any/eights.cuh"
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 128;

__global__ void embed(EmbedArgs args) {
  const MatmulArgs& table = args.table;
  begin_early();
  const int64_t row = blockIdx.x, id = args.ids[row] < 0 ? 0 : args.ids[row];
  const int64_t first = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  for (int64_t k = first; k < table.k; k += static_cast<int64_t>(gridDim.y) * blockDim.x)
    store(table.y, table.y_type, row * table.y_stride + k,
          table.scales != nullptr ? packed_weight(table, id, k) : dense_weight(table, id, k));
}

/// Eight neighbours of an affine row: their codes are whole bytes, and they share a group.
inline __device__ void affine_eight(const MatmulArgs& a, int64_t row, int i, double (&v)[8]) {
  const int64_t group = row * (a.k / a.group_size) + i / a.group_size;
  const uint8_t* const from = a.w + row * a.w_row_bytes + i / 8 * a.bits;
  uint64_t bytes = 0;
  for (int b = 0; b < a.bits; ++b) bytes |= static_cast<uint64_t>(from[b]) << (8 * b);
  const auto scale = static_cast<double>(load(a.scales, a.w_type, group));
  const auto bias = static_cast<double>(load(a.biases, a.w_type, group));
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    const auto c = static_cast<unsigned>(bytes >> (e * a.bits)) & ((1u << a.bits) - 1);
    v[e] = fma(scale, static_cast<double>(c), bias);
  }
}

/// embed() of affine rows whose 16-bit results lie in eights, with its bits.
__global__ void embed_eights(EmbedArgs args) {
  const MatmulArgs& table = args.table;
  begin_early();
  const int64_t row = blockIdx.x, id = args.ids[row] < 0 ? 0 : args.ids[row];
  const auto k = static_cast<int>(table.k), each = static_cast<int>(gridDim.y * blockDim.x);
  for (int i = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * 8; i < k; i += each * 8) {
    double v[8];
    affine_eight(table, id, i, v);
    store_eight(table.y, table.y_type, row * table.y_stride + i, v);
  }
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const EmbedArgs& args = *static_cast<const EmbedArgs*>(opaque);
  const MatmulArgs& table = args.table;
  const bool eights = table.scales != nullptr && table.mode == Mode::affine && table.k % 8 == 0 &&
                      table.k < (1 << 30) && lies_in_eights(table.y, table.y_stride, table.y_type);
  const int64_t units = eights ? table.k / 8 : table.k, slices = (units + kThreads - 1) / kThreads;
  const dim3 blocks(grid_for(table.m), static_cast<unsigned>(slices < 64 ? slices : 64));
  return launch_grid(eights ? embed_eights : embed, {blocks, kThreads}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(embed_wany_bany_fany_r1_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
