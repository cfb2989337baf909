// What the benches of CUDA rows share: random data, a rotation of cold copies timed as one CUDA
// graph, the read ceiling.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "kernels/args.hpp"

namespace stepless::bench {

using kernels::CudaContext;
using std::int64_t, std::uint32_t, std::uint64_t, std::uint8_t;

constexpr int kRepeats = 7;
constexpr int64_t kRotationBytes = 200 << 20;  // three times the L2 of an H200

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

static __device__ uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}
static __device__ void early() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;griddepcontrol.wait;" ::: "memory");
#endif
}
static __global__ void fill(uint64_t* p, int64_t count, uint64_t seed) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll)
    p[i] = mixed(static_cast<uint64_t>(i) + seed);
}
/// Uniform, of variance size².
static __global__ void fill_uniform(__nv_bfloat16* p, int64_t count, uint64_t seed, float size) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll)
    p[i] = __float2bfloat16((static_cast<float>(mixed(i + seed * 7919) >> 40) / 16777216.f - .5f) *
                            3.4641016f * size);
}
/// The same in a type of 16 bits.
static __global__ void fill_uniform(void* p, int64_t count, uint64_t seed, float size, DType type) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    const float v =
        (static_cast<float>(mixed(i + seed * 7919) >> 40) / 16777216.f - .5f) * 3.4641016f * size;
    if (type == DType::f16)
      static_cast<__half*>(p)[i] = __float2half(v);
    else
      static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16(v);
  }
}
/// Writes what the kernel behind it reads, about 20 us after that was allowed to start.
static __global__ void copy_late(const uint32_t* from, uint32_t* to, int64_t count) {
  early();
  const long long start = clock64();
  while (clock64() - start < 40000) {
  }
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll)
    to[i] = from[i];
}
static __global__ void count_unequal(const uint32_t* a, const uint32_t* b, int64_t count,
                                     unsigned* out) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll)
    if (a[i] != b[i]) atomicAdd(out, 1u);
}
static __global__ void read_all(const uint4* p, int64_t count, uint32_t* out) {
  uint32_t bits = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const uint4 v = __ldcs(p + i);
    bits ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  early();
  if (bits == 0x12345678) *out = bits;
}

struct Times {
  double median, least, most;
};
/// Microseconds of one call, from a graph of `calls` of them.
inline Times time_graph(cudaStream_t stream, int calls, const std::function<void(int)>& call) {
  cudaGraph_t graph;
  cudaGraphExec_t run;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < calls; ++i) call(i);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&run, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  std::vector<double> us;
  for (int i = 0; i < kRepeats + 2; ++i) {
    cudaEventRecord(begin, stream), check(cudaGraphLaunch(run, stream), "launch");
    cudaEventRecord(end, stream), check(cudaStreamSynchronize(stream), "graph");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (i >= 2) us.push_back(ms * 1e3 / calls);
  }
  cudaGraphExecDestroy(run), cudaGraphDestroy(graph);
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us.front(), us.back()};
}

/// Bytes a microsecond that a plain reading of 2 GiB reaches.
inline double measure_reading(cudaStream_t stream) {
  const int64_t bytes = int64_t{2} << 30;
  uint8_t* memory;
  check(cudaMalloc(&memory, bytes), "2 GiB");
  fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(memory), bytes / 8, 1);
  double best = 0;
  for (const int blocks : {132, 264, 528, 1056}) {
    const Times t = time_graph(stream, 1, [&](int) {
      read_all<<<blocks, 512, 0, stream>>>(reinterpret_cast<uint4*>(memory), bytes / 16,
                                           reinterpret_cast<uint32_t*>(memory));
    });
    best = std::max(best, static_cast<double>(bytes) / t.median);
  }
  cudaFree(memory);
  return best;
}

}  // namespace stepless::bench
