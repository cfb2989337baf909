// Products with dense bf16 weights on one GPU: layers, a head, which no cache holds, and a router,
// cold by rotation; the read ceiling beside it. Before a time is printed the row's bits must be
// those of each row alone by mm_bf16_m64n16_sm80, also when x is written late by the kernel before,
// and near those of the portable row. Built and run by tools/device/run.
#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>

#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry mm_bf16_m64n128_sm90, mm_bf16_m64n16_sm80, mm_fany_m8n1_cuda;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::kernels::MatmulArgs;
namespace kernels = stepless::kernels;

constexpr int64_t kWorkspaceBytes = 64 << 20;
constexpr int kMostRows = 130, kCheckedRows = 1000;  // of x; outputs that are checked

struct Bench {
  cudaStream_t stream;
  uint8_t* workspace;
  int multiprocessors;
  double reading;

  void multiply(const kernels::CudaEntry& entry, const MatmulArgs& a) const {
    if (entry.workspace_bytes != nullptr && entry.workspace_bytes(&a) > kWorkspaceBytes)
      check(cudaErrorMemoryAllocation, "workspace");
    const CudaContext context{stream, workspace, multiprocessors, true};
    check(static_cast<cudaError_t>(entry.launch(&a, context)), "mm");
  }
  std::vector<float> floats(const uint8_t* y, int64_t count) const {
    std::vector<float> host(static_cast<std::size_t>(count));
    cudaMemcpyAsync(host.data(), y, host.size() * 4, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "mm");
    return host;
  }
  int run(const char* name, int n, int k, bool last) const;
};

int Bench::run(const char* name, int n, int k, bool last) const {
  const int64_t bytes = int64_t{n} * k * 2, x_bytes = int64_t{kMostRows} * k * 2;
  const int copies = static_cast<int>(std::min<int64_t>(kRotationBytes / bytes + 2, 64));
  uint8_t *weights, *x, *late_x, *y;
  check(cudaMalloc(&weights, bytes * copies), "weights");
  check(cudaMalloc(&x, x_bytes), "x"), check(cudaMalloc(&late_x, x_bytes), "x");
  check(cudaMalloc(&y, int64_t{kMostRows} * n * 4), "y");
  fill_uniform<<<1024, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(weights),
                                         bytes / 2 * copies, 1, .02f);
  fill_uniform<<<1024, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(x), x_bytes / 2, 2, 1);
  MatmulArgs a{};
  a.w = weights, a.w_row_bytes = int64_t{k} * 2, a.x = x, a.x_stride = k, a.y = y, a.y_stride = n;
  a.x_type = a.w_type = DType::bf16, a.y_type = DType::f32, a.n = n, a.k = k, a.tensor_scale = 1;
  int unequal = 0;
  double worst = 0;
  // The first and the last outputs: rows together, alone, late, and by the portable row.
  const int64_t checked = std::min(n, kCheckedRows);
  for (const int64_t first : {int64_t{0}, n - checked}) {
    MatmulArgs part = a;
    part.w += first * part.w_row_bytes, part.n = checked, part.y_stride = checked;
    part.m = kMostRows;
    multiply(kernels::mm_fany_m8n1_cuda, part);
    const std::vector<float> want = floats(y, kMostRows * checked);
    std::vector<float> alone;
    for (int64_t row = 0; row < kMostRows; ++row) {
      MatmulArgs one = part;
      one.m = 1, one.x = x + row * k * 2;
      multiply(kernels::mm_bf16_m64n16_sm80, one);
      const std::vector<float> got = floats(y, checked);
      alone.insert(alone.end(), got.begin(), got.end());
    }
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < want.size(); ++i)
      error += std::pow(want[i] - alone[i], 2), norm += std::pow(want[i], 2);
    worst = std::max(worst, std::sqrt(error / norm));
    for (const int m : {1, 2, 7, 8, 9, 16, 17, 31, 33, 64, 65, kMostRows})
      for (const bool late : {false, true}) {
        MatmulArgs all = a;
        all.m = m;
        cudaMemsetAsync(y, 0xff, int64_t{m} * n * 4, stream);
        cudaMemsetAsync(late_x, 0xff, x_bytes, stream);
        if (late) {
          all.x = late_x;
          copy_late<<<32, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(x),
                                            reinterpret_cast<uint32_t*>(late_x), x_bytes / 4);
        }
        multiply(kernels::mm_bf16_m64n128_sm90, all);
        for (int row = 0; row < m; ++row) {
          const std::vector<float> got = floats(y + (int64_t{row} * n + first) * 4, checked);
          unequal += !std::equal(got.begin(), got.end(), alone.begin() + row * checked);
        }
      }
  }
  std::printf(
      "  {\"name\": \"%s\", \"n\": %d, \"k\": %d, \"unequal_rows\": %d, \"relative_error\": %.2e, "
      "\"rows\": [\n",
      name, n, k, unequal, worst);
  for (const int m : {1, 3, 8, 16, 32, 64}) {
    const Times t = time_graph(stream, std::max(copies, 4), [&](int i) {
      MatmulArgs one = a;
      one.m = m, one.w += i % copies * bytes;
      multiply(kernels::mm_bf16_m64n128_sm90, one);
    });
    const double floor = static_cast<double>(bytes + m * (2ll * k + 4ll * n)) / reading;
    std::printf(
        "    {\"m\": %d, \"us\": %.2f, \"least\": %.2f, \"most\": %.2f, \"floor_us\": %.2f, "
        "\"of_floor\": %.3f}%s\n",
        m, t.median, t.least, t.most, floor, floor / t.median, m == 64 ? "" : ",");
  }
  std::printf("  ]}%s\n", last ? "" : ",");
  for (uint8_t* p : {weights, x, late_x, y}) cudaFree(p);
  return unequal + (worst > 2e-5 ? 1 : 0);
}

}  // namespace

int main() {
  Bench bench{};
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&bench.stream), "stream");
  check(cudaMalloc(&bench.workspace, kWorkspaceBytes), "workspace");
  check(cudaMemset(bench.workspace, 0, kWorkspaceBytes), "workspace");
  bench.multiprocessors = device.multiProcessorCount;
  bench.reading = measure_reading(bench.stream);
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"kernel\": \"mm_bf16_m64n128_sm90\", \"shapes\": [\n",
      device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown", bench.reading / 1e6,
      kRepeats);
  int wrong = bench.run("llama-2-13b up", 13824, 5120, false);
  wrong += bench.run("llama-2-13b down", 5120, 13824, false);
  wrong += bench.run("llama-3.2-3b head", 128256, 3072, false);
  wrong += bench.run("4096 of 4096", 4096, 4096, false);
  wrong += bench.run("4096 of 4104", 4096, 4104, false);
  wrong += bench.run("odd", 1001, 712, false);
  wrong += bench.run("router of 128 experts", 128, 2048, true);
  std::printf("]}\n");
  return wrong == 0 ? 0 : 2;
}
