// Formats beside 4-bit affine weights on one GPU: each row against the portable row in float64, its
// bits at some m against those of 64 rows, of a joined launch and of another row of its order, then
// cold times, one CUDA graph with programmatic dependent launch, the read ceiling beside them.
// Built and run by tools/device/run.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "bench/kernels/device_bench.cuh"

#define EACH_FLAT(F) \
  F(1, bf16, m16n16) \
  F(2, bf16, m16n16) \
  F(3, bf16, m16n16) \
  F(4, bf16, m16n16) F(5, bf16, m16n16) F(6, bf16, m16n16) F(8, bf16, m16n16)
#define EACH_UNIT(F, act) \
  F(1, act, m16n32)       \
  F(2, act, m16n32)       \
  F(3, act, m16n32) F(4, act, m16n32) F(5, act, m16n32) F(6, act, m16n32) F(8, act, m16n32)
#define EACH_MID(F) F(1) F(2) F(3) F(4) F(5) F(6) F(8)
#define DECLARE(bits, act, tile) extern const CudaEntry qmm_affine_b##bits##_##act##_##tile##_sm80;
#define DECLARE_MID(bits)                                      \
  extern const CudaEntry qmm_affine_b##bits##_bf16_m8n16_sm90, \
      qmm_affine_b##bits##_bf16_m64n64_sm90;

namespace stepless::kernels {
extern const CudaEntry qmm_wany_bany_fany_m8n1_cuda, qmm_mxfp4_b4_bf16_m16n32_sm80,
    qmm_nvfp4_b4_bf16_m16n32_sm80, qmm_mxfp8_b8_bf16_m16n32_sm80, qmm_mxfp4_b4_f32_m16n32_sm80,
    qmm_nvfp4_b4_f32_m16n32_sm80, qmm_mxfp8_b8_f32_m16n32_sm80, qmm_affine_b8_bf16_m128n128_sm90,
    qmm_mxfp4_b4_bf16_m8n16_sm90, qmm_nvfp4_b4_bf16_m8n16_sm90, qmm_mxfp8_b8_bf16_m8n16_sm90;
EACH_FLAT(DECLARE)
EACH_MID(DECLARE_MID)
EACH_UNIT(DECLARE, bf16)
EACH_UNIT(DECLARE, f16)
EACH_UNIT(DECLARE, fany)
}  // namespace stepless::kernels

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::Mode, stepless::kernels::MatmulArgs;
namespace kernels = stepless::kernels;

constexpr int kRows = 64;
struct Row {
  const char* name;
  const kernels::CudaEntry& entry;
  Mode mode;
  int bits;
  DType type;  // of x
  std::vector<int> groups;
  int most_rows = kRows;
  DType scales = type;  // of affine codes
  int least_rows = 1;
  const kernels::CudaEntry* few = nullptr;  // a row for 16 rows with the same bits
  bool is_flat() const { return std::strstr(name, "_m16n16") != nullptr || few != nullptr; }
  bool has_own_type() const { return mode != Mode::affine || scales == type; }
  DType result() const { return has_own_type() ? type : DType::f32; }
};
/// The rows for scales of any type: x in float32, in bf16 and f16 with scales of another type.
#define MIXED_OF(bits, x, own, ...)                \
  {"affine_b" #bits "_" #x "_scales_" #own,        \
   kernels::qmm_affine_b##bits##_fany_m16n32_sm80, \
   Mode::affine,                                   \
   bits,                                           \
   DType::x,                                       \
   {__VA_ARGS__},                                  \
   kRows,                                          \
   DType::own},
#define MIXED(bits, act, tile)           \
  MIXED_OF(bits, f32, bf16, 32, 64, 128) \
  MIXED_OF(bits, f32, f32, 64)           \
  MIXED_OF(bits, bf16, f32, 32, 64)      \
  MIXED_OF(bits, f16, bf16, 32, 64)
#define FLAT(bits, act, tile)                           \
  {"affine_b" #bits "_" #act "_" #tile,                 \
   kernels::qmm_affine_b##bits##_##act##_##tile##_sm80, \
   Mode::affine,                                        \
   bits,                                                \
   DType::act,                                          \
   {64, 128},                                           \
   bits == 4 ? 16 : kRows},
#define SM90(bits, tile, least, most)                \
  {"affine_b" #bits "_bf16_" #tile,                  \
   kernels::qmm_affine_b##bits##_bf16_##tile##_sm90, \
   Mode::affine,                                     \
   bits,                                             \
   DType::bf16,                                      \
   {64, 128},                                        \
   most,                                             \
   DType::bf16,                                      \
   least,                                            \
   &kernels::qmm_affine_b##bits##_bf16_m16n16_sm80},
#define FLAT_AND_MID(bits) \
  FLAT(bits, bf16, m16n16) SM90(bits, m8n16, 1, 8) SM90(bits, m64n64, 9, kRows)
#define UNIT(bits, act, tile)                           \
  {"affine_b" #bits "_" #act "_" #tile,                 \
   kernels::qmm_affine_b##bits##_##act##_##tile##_sm80, \
   Mode::affine,                                        \
   bits,                                                \
   DType::act,                                          \
   {32, 64, 128}},
#define FEW(mode, bits, group)                      \
  {#mode "_m8n16",                                  \
   kernels::qmm_##mode##_b##bits##_bf16_m8n16_sm90, \
   Mode::mode,                                      \
   bits,                                            \
   DType::bf16,                                     \
   {group},                                         \
   8,                                               \
   DType::bf16,                                     \
   1,                                               \
   &kernels::qmm_##mode##_b##bits##_bf16_m16n32_sm80},
const Row kEach[] = {
    EACH_MID(FLAT_AND_MID) SM90(8, m128n128, 33, kRows) EACH_UNIT(UNIT, bf16) EACH_UNIT(UNIT, f16){
        "mxfp4", kernels::qmm_mxfp4_b4_bf16_m16n32_sm80, Mode::mxfp4, 4, DType::bf16, {32}},
    {"nvfp4", kernels::qmm_nvfp4_b4_bf16_m16n32_sm80, Mode::nvfp4, 4, DType::bf16, {16}},
    {"mxfp8", kernels::qmm_mxfp8_b8_bf16_m16n32_sm80, Mode::mxfp8, 8, DType::bf16, {32}},
    FEW(mxfp4, 4, 32) FEW(nvfp4, 4, 16) FEW(mxfp8, 8, 32){
        "mxfp4_f32", kernels::qmm_mxfp4_b4_f32_m16n32_sm80, Mode::mxfp4, 4, DType::f32, {32}},
    {"nvfp4_f32", kernels::qmm_nvfp4_b4_f32_m16n32_sm80, Mode::nvfp4, 4, DType::f32, {16}},
    {"mxfp8_f32", kernels::qmm_mxfp8_b8_f32_m16n32_sm80, Mode::mxfp8, 8, DType::f32, {32}},
    EACH_UNIT(MIXED, fany)};
int64_t size_of(DType type) { return type == DType::f32 ? 4 : 2; }

__global__ void fill_numbers(void* p, int64_t count, uint64_t seed, float size, DType type) {
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
__global__ void fill_bytes(uint8_t* p, int64_t count, uint64_t seed, int least, int span) {
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

/// `copies` of one weight and 64 rows of x.
struct Problem {
  const Row& row;
  int group, n, k, copies;
  bool affine = row.mode == Mode::affine;
  int64_t codes = int64_t{n} * k / 8 * row.bits,
          scales = int64_t{n} * (k / group) * (affine ? size_of(row.scales) : 1);
  int64_t padded_scales = (scales + 15) / 16 * 16, pitch = (codes + 2 * padded_scales + 255) & ~255;
  Memory weights{pitch * copies}, x{int64_t{kRows} * k * size_of(row.type)};

  void fill_all(cudaStream_t stream) const {
    for (int i = 0; i < copies; ++i) {
      uint8_t* const w = weights.get() + i * pitch;
      if (row.mode == Mode::mxfp8)  // no NaN
        fill_bytes<<<1024, 256, 0, stream>>>(w, codes, i + 11, i % 2 * 128, 127);
      else
        fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(w), codes / 8, i + 11);
      if (affine)
        fill_numbers<<<1024, 256, 0, stream>>>(w + codes, 2 * padded_scales / size_of(row.scales),
                                               i, .01f, row.scales);
      else if (row.mode == Mode::nvfp4)
        fill_bytes<<<1024, 256, 0, stream>>>(w + codes, scales, i, 0x18, 0x28);
      else
        fill_bytes<<<1024, 256, 0, stream>>>(w + codes, scales, i, 112, 8);
    }
    fill_numbers<<<64, 256, 0, stream>>>(x.get(), int64_t{kRows} * k, 99, 2, row.type);
  }
  MatmulArgs at(int copy, int first, int m, uint8_t* y, DType type) const {
    MatmulArgs a{};
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

struct Bench {
  cudaStream_t stream;
  CudaContext context;
  double read_bytes_per_us;
  int faults = 0;
  bool is_first = true;  // of a list

  /// In front of an element of a list.
  void separate() { std::printf(is_first ? "\n" : ",\n"), is_first = false; }

  std::vector<float> result(const Memory& y, int64_t count) const {
    std::vector<float> all(static_cast<std::size_t>(count));
    check(cudaStreamSynchronize(stream), "stream");
    check(cudaMemcpy(all.data(), y.get(), count * 4, cudaMemcpyDeviceToHost), "y");
    return all;
  }
  void multiply(const kernels::CudaEntry& entry, const MatmulArgs& a) const {
    check(static_cast<cudaError_t>(entry.launch(&a, context)), "qmm");
  }
  double check_row(const Row& row, int group, int n, int k);
  void time_row(const Row& row, int group, int n, int k);
};

/// The relative error of float32 results, in the Frobenius norm.
double Bench::check_row(const Row& row, int group, int n, int k) {
  const Problem p{row, group, n, k, 1};
  const int64_t count = int64_t{kRows} * n;
  const Memory y{count * 4}, other{count * 4};
  p.fill_all(stream);
  const int most = row.most_rows;
  multiply(kernels::qmm_wany_bany_fany_m8n1_cuda, p.at(0, 0, most, y.get(), DType::f32));
  const std::vector<float> exact = result(y, int64_t{most} * n);
  cudaMemsetAsync(y.get(), 0xff, count * 4, stream);
  multiply(row.entry, p.at(0, 0, most, y.get(), DType::f32));
  const std::vector<float> all = result(y, int64_t{most} * n);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    error += std::pow(double{all[i]} - exact[i], 2), size += std::pow(double{exact[i]}, 2);
  }
  for (const int m : {1, 8, 15, 17, 33, 49}) {  // the tests of the rows know more
    if (m > most) break;
    if (m < row.least_rows) continue;
    const int first = most - m;  // in other company and at another place
    cudaMemsetAsync(y.get(), 0xff, count * 4, stream);
    multiply(row.entry, p.at(0, first, m, y.get(), DType::f32));
    const std::vector<float> some = result(y, int64_t{m} * n);
    if (std::memcmp(some.data(), all.data() + int64_t{first} * n, some.size() * 4) == 0) continue;
    ++faults, std::fprintf(stderr, "bits differ: %s, n %d, k %d, m %d\n", row.name, n, k, m);
  }
  if (row.few != nullptr) {
    constexpr int kMost = 16;
    for (int first = 0; first < most; first += kMost)
      multiply(*row.few, p.at(0, first, kMost, other.get() + int64_t{first} * n * 4, DType::f32));
    if (std::memcmp(result(other, int64_t{most} * n).data(), all.data(), all.size() * 4) != 0)
      ++faults, std::fprintf(stderr, "not the bits of 16 rows: %s, n %d, k %d\n", row.name, n, k);
  }
  if (row.entry.joined.products == nullptr) return std::sqrt(error / size);
  // Two weights in one launch, the same twice: both have the bits of one alone.
  const MatmulArgs two[2] = {p.at(0, 0, most, y.get(), DType::f32),
                             p.at(0, 0, most, other.get(), DType::f32)};
  check(static_cast<cudaError_t>(row.entry.joined.products(two, 2, nullptr, context)), "two");
  for (const Memory* part : {&y, &other})
    if (std::memcmp(result(*part, int64_t{most} * n).data(), all.data(), all.size() * 4) != 0)
      ++faults, std::fprintf(stderr, "joined bits differ: %s, n %d, k %d\n", row.name, n, k);
  return std::sqrt(error / size);
}

void Bench::time_row(const Row& row, int group, int n, int k) {
  const int64_t bytes =
      int64_t{n} * k / 8 * row.bits +
      int64_t{n} * k / group * (row.mode == Mode::affine ? 2 * size_of(row.scales) : 1);
  const int copies = static_cast<int>(kRotationBytes / bytes) + 2;
  const Problem p{row, group, n, k, copies};
  const Memory y{int64_t{kRows} * n * size_of(row.result())};
  p.fill_all(stream);
  separate();
  std::printf("  {\"row\": \"%s\", \"group\": %d, \"n\": %d, \"k\": %d, \"m\": {", row.name, group,
              n, k);
  const char* between = "";
  for (const int m : {1, 4, 8, 9, 16, 17, 32, 48, 64}) {
    const bool is_edge = m == 9 || m == 17 || m == 48;
    if (m > row.most_rows) break;
    if (m < row.least_rows || (is_edge && !row.is_flat())) continue;
    const int least = m > 8 || bytes > kRotationBytes ? 10 : 60;
    const int calls = copies * std::max(1, least / copies);
    const Times t = time_graph(stream, calls, [&](int i) {
      multiply(row.entry, p.at(i % copies, 0, m, y.get(), row.result()));
    });
    const double floor =
        static_cast<double>(bytes + m * (n * size_of(row.result()) + k * size_of(row.type))) /
        read_bytes_per_us;
    std::printf("%s\"%d\": [%.2f, %.3f]", between, m, t.median, floor / t.median);
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
  constexpr int64_t kWorkspace = int64_t{128} << 20;
  const Memory workspace{kWorkspace};
  cudaMemset(workspace.get(), 0, kWorkspace);
  bench.context = {bench.stream, workspace.get(), device.multiProcessorCount, true};
  bench.read_bytes_per_us = measure_reading(bench.stream);
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"errors_against_float64\": [",
      device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown",
      bench.read_bytes_per_us / 1e6, kRepeats);
  for (const Row& row : rows)
    for (const int group : row.groups) {
      double worst = 0;
      for (const int n : {49, 2500})
        for (const int k : {256, 5120}) worst = std::max(worst, bench.check_row(row, group, n, k));
      if (row.few != nullptr) worst = std::max(worst, bench.check_row(row, group, 13824, 5120));
      bench.separate();
      std::printf("  {\"row\": \"%s\", \"group\": %d, \"relative_error\": %.3g}", row.name, group,
                  worst);
      if (worst < 2e-5) continue;
      ++bench.faults, std::fprintf(stderr, "%s, group %d: wrong\n", row.name, group);
    }
  std::printf("],\n \"us_and_share_of_the_floor_by_m\": [");
  bench.is_first = true;
  const int shapes[][2] = {{13824, 5120}, {4096, 4096}, {128256, 3072}};
  for (const auto& shape : shapes)
    for (const Row& row : rows)
      for (const int group : row.groups)
        if (group <= 64) bench.time_row(row, group, shape[0], shape[1]);
  std::printf("],\n \"faults\": %d}\n", bench.faults);
  return bench.faults > 0 ? 2 : 0;
}
