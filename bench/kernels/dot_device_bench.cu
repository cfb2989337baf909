// The dot row on one GPU: cold vectors, the rotation in one CUDA graph with programmatic dependent
// launch, the read ceiling beside it. A run repeated must give the same bits. Built and run by
// tools/device/run.
#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry dot_fany_v256_cuda;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType;
using stepless::kernels::DotArgs, stepless::kernels::dot_fany_v256_cuda;

constexpr int kMostCopies = 2000;

struct Type {
  DType type;
  const char* name;
  int bytes;
};
constexpr Type kTypes[] = {{DType::f32, "f32", 4},
                           {DType::f16, "f16", 2},
                           {DType::bf16, "bf16", 2},
                           {DType::complex64, "complex64", 8}};
constexpr int64_t kLengths[] = {1, 16, 256, 4096, 16384, 131072, 1000000, 50000000};

/// Mantissas are random, exponents near 1: numbers in [1, 2) and (-2, -1].
__global__ void make_numbers(uint32_t* p, int64_t words, uint32_t keep, uint32_t one) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < words; i += gridDim.x * 256ll)
    p[i] = (p[i] & keep) | one;
}

struct Bench {
  cudaStream_t stream;
  int multiprocessors;
  double read_bytes_per_us;
  uint8_t *memory, *y, *workspace;

  void fill_with(Type type, int64_t bytes) const {
    fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(memory), bytes / 8, 7);
    const bool f16 = type.type == DType::f16, bf16 = type.type == DType::bf16;
    make_numbers<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(memory), bytes / 4,
                                           f16    ? 0x83ff83ffu
                                           : bf16 ? 0x807f807fu
                                                  : 0x807fffffu,
                                           f16    ? 0x3c003c00u
                                           : bf16 ? 0x3f803f80u
                                                  : 0x3f800000u);
  }
  void run(Type type, int64_t k, bool last) const;
};

void Bench::run(Type type, int64_t k, bool last) const {
  const int64_t pitch = (k * type.bytes + 255) / 256 * 256;
  const int copies =
      static_cast<int>(std::clamp<int64_t>(kRotationBytes / (2 * pitch) + 1, 2, kMostCopies));
  fill_with(type, 2 * pitch * copies);
  const CudaContext context{stream, workspace, multiprocessors, true};
  const auto dot = [&](int copy, uint8_t* to) {
    const uint8_t* const at = memory + copy * 2 * pitch;
    const DotArgs args{at, at + pitch, 1, 1, k, type.type, to, nullptr};
    check(static_cast<cudaError_t>(dot_fany_v256_cuda.launch(&args, context)), "dot");
  };
  uint64_t bits[2] = {};
  for (uint64_t& result : bits) {
    dot(0, y);
    cudaMemcpyAsync(&result, y, static_cast<size_t>(type.bytes), cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "dot");
  }
  if (bits[0] != bits[1]) {
    std::fprintf(stderr, "dot %s k %lld: two runs differ\n", type.name, static_cast<long long>(k));
    std::exit(2);
  }
  const Times t = time_graph(stream, std::max(copies, 20), [&](int i) { dot(i % copies, y); });
  const double bytes = 2.0 * static_cast<double>(k) * type.bytes;
  std::printf(
      "  {\"type\": \"%s\", \"k\": %lld, \"cold\": %s, \"us\": %.2f, \"least\": %.2f, "
      "\"most\": %.2f, \"gb_s\": %.1f, \"of_read_ceiling\": %.3f}%s\n",
      type.name, static_cast<long long>(k), 2 * pitch * copies >= kRotationBytes ? "true" : "false",
      t.median, t.least, t.most, bytes / t.median / 1e3, bytes / t.median / read_bytes_per_us,
      last ? "" : ",");
}

}  // namespace

int main() {
  Bench bench{};
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&bench.stream), "stream");
  bench.multiprocessors = device.multiProcessorCount;
  bench.read_bytes_per_us = measure_reading(bench.stream);
  check(cudaMalloc(&bench.memory, int64_t{2} << 30), "vectors");
  check(cudaMalloc(&bench.y, 64), "y");
  const int64_t room = dot_fany_v256_cuda.workspace_bytes(nullptr);
  check(cudaMalloc(&bench.workspace, room), "workspace");
  cudaMemset(bench.workspace, 0, room);
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"kernel\": \"dot_fany_v256_cuda\", \"rows\": [\n",
      device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown",
      bench.read_bytes_per_us / 1e6, kRepeats);
  for (const Type& type : kTypes)
    for (const int64_t k : kLengths) bench.run(type, k, &type == &kTypes[3] && k == kLengths[7]);
  std::puts("]}");
}
