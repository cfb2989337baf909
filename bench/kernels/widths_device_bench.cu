// Formats beside 4-bit affine weights on one GPU: each row against the portable row in float64, its
// bits at some m against those of 64 rows, of a joined launch and of another row of its order, then
// cold times, one CUDA graph with programmatic dependent launch, the read ceiling beside them.
// Built and run by tools/device/run.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "bench/kernels/formats.cuh"

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
#define EACH_DOTS(F) F(mxfp4, 4, 32) F(nvfp4, 4, 16) F(mxfp8, 8, 32)
#define DECLARE(bits, act, tile) extern const CudaEntry qmm_affine_b##bits##_##act##_##tile##_sm80;
#define DECLARE_MID_OF(bits, act)                                 \
  extern const CudaEntry qmm_affine_b##bits##_##act##_m8n16_sm90, \
      qmm_affine_b##bits##_##act##_m64n64_sm90;
#define DECLARE_MID(bits) DECLARE_MID_OF(bits, bf16)
#define DECLARE_DOTS(mode, bits, group)                                                \
  extern const CudaEntry qmm_##mode##_b##bits##_bf16_m16n32_sm80,                      \
      qmm_##mode##_b##bits##_f32_m16n32_sm80, qmm_##mode##_b##bits##_f32_m21n64_sm90,  \
      qmm_##mode##_b##bits##_bf16_m8n16_sm90, qmm_##mode##_b##bits##_bf16_m64n64_sm90, \
      qmm_##mode##_b##bits##_bf16_m128n128_sm90;

namespace stepless::kernels {
extern const CudaEntry qmm_wany_bany_fany_m8n1_cuda, qmm_affine_b8_bf16_m128n128_sm90,
    qmm_affine_bany_fany_m21n64_sm90;
EACH_DOTS(DECLARE_DOTS)
EACH_FLAT(DECLARE)
EACH_MID(DECLARE_MID)
DECLARE(4, f16, m16n16)
DECLARE_MID_OF(4, f16)
EACH_UNIT(DECLARE, bf16)
EACH_UNIT(DECLARE, f16)
EACH_UNIT(DECLARE, fany)
}  // namespace stepless::kernels

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::Mode, stepless::kernels::MatmulArgs;
namespace kernels = stepless::kernels;

struct Row {
  static constexpr int kRows = 64;  // of x
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
   Row::kRows,                                     \
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
   bits == 4 ? 16 : Row::kRows},
#define SM90(bits, act, tile, least, most)              \
  {"affine_b" #bits "_" #act "_" #tile,                 \
   kernels::qmm_affine_b##bits##_##act##_##tile##_sm90, \
   Mode::affine,                                        \
   bits,                                                \
   DType::act,                                          \
   {64, 128},                                           \
   most,                                                \
   DType::act,                                          \
   least,                                               \
   &kernels::qmm_affine_b##bits##_##act##_m16n16_sm80},
#define FLAT_AND_MID_OF(bits, act) \
  FLAT(bits, act, m16n16) SM90(bits, act, m8n16, 1, 8) SM90(bits, act, m64n64, 9, Row::kRows)
#define FLAT_AND_MID(bits) FLAT_AND_MID_OF(bits, bf16)
#define UNIT(bits, act, tile)                           \
  {"affine_b" #bits "_" #act "_" #tile,                 \
   kernels::qmm_affine_b##bits##_##act##_##tile##_sm80, \
   Mode::affine,                                        \
   bits,                                                \
   DType::act,                                          \
   {32, 64, 128}},
#define DOTS_SM90(mode, bits, group, tile, least, most) \
  {#mode "_" #tile,                                     \
   kernels::qmm_##mode##_b##bits##_bf16_##tile##_sm90,  \
   Mode::mode,                                          \
   bits,                                                \
   DType::bf16,                                         \
   {group},                                             \
   most,                                                \
   DType::bf16,                                         \
   least,                                               \
   &kernels::qmm_##mode##_b##bits##_bf16_m16n32_sm80},
#define DOTS_SM80(mode, bits, act, name, group)                                               \
  {name,   kernels::qmm_##mode##_b##bits##_##act##_m16n32_sm80, Mode::mode, bits, DType::act, \
   {group}},
#define PIECES_OF(bits, x, name)              \
  {"affine_b" #bits "_" name "_m21n64",       \
   kernels::qmm_affine_bany_fany_m21n64_sm90, \
   Mode::affine,                              \
   bits,                                      \
   DType::x,                                  \
   {64, 128},                                 \
   Row::kRows,                                \
   DType::bf16},
#define PIECES(bits) PIECES_OF(bits, f32, "f32") PIECES_OF(bits, f16, "f16_scales_bf16")
#define DOTS(mode, bits, group)                                             \
  DOTS_SM80(mode, bits, bf16, #mode, group)                                 \
  DOTS_SM90(mode, bits, group, m8n16, 1, 8)                                 \
  DOTS_SM90(mode, bits, group, m64n64, 9, Row::kRows)                       \
  DOTS_SM90(mode, bits, group, m128n128, 33, Row::kRows)                    \
  DOTS_SM80(mode, bits, f32, #mode "_f32", group){                          \
      #mode "_f32_m21n64", kernels::qmm_##mode##_b##bits##_f32_m21n64_sm90, \
      Mode::mode,          bits,                                            \
      DType::f32,          {group}},
const Row kEach[] = {EACH_MID(FLAT_AND_MID) FLAT_AND_MID_OF(4, f16) SM90(
    8, bf16, m128n128, 33, Row::kRows) EACH_UNIT(UNIT, bf16) EACH_UNIT(UNIT, f16) EACH_DOTS(DOTS)
                         EACH_UNIT(MIXED, fany) EACH_MID(PIECES)};
using Problem = ProblemOf<Row>;

struct Bench : FormatBench {
  double read_bytes_per_us;

  double check_row(const Row& row, int group, int n, int k);
  void check_joined(const Row& row, int group, int n, int k);
  void time_row(const Row& row, int group, int n, int k);
  void time_joined(const Row& row, int group, const std::vector<int>& n, int k, bool gated);
};

/// The relative error of float32 results, in the Frobenius norm.
double Bench::check_row(const Row& row, int group, int n, int k) {
  const Problem p{row, group, n, k, 1};
  const int64_t count = int64_t{Row::kRows} * n;
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
  for (const int m : {1, 8, 9, 15, 16, 17, 32, 33, 48, 49}) {  // the tests of the rows know more
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

kernels::GluArgs silu_of(const MatmulArgs& gate, uint8_t* y) {
  kernels::GluArgs glu{};
  glu.y = y, glu.type = gate.y_type, glu.rows = gate.m;
  glu.width = glu.gate_stride = glu.up_stride = glu.y_stride = gate.n;
  glu.activation = kernels::Activation::silu;
  return glu;
}

/// Three weights of a size of their own each have the bits that they have alone, a gate and its
/// partner those of 16 rows.
void Bench::check_joined(const Row& row, int group, int n, int k) {
  constexpr int kWeights = 3, kMost = 16;
  const Problem p{row, group, n, k, kWeights};
  const int most = row.most_rows;
  const int64_t bytes = int64_t{most} * n * 4;
  const Memory y{bytes * kWeights}, other{bytes};
  p.fill_all(stream);
  MatmulArgs all[kWeights];
  for (int i = 0; i < kWeights; ++i) {
    all[i] = p.at(i, 0, most, y.get() + i * bytes, DType::f32);
    all[i].n = n - i * (n / 3), all[i].tensor_scale *= static_cast<float>(1 + i);
  }
  check(static_cast<cudaError_t>(row.entry.joined.products(all, kWeights, nullptr, context)), "3");
  const std::vector<float> joined = result(y, kWeights * bytes / 4);
  for (int i = 0; i < kWeights; ++i) {
    MatmulArgs one = all[i];
    one.y = other.get();
    multiply(row.entry, one);
    const std::vector<float> alone = result(other, bytes / 4);
    for (int r = 0; r < most; ++r)
      if (std::memcmp(alone.data() + int64_t{r} * n, joined.data() + i * bytes / 4 + int64_t{r} * n,
                      all[i].n * 4) != 0) {
        ++faults, std::fprintf(stderr, "weight %d of 3: %s, n %d, k %d\n", i, row.name, n, k);
        break;
      }
  }
  all[1].n = n;
  const kernels::GluArgs glu = silu_of(all[0], y.get());
  check(static_cast<cudaError_t>(row.entry.joined.products(all, 2, &glu, context)), "gate");
  const std::vector<float> gates = result(y, bytes / 4);
  for (int first = 0; first < most; first += kMost) {
    for (int i = 0; i < 2; ++i) {
      const float scale = all[i].tensor_scale;
      all[i] = p.at(i, first, std::min(kMost, most - first), y.get(), DType::f32);
      all[i].tensor_scale = scale;
    }
    const kernels::GluArgs part = silu_of(all[0], other.get() + int64_t{first} * n * 4);
    check(static_cast<cudaError_t>(row.few->joined.products(all, 2, &part, context)), "gate of 16");
  }
  if (std::memcmp(result(other, bytes / 4).data(), gates.data(), bytes) != 0)
    ++faults, std::fprintf(stderr, "gates differ: %s, n %d, k %d\n", row.name, n, k);
}

void Bench::time_row(const Row& row, int group, int n, int k) {
  const int64_t bytes =
      int64_t{n} * k / 8 * row.bits +
      int64_t{n} * k / group * (row.mode == Mode::affine ? 2 * size_of(row.scales) : 1);
  const int copies = static_cast<int>(kRotationBytes / bytes) + 2;
  const Problem p{row, group, n, k, copies};
  const Memory y{int64_t{Row::kRows} * n * size_of(row.result())};
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

/// Weights of `n` outputs each in one launch, or a gate and its partner.
void Bench::time_joined(const Row& row, int group, const std::vector<int>& n, int k, bool gated) {
  const int count = static_cast<int>(n.size()), most = *std::max_element(n.begin(), n.end());
  const int64_t bytes = int64_t{most} * k / 8 * row.bits;
  const int calls = static_cast<int>(kRotationBytes / bytes / count) + 2;
  const Problem p{row, group, most, k, calls * count};
  const Memory y{int64_t{Row::kRows} * most * count * size_of(row.result())};
  p.fill_all(stream);
  separate();
  std::printf("  {\"row\": \"%s\", \"group\": %d, \"%s\": [", row.name, group,
              gated ? "gate_and_up" : "n");
  for (int i = 0; i < count; ++i) std::printf(i == 0 ? "%d" : ", %d", n[i]);
  std::printf("], \"k\": %d, \"m\": {", k);
  const char* between = "";
  for (const int m : {1, 8, 9, 16, 32, 48, 64}) {
    if (m < row.least_rows || m > row.most_rows) continue;
    const Times t = time_graph(stream, calls, [&](int call) {
      MatmulArgs all[kernels::kMostTogether];
      for (int i = 0; i < count; ++i) {
        uint8_t* const to = y.get() + int64_t{Row::kRows} * most * i * size_of(row.result());
        all[i] = p.at(call * count + i, 0, m, to, row.result());
        all[i].n = n[i];
      }
      const kernels::GluArgs glu = silu_of(all[0], y.get());
      check(static_cast<cudaError_t>(
                row.entry.joined.products(all, count, gated ? &glu : nullptr, context)),
            "joined");
    });
    std::printf("%s\"%d\": %.2f", between, m, t.median);
    between = ", ";
  }
  std::printf("}}");
  std::fflush(stdout);
}

bool is_asked_for(const Row& row, int count, char** parts) {
  for (int i = 0; i < count; ++i)
    if (std::strstr(row.name, parts[i]) != nullptr) return true;
  return count == 0;
}

}  // namespace

/// argv: parts of the names of the rows to measure; none: all of them.
int main(int argc, char** argv) {
  std::vector<Row> rows;
  for (const Row& row : kEach)
    if (is_asked_for(row, argc - 1, argv + 1)) rows.push_back(row);
  Bench bench{};
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&bench.stream), "stream");
  constexpr int64_t kWorkspace = int64_t{256} << 20;
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
      if (row.few != nullptr) {
        const int more[][2] = {{13824, 5120}, {4096, 4096},   {3072, 8192},  {100, 1280},
                               {2500, 1792},  {128256, 3072}, {151936, 1024}};
        for (const auto& shape : more)
          worst = std::max(worst, bench.check_row(row, group, shape[0], shape[1]));
        bench.check_joined(row, group, 1000, 5120), bench.check_joined(row, group, 8192, 3072);
      }
      bench.separate();
      std::printf("  {\"row\": \"%s\", \"group\": %d, \"relative_error\": %.3g}", row.name, group,
                  worst);
      if (worst < 2e-5) continue;
      ++bench.faults, std::fprintf(stderr, "%s, group %d: wrong\n", row.name, group);
    }
  std::printf("],\n \"us_and_share_of_the_floor_by_m\": [");
  bench.is_first = true;
  const int shapes[][2] = {{13824, 5120}, {4096, 4096}, {3072, 8192}, {128256, 3072}};
  for (const auto& shape : shapes)
    for (const Row& row : rows)
      for (const int group : row.groups)
        if (group <= 64) bench.time_row(row, group, shape[0], shape[1]);
  std::printf("],\n \"us_of_joined_products_by_m\": [");
  bench.is_first = true;
  for (const Row& row : rows)
    for (const int group : row.groups) {
      if (row.few == nullptr || group > 64) continue;
      bench.time_joined(row, group, {8192, 8192}, 3072, true);
      bench.time_joined(row, group, {3072, 1024, 1024}, 3072, false);
    }
  std::printf("],\n \"faults\": %d}\n", bench.faults);
  return bench.faults > 0 ? 2 : 0;
}
