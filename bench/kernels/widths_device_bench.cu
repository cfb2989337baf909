// Affine widths beside 4 bits on one GPU: each row against the portable row in float64, its bits
// at every m against those of 64 rows and of a joined launch, then cold times, one CUDA graph with
// programmatic dependent launch, the read ceiling beside them. Built and run by tools/device/run.
#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry qmm_wany_bany_fany_m8n1_cuda, qmm_affine_b1_bf16_m16n16_sm80,
    qmm_affine_b2_bf16_m16n16_sm80, qmm_affine_b3_bf16_m16n16_sm80, qmm_affine_b4_bf16_m16n16_sm80,
    qmm_affine_b5_bf16_m16n16_sm80, qmm_affine_b6_bf16_m16n16_sm80, qmm_affine_b8_bf16_m16n16_sm80;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::Mode, stepless::kernels::MatmulArgs;
namespace kernels = stepless::kernels;

struct Width {
  int bits, most_rows;
  const kernels::CudaEntry& entry;
};
constexpr int kRows = 64;
const Width kWidths[] = {
    {1, kRows, kernels::qmm_affine_b1_bf16_m16n16_sm80},
    {2, kRows, kernels::qmm_affine_b2_bf16_m16n16_sm80},
    {3, kRows, kernels::qmm_affine_b3_bf16_m16n16_sm80},
    {4, 16, kernels::qmm_affine_b4_bf16_m16n16_sm80},
    {5, kRows, kernels::qmm_affine_b5_bf16_m16n16_sm80},
    {6, kRows, kernels::qmm_affine_b6_bf16_m16n16_sm80},
    {8, kRows, kernels::qmm_affine_b8_bf16_m16n16_sm80},
};

__global__ void fill_bf16(__nv_bfloat16* p, int64_t count, uint64_t seed, float size) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll)
    p[i] = __float2bfloat16(
        (static_cast<float>(mixed(i + seed) >> 40) / static_cast<float>(1 << 23) - 1) * size);
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

/// `copies` of one weight and 64 rows of x.
struct Problem {
  int bits, group, n, k, copies;
  int64_t codes = int64_t{n} * k / 8 * bits, scales = int64_t{n} * (k / group) * 2;
  int64_t padded_scales = (scales + 15) / 16 * 16, pitch = (codes + 2 * padded_scales + 255) & ~255;
  Memory weights{pitch * copies}, x{int64_t{kRows} * k * 2};

  void fill_all(cudaStream_t stream) const {
    for (int i = 0; i < copies; ++i) {
      uint8_t* const w = weights.get() + i * pitch;
      fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(w), codes / 8, i + 11);
      fill_bf16<<<1024, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(w + codes),
                                          padded_scales, i, .01f);
    }
    fill_bf16<<<64, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(x.get()), int64_t{kRows} * k,
                                      99, 2);
  }
  MatmulArgs at(int copy, int row, int m, uint8_t* y, DType type) const {
    MatmulArgs a{};
    a.mode = Mode::affine, a.bits = bits, a.group_size = group, a.tensor_scale = 1;
    a.m = m, a.n = n, a.k = k, a.x_stride = k, a.y_stride = n;
    a.x = x.get() + int64_t{row} * k * 2, a.y = y;
    a.w = weights.get() + copy * pitch, a.scales = a.w + codes, a.biases = a.scales + padded_scales;
    a.w_row_bytes = int64_t{k} / 8 * bits;
    a.x_type = a.w_type = DType::bf16, a.y_type = type;
    return a;
  }
};

struct Bench {
  cudaStream_t stream;
  CudaContext context;
  double read_bytes_per_us;
  int faults = 0;

  std::vector<float> result(const Memory& y, int64_t count) const {
    std::vector<float> all(static_cast<std::size_t>(count));
    check(cudaStreamSynchronize(stream), "stream");
    check(cudaMemcpy(all.data(), y.get(), count * 4, cudaMemcpyDeviceToHost), "y");
    return all;
  }
  void multiply(const kernels::CudaEntry& entry, const MatmulArgs& a) const {
    check(static_cast<cudaError_t>(entry.launch(&a, context)), "qmm");
  }
  double check_width(const Width& width, int group, int n, int k);
  void time_width(const Width& width, int n, int k) const;
};

/// The relative error of float32 results, in the Frobenius norm.
double Bench::check_width(const Width& width, int group, int n, int k) {
  const Problem p{width.bits, group, n, k, 1};
  const int64_t count = int64_t{kRows} * n;
  const Memory y{count * 4}, other{count * 4};
  p.fill_all(stream);
  const int most = width.most_rows;
  multiply(kernels::qmm_wany_bany_fany_m8n1_cuda, p.at(0, 0, most, y.get(), DType::f32));
  const std::vector<float> exact = result(y, int64_t{most} * n);
  cudaMemsetAsync(y.get(), 0xff, count * 4, stream);
  multiply(width.entry, p.at(0, 0, most, y.get(), DType::f32));
  const std::vector<float> all = result(y, int64_t{most} * n);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    error += std::pow(double{all[i]} - exact[i], 2), size += std::pow(double{exact[i]}, 2);
  }
  for (const int m : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63}) {
    if (m > most) break;
    const int row = most - m;  // in other company and at another place
    cudaMemsetAsync(y.get(), 0xff, count * 4, stream);
    multiply(width.entry, p.at(0, row, m, y.get(), DType::f32));
    const std::vector<float> some = result(y, int64_t{m} * n);
    if (std::memcmp(some.data(), all.data() + int64_t{row} * n, some.size() * 4) == 0) continue;
    ++faults, std::printf("  bits differ: %d bits, n %d, k %d, m %d\n", width.bits, n, k, m);
  }
  // Two weights in one launch, the same twice: both have the bits of one alone.
  const MatmulArgs two[2] = {p.at(0, 0, most, y.get(), DType::f32),
                             p.at(0, 0, most, other.get(), DType::f32)};
  check(static_cast<cudaError_t>(width.entry.joined.products(two, 2, nullptr, context)), "two");
  for (const Memory* part : {&y, &other})
    if (std::memcmp(result(*part, int64_t{most} * n).data(), all.data(), all.size() * 4) != 0)
      ++faults, std::printf("  joined bits differ: %d bits, n %d, k %d\n", width.bits, n, k);
  return std::sqrt(error / size);
}

void Bench::time_width(const Width& width, int n, int k) const {
  const int64_t bytes = int64_t{n} * k / 8 * width.bits + int64_t{n} * k / 64 * 4;
  const int copies = static_cast<int>(kRotationBytes / bytes) + 2;
  const int calls = copies * std::max(1, 60 / copies);
  const Problem p{width.bits, 64, n, k, copies};
  const Memory y{int64_t{kRows} * n * 2};
  p.fill_all(stream);
  std::printf("  {\"bits\": %d, \"n\": %d, \"k\": %d, \"us\": {", width.bits, n, k);
  for (const int m : {1, 4, 8, 16, 32, 64}) {
    if (m > width.most_rows) break;
    const Times t = time_graph(stream, calls, [&](int i) {
      multiply(width.entry, p.at(i % copies, 0, m, y.get(), DType::bf16));
    });
    const double floor = static_cast<double>(bytes + 2ll * m * (n + k)) / read_bytes_per_us;
    std::printf("%s\"%d\": [%.2f, %.3f]", m == 1 ? "" : ", ", m, t.median, floor / t.median);
  }
  std::printf("}},\n");
  std::fflush(stdout);
}

}  // namespace

int main() {
  Bench bench{};
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&bench.stream), "stream");
  const Memory workspace{1 << 20};
  cudaMemset(workspace.get(), 0, 1 << 20);
  bench.context = {bench.stream, workspace.get(), device.multiProcessorCount, true};
  for (const Width& width : kWidths)
    for (const int group : {64, 128}) {
      double worst = 0;
      for (const int n : {1, 17, 49, 2500})
        for (const int k : {256, 768, 2304, 5120, 14336})
          worst = std::max(worst, bench.check_width(width, group, n, k));
      const bool is_wrong = !(worst < 2e-5);
      bench.faults += is_wrong;
      std::printf("%d bits, group %d: relative error %.2e%s\n", width.bits, group, worst,
                  is_wrong ? ", WRONG" : "");
    }
  std::fflush(stdout);
  bench.read_bytes_per_us = measure_reading(bench.stream);
  std::printf("{\"device\": \"%s\", \"read_tb_per_s\": %.3f, \"us and share of the floor\": [\n",
              device.name, bench.read_bytes_per_us / 1e6);
  const int shapes[][2] = {{13824, 5120}, {4096, 4096}, {5120, 13824}, {128256, 3072}};
  for (const auto& shape : shapes)
    for (const Width& width : kWidths) bench.time_width(width, shape[0], shape[1]);
  std::printf("  {}], \"faults\": %d}\n", bench.faults);
  return bench.faults > 0 ? 2 : 0;
}
