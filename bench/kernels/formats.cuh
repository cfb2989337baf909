// Weights of any format and rows of x on a device, made up, for benches of products.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <vector>

#include "bench/kernels/device_bench.cuh"

namespace stepless::bench {

inline int64_t size_of(DType type) { return type == DType::f32 ? 4 : 2; }

static __global__ void fill_numbers(void* p, int64_t count, uint64_t seed, float size, DType type) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    const float v =
        (static_cast<float>(mixed(i + seed) >> 40) / static_cast<float>(1 << 23) - 1) * size;
    if (type == DType::f32)
      static_cast<float*>(p)[i] = v;
    else if (type == DType::bf16)
      static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16(v);
    else
      static_cast<__half*>(p)[i] = __float2half(v);
  }
}
/// Bytes from `least` on, `span` of them.
static __global__ void fill_bytes(uint8_t* p, int64_t count, uint64_t seed, int least, int span) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll)
    p[i] = static_cast<uint8_t>(least + static_cast<int>(mixed(i + seed) % span));
}

/// Device memory that lives as long as this.
class Memory {
 public:
  explicit Memory(int64_t bytes) { check(cudaMalloc(&at_, bytes), "memory"); }
  ~Memory() { cudaFree(at_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint8_t* get() const { return at_; }

 private:
  uint8_t* at_ = nullptr;
};

/// `copies` of one weight and Row::kRows rows of x. A Row tells mode, bits (16: dense, of x's
/// type), x's type and that of scales; the size of groups is 0 where there are none.
template <class Row>
struct ProblemOf {
  const Row& row;
  int group, n, k, copies;
  bool affine = row.mode == Mode::affine && row.bits < 16;
  int64_t codes = int64_t{n} * k / 8 * row.bits,
          scales = group > 0 ? int64_t{n} * (k / group) * (affine ? size_of(row.scales) : 1) : 0;
  int64_t padded_scales = (scales + 15) / 16 * 16, pitch = (codes + 2 * padded_scales + 255) & ~255;
  Memory weights{pitch * copies}, x{int64_t{Row::kRows} * k * size_of(row.type)};

  void fill_all(cudaStream_t stream) const {
    for (int i = 0; i < copies; ++i) {
      uint8_t* const w = weights.get() + i * pitch;
      if (row.mode == Mode::mxfp8)  // no NaN
        fill_bytes<<<1024, 256, 0, stream>>>(w, codes, i + 11, i % 2 * 128, 127);
      else if (row.bits == 16)
        fill_numbers<<<1024, 256, 0, stream>>>(w, codes / 2, i, .05f, row.type);
      else
        fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(w), codes / 8, i + 11);
      if (scales == 0) continue;
      if (affine)
        fill_numbers<<<1024, 256, 0, stream>>>(w + codes, 2 * padded_scales / size_of(row.scales),
                                               i, .01f, row.scales);
      else if (row.mode == Mode::nvfp4)
        fill_bytes<<<1024, 256, 0, stream>>>(w + codes, scales, i, 0x18, 0x28);
      else
        fill_bytes<<<1024, 256, 0, stream>>>(w + codes, scales, i, 112, 8);
    }
    fill_numbers<<<64, 256, 0, stream>>>(x.get(), int64_t{Row::kRows} * k, 99, 2, row.type);
  }
  kernels::MatmulArgs at(int copy, int first, int m, uint8_t* y, DType type) const {
    kernels::MatmulArgs a{};
    a.mode = row.mode, a.bits = row.bits, a.group_size = group;
    a.tensor_scale = row.mode == Mode::nvfp4 ? .37f : 1;
    a.m = m, a.n = n, a.k = k, a.x_stride = k, a.y_stride = n;
    a.x = x.get() + int64_t{first} * k * size_of(row.type), a.y = y;
    a.w = weights.get() + copy * pitch, a.scales = a.w + codes;
    a.biases = affine ? a.scales + padded_scales : nullptr;
    a.w_row_bytes = int64_t{k} / 8 * row.bits;
    a.x_type = row.type, a.w_type = row.scales, a.y_type = type;
    return a;
  }
};

/// What the benches of products print and launch by.
struct FormatBench {
  cudaStream_t stream;
  kernels::CudaContext context;
  int faults = 0;
  bool is_first = true;  // of a list

  /// In front of an element of a list.
  void separate() { std::printf(is_first ? "\n" : ",\n"), is_first = false; }

  template <class T = float>
  std::vector<T> result(const Memory& y, int64_t count) const {
    std::vector<T> all(static_cast<std::size_t>(count));
    check(cudaStreamSynchronize(stream), "stream");
    check(cudaMemcpy(all.data(), y.get(), all.size() * sizeof(T), cudaMemcpyDeviceToHost), "y");
    return all;
  }
  void multiply(const kernels::CudaEntry& entry, const kernels::MatmulArgs& a) const {
    check(static_cast<cudaError_t>(entry.launch(&a, context)), "product");
  }
};

}  // namespace stepless::bench
