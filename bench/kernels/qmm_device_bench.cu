// The flat 4-bit family on one Hopper GPU, with the rows that it is given there, and beside its
// kernel for many rows the one that prompts have: cold weights, the whole rotation in one CUDA
// graph with programmatic dependent launch, the read ceiling beside it. Before a time is printed
// the row's bits must be those of 64 rows together, also when x is written late by the kernel
// before. Built and run by tools/device/run.
#include <cuda_bf16.h>

#include <algorithm>

#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry qmm_affine_b4_bf16_m8n16_sm90, qmm_affine_b4_bf16_m64n64_sm90,
    qmm_affine_b4_bf16_m128n128_sm90, qmm_affine_b4_bf16_m256n128_sm90;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::kernels::MatmulArgs;
namespace kernels = stepless::kernels;

constexpr int kMostRows = 2048, kFewRows = 8, kFlatRows = 64;

/// About N(0, size) by four uniform numbers.
__global__ void fill_bf16(__nv_bfloat16* p, int64_t count, uint64_t seed, float size) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    const uint64_t h = mixed(static_cast<uint64_t>(i) * 5 + seed);
    float sum = 0;
    for (int j = 0; j < 4; ++j) sum += static_cast<float>(h >> (16 * j) & 0xffff) / 65536.f - 0.5f;
    p[i] = __float2bfloat16(sum * 1.7320508f * size);
  }
}
struct Bench {
  cudaStream_t stream;
  cudaDeviceProp device;
  double read_bytes_per_us;

  void multiply(const kernels::CudaEntry& entry, const MatmulArgs& a, uint8_t* workspace) const {
    const CudaContext context{stream, workspace, device.multiProcessorCount, true};
    check(static_cast<cudaError_t>(entry.launch(&a, context)), "qmm");
  }
  void multiply(const MatmulArgs& a, uint8_t* workspace) const {
    multiply(a.m <= kFewRows    ? kernels::qmm_affine_b4_bf16_m8n16_sm90
             : a.m <= kFlatRows ? kernels::qmm_affine_b4_bf16_m64n64_sm90
                                : kernels::qmm_affine_b4_bf16_m128n128_sm90,
             a, workspace);
  }
  void run(int n, int k, bool last) const;
};

void Bench::run(int n, int k, bool last) const {
  const int64_t codes = int64_t{n} * k / 2, scales = int64_t{n} * k / 64 * 2;
  const int64_t bytes = codes + 2 * scales, pitch = (bytes + 255) / 256 * 256;
  const int copies = static_cast<int>(kRotationBytes / bytes) + 2;
  const int calls = copies * std::max(1, 60 / copies);
  MatmulArgs a{};
  a.bits = 4, a.group_size = 64, a.n = n, a.k = k, a.x_stride = k, a.y_stride = n;
  a.x_type = a.w_type = DType::bf16, a.tensor_scale = 1;
  a.m = kMostRows;
  const int64_t room = std::max({kernels::qmm_affine_b4_bf16_m64n64_sm90.workspace_bytes(&a),
                                 kernels::qmm_affine_b4_bf16_m128n128_sm90.workspace_bytes(&a),
                                 kernels::qmm_affine_b4_bf16_m256n128_sm90.workspace_bytes(&a)});
  const int64_t y_bytes = int64_t{kMostRows} * n * 4, x_bytes = int64_t{kMostRows} * k * 2;
  uint8_t *weights, *x, *late_x, *y, *together, *workspace;
  unsigned* unequal;
  check(cudaMalloc(&weights, pitch * copies), "weights");
  check(cudaMalloc(&x, x_bytes), "x"), check(cudaMalloc(&late_x, x_bytes), "x");
  check(cudaMalloc(&y, y_bytes), "y"), check(cudaMalloc(&together, y_bytes), "y");
  check(cudaMalloc(&workspace, room), "workspace"), check(cudaMalloc(&unequal, 4), "count");
  cudaMemset(workspace, 0, room);
  for (int i = 0; i < copies; ++i) {
    uint8_t* const w = weights + i * pitch;
    fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(w), codes / 8, i + 11);
    fill_bf16<<<1024, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(w + codes), scales, i,
                                        .01f);
  }
  fill_bf16<<<1024, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(x), x_bytes / 2, 99, 1);
  const auto at = [&](int copy, const uint8_t* from, uint8_t* to, int m, DType type) {
    MatmulArgs b = a;
    b.w = weights + copy * pitch, b.scales = b.w + codes, b.biases = b.scales + scales;
    b.x = from, b.y = to, b.m = m, b.y_type = type;
    return b;
  };
  const auto differing = [&](int m) {
    cudaMemsetAsync(unequal, 0, 4, stream);
    count_unequal<<<264, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(y),
                                           reinterpret_cast<uint32_t*>(together), int64_t{m} * n,
                                           unequal);
    unsigned count = 0;
    cudaMemcpyAsync(&count, unequal, 4, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "compare");
    return count;
  };
  for (int row = 0; row < kMostRows; row += kFlatRows)
    multiply(
        at(0, x + int64_t{row} * k * 2, together + int64_t{row} * n * 4, kFlatRows, DType::f32),
        workspace);
  unsigned variant = 0, stale = 0;
  for (int m = 1; m <= kMostRows; m += m < kFlatRows + 2 ? 1 : 61) {
    cudaMemsetAsync(y, 0xff, y_bytes, stream);
    multiply(at(0, x, y, m, DType::f32), workspace);
    variant += differing(m);
    cudaMemsetAsync(y, 0xff, y_bytes, stream), cudaMemsetAsync(late_x, 0xff, x_bytes, stream);
    copy_late<<<32, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(x),
                                      reinterpret_cast<uint32_t*>(late_x), x_bytes / 4);
    multiply(at(0, late_x, y, m, DType::f32), workspace);
    stale += differing(m);
  }
  std::printf(
      "  {\"n\": %d, \"k\": %d, \"copies\": %d, \"row_variant\": %u, \"stale_x\": %u, \"rows\": "
      "[\n",
      n, k, copies, variant, stale);
  const int ms[] = {1, 2, 3, 4, 8, 9, 16, 17, 24, 32, 33, 48, 64, 65, 128, 256, 512, 2048};
  for (const int m : ms) {
    const Times t = time_graph(stream, m > kFlatRows ? copies : calls, [&](int i) {
      multiply(at(i % copies, x, y, m, DType::bf16), workspace);
    });
    const double floor = static_cast<double>(bytes + 2ll * m * (n + k)) / read_bytes_per_us;
    std::printf(
        "    {\"m\": %d, \"us\": %.2f, \"least\": %.2f, \"most\": %.2f, \"floor_us\": %.2f, "
        "\"of_floor\": %.3f, \"tflops\": %.1f",
        m, t.median, t.least, t.most, floor, floor / t.median, 2.0 * m * n * k / t.median / 1e6);
    if (m > kFlatRows) {
      const Times prompt = time_graph(stream, copies, [&](int i) {
        multiply(kernels::qmm_affine_b4_bf16_m256n128_sm90, at(i % copies, x, y, m, DType::bf16),
                 workspace);
      });
      std::printf(", \"prompt_us\": %.2f, \"prompt_tflops\": %.1f", prompt.median,
                  2.0 * m * n * k / prompt.median / 1e6);
    }
    std::printf("}%s\n", m == kMostRows ? "" : ",");
  }
  std::printf("  ]}%s\n", last ? "" : ",");
  for (uint8_t* p : {weights, x, late_x, y, together, workspace}) cudaFree(p);
  cudaFree(unequal);
  if (variant + stale > 0) std::exit(2);
}

}  // namespace

int main() {
  Bench bench{};
  check(cudaGetDeviceProperties(&bench.device, 0), "device");
  check(cudaStreamCreate(&bench.stream), "stream");
  bench.read_bytes_per_us = measure_reading(bench.stream);
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n",
      bench.device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown",
      bench.read_bytes_per_us / 1e6, kRepeats);
  std::printf(
      " \"command\": \"tools/device/run\", \"kernels\": \"qmm_affine_b4_bf16\", \"shapes\": "
      "[\n");
  const int shapes[][2] = {{13824, 5120}, {5120, 13824}, {14336, 4096}, {4096, 4096},
                           {8192, 3072},  {3072, 8192},  {128256, 3072}};
  for (const auto& shape : shapes) bench.run(shape[0], shape[1], &shape == &shapes[6]);
  std::puts("]}");
}
