// Products of prompts on one Hopper GPU, in every format that has a row for them: its results of
// x's type against the portable rows in float64, its bits at other places and in a joined launch,
// then cold times, one CUDA graph with programmatic dependent launch. Built and run by
// tools/device/run.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "bench/kernels/formats.cuh"

#define EACH_AFFINE(F) F(1, bf16) F(2, bf16) F(3, bf16) F(4, bf16) F(8, bf16) F(4, f16) F(8, f16)
#define EACH_DOTS(F) F(mxfp4, 4, 32) F(nvfp4, 4, 16) F(mxfp8, 8, 32)
#define EACH_DENSE(F) F(bf16) F(f16)
#define DECLARE_AFFINE(bits, type) \
  extern const CudaEntry qmm_affine_b##bits##_##type##_m256n128_sm90;
#define DECLARE_DOTS(mode, bits, group) \
  extern const CudaEntry qmm_##mode##_b##bits##_bf16_m256n128_sm90;
#define DECLARE_DENSE(type) extern const CudaEntry mm_##type##_m256n128_sm90;

namespace stepless::kernels {
extern const CudaEntry qmm_wany_bany_fany_m8n1_cuda, mm_fany_m8n1_cuda;
EACH_AFFINE(DECLARE_AFFINE)
EACH_DOTS(DECLARE_DOTS)
EACH_DENSE(DECLARE_DENSE)
}  // namespace stepless::kernels

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::Mode, stepless::kernels::MatmulArgs;
namespace kernels = stepless::kernels;

struct Row {
  static constexpr int kRows = 2048;  // of x
  const char* name;
  const kernels::CudaEntry& entry;
  Mode mode;
  int bits;
  DType type;  // of x, scales and y
  std::vector<int> groups;
  DType scales = type;
};
#define AFFINE(bits, type)                               \
  {"affine_b" #bits "_" #type,                           \
   kernels::qmm_affine_b##bits##_##type##_m256n128_sm90, \
   Mode::affine,                                         \
   bits,                                                 \
   DType::type,                                          \
   {64, 128}},
#define DOTS(mode, bits, group)                                                               \
  {#mode,  kernels::qmm_##mode##_b##bits##_bf16_m256n128_sm90, Mode::mode, bits, DType::bf16, \
   {group}},
#define DENSE(type) \
  {"dense_" #type, kernels::mm_##type##_m256n128_sm90, Mode::affine, 16, DType::type, {0}},
const Row kEach[] = {EACH_AFFINE(AFFINE) EACH_DOTS(DOTS) EACH_DENSE(DENSE)};
using Problem = ProblemOf<Row>;

float number(uint16_t bits, DType type) {
  if (type == DType::bf16) {
    const uint32_t word = uint32_t{bits} << 16;
    float value = 0;
    std::memcpy(&value, &word, 4);
    return value;
  }
  __half half;
  std::memcpy(&half, &bits, 2);
  return __half2float(half);
}

struct Bench : FormatBench {
  double check_row(const Row& row, int group, int n, int k);
  void time_row(const Row& row, int group, int n, int k);
};

/// The relative error in the Frobenius norm: what rounding y, and weights once, leaves.
double Bench::check_row(const Row& row, int group, int n, int k) {
  constexpr int kAll = 200, kFirst = 100, kSome = 37;
  const Problem p{row, group, n, k, 1};
  const Memory exact_y{int64_t{kAll} * n * 4}, y{int64_t{kAll} * n * 2},
      other{int64_t{kAll} * n * 2};
  p.fill_all(stream);
  multiply(group == 0 ? kernels::mm_fany_m8n1_cuda : kernels::qmm_wany_bany_fany_m8n1_cuda,
           p.at(0, 0, kAll, exact_y.get(), DType::f32));
  multiply(row.entry, p.at(0, 0, kAll, y.get(), row.type));
  const auto exact = result<float>(exact_y, int64_t{kAll} * n);
  const auto all = result<uint16_t>(y, int64_t{kAll} * n);
  multiply(row.entry, p.at(0, kFirst, kSome, other.get(), row.type));
  const auto some = result<uint16_t>(other, int64_t{kSome} * n);
  if (std::memcmp(some.data(), all.data() + int64_t{kFirst} * n, some.size() * 2) != 0)
    ++faults, std::fprintf(stderr, "bits differ: %s, n %d, k %d\n", row.name, n, k);
  const MatmulArgs two[2] = {p.at(0, 0, kAll, y.get(), row.type),
                             p.at(0, 0, kAll, other.get(), row.type)};
  check(static_cast<cudaError_t>(row.entry.joined.products(two, 2, nullptr, context)), "two");
  for (const Memory* part : {&y, &other})
    if (result<uint16_t>(*part, int64_t{kAll} * n) != all)
      ++faults, std::fprintf(stderr, "joined bits differ: %s, n %d, k %d\n", row.name, n, k);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    error += std::pow(double{number(all[i], row.type)} - exact[i], 2);
    size += std::pow(double{exact[i]}, 2);
  }
  return std::sqrt(error / size);
}

void Bench::time_row(const Row& row, int group, int n, int k) {
  const int64_t bytes = int64_t{n} * k / 8 * row.bits;
  const int copies = static_cast<int>(kRotationBytes / bytes) + 2;
  const Problem p{row, group, n, k, copies};
  const Memory y{int64_t{Row::kRows} * n * 2};
  p.fill_all(stream);
  separate();
  std::printf("  {\"row\": \"%s\", \"group\": %d, \"n\": %d, \"k\": %d, \"m\": {", row.name, group,
              n, k);
  const char* between = "";
  for (const int m : {64, 128, 512, 2048}) {
    const Times t = time_graph(stream, copies, [&](int i) {
      multiply(row.entry, p.at(i % copies, 0, m, y.get(), row.type));
    });
    std::printf("%s\"%d\": [%.1f, %.0f]", between, m, t.median, 2e-6 * m * n * k / t.median);
    between = ", ";
  }
  std::printf("}}");
  std::fflush(stdout);
}

}  // namespace

/// argv: a part of the names of the rows to measure; none: all of them.
int main(int argc, char** argv) {
  std::vector<Row> rows;
  for (const Row& row : kEach)
    if (argc < 2 || std::strstr(row.name, argv[1]) != nullptr) rows.push_back(row);
  Bench bench{};
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&bench.stream), "stream");
  constexpr int64_t kWorkspace = int64_t{256} << 20;
  const Memory workspace{kWorkspace};
  cudaMemset(workspace.get(), 0, kWorkspace);
  bench.context = {bench.stream, workspace.get(), device.multiProcessorCount, true};
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"errors_against_float64\": [",
      device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown", kRepeats);
  for (const Row& row : rows)
    for (const int group : row.groups) {
      double worst = 0;
      for (const int n : {64, 2496})
        for (const int k : {256, 5120}) worst = std::max(worst, bench.check_row(row, group, n, k));
      bench.separate();
      std::printf("  {\"row\": \"%s\", \"group\": %d, \"relative_error\": %.3g}", row.name, group,
                  worst);
      if (worst < (row.type == DType::bf16 ? 2.6e-3 : 3.7e-4)) continue;
      ++bench.faults, std::fprintf(stderr, "%s, group %d: wrong\n", row.name, group);
    }
  std::printf("],\n \"us_and_tflops_by_m\": [");
  bench.is_first = true;
  const int shapes[][2] = {{13824, 5120}, {4096, 4096}};
  for (const auto& shape : shapes)
    for (const Row& row : rows) bench.time_row(row, row.groups[0], shape[0], shape[1]);
  std::printf("],\n \"faults\": %d}\n", bench.faults);
  return bench.faults > 0 ? 2 : 0;
}
