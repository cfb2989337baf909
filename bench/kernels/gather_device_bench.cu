// Products of rows with the experts they are sent to, on one GPU: cold weights, the whole rotation
// in one CUDA graph with programmatic dependent launch, the read ceiling beside it. Before a time
// is printed each pair must have the bits of a plain launch of its row alone, also when x and ids
// are written late by the kernel before. Built and run by tools/device/run.
#include <algorithm>
#include <cstring>
#include <set>

#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry qmm_affine_b4_bf16_m16n16_sm80, qmm_affine_b4_bf16_m128n128_sm90,
    qmm_affine_b8_bf16_m16n16_sm80, qmm_affine_b8_bf16_m128n128_sm90, qmm_affine_b4_f16_m16n16_sm80,
    qmm_affine_b4_f16_m128n128_sm90, qmm_affine_b8_f16_m16n32_sm80, qmm_affine_b8_f16_m128n128_sm90,
    qmm_mxfp4_b4_bf16_m16n32_sm80, qmm_mxfp4_b4_bf16_m128n128_sm90, qmm_mxfp8_b8_bf16_m16n32_sm80,
    qmm_mxfp8_b8_bf16_m128n128_sm90, qmm_nvfp4_b4_bf16_m16n32_sm80, qmm_nvfp4_b4_bf16_m128n128_sm90,
    qmm_mxfp4_b4_f16_m16n32_sm80, qmm_mxfp4_b4_f16_m128n128_sm90, glu_fany_r1_cuda;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType, stepless::Mode, stepless::kernels::MatmulArgs;
using stepless::kernels::ExpertPairs, stepless::kernels::GluArgs;
namespace kernels = stepless::kernels;

constexpr int kMostPerToken = 8, kMostTokens = 2048;

/// A kernel, the one of its order for single rows, and its format.
struct Row {
  const char* name;
  const kernels::CudaEntry &entry, &alone;
  Mode mode;
  int bits, group;
  DType type;
  bool affine() const { return mode == Mode::affine; }
  int scale_bytes() const { return affine() ? 2 : 1; }
};
#define STEPLESS_ROW(name, tile, few, mode, bits, group, type)                                     \
  {                                                                                                \
    "qmm_" #name "_" #tile, kernels::qmm_##name##_##tile, kernels::qmm_##name##_##few, Mode::mode, \
        bits, group, DType::type                                                                   \
  }
/// A format's row for few rows and the one for many.
#define STEPLESS_ROWS(name, few, mode, bits, group, type)               \
  {                                                                     \
    STEPLESS_ROW(name, few, few, mode, bits, group, type),              \
        STEPLESS_ROW(name, m128n128_sm90, few, mode, bits, group, type) \
  }
const Row kAffine4[] = STEPLESS_ROWS(affine_b4_bf16, m16n16_sm80, affine, 4, 64, bf16);
const Row kAffine8[] = STEPLESS_ROWS(affine_b8_bf16, m16n16_sm80, affine, 8, 64, bf16);
const Row kAffine4F16[] = STEPLESS_ROWS(affine_b4_f16, m16n16_sm80, affine, 4, 64, f16);
const Row kAffine8F16[] = STEPLESS_ROWS(affine_b8_f16, m16n32_sm80, affine, 8, 64, f16);
const Row kMxfp4[] = STEPLESS_ROWS(mxfp4_b4_bf16, m16n32_sm80, mxfp4, 4, 32, bf16);
const Row kMxfp4F16[] = STEPLESS_ROWS(mxfp4_b4_f16, m16n32_sm80, mxfp4, 4, 32, f16);
const Row kMxfp8[] = STEPLESS_ROWS(mxfp8_b8_bf16, m16n32_sm80, mxfp8, 8, 32, bf16);
const Row kNvfp4[] = STEPLESS_ROWS(nvfp4_b4_bf16, m16n32_sm80, nvfp4, 4, 16, bf16);

/// Experts of each token, all different: (tokens, per_token), and how many are used at all.
struct Ids {
  std::vector<int32_t> all;
  int64_t used = 0;
  Ids(int tokens, int per_token, int experts, uint64_t seed) {
    uint64_t state = seed * 2654435761u + 1;
    std::set<int32_t> seen;
    for (int token = 0; token < tokens; ++token)
      for (int j = 0; j < per_token;) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        const auto id = static_cast<int32_t>((state >> 33) % experts);
        if (std::find(all.end() - j, all.end(), id) != all.end()) continue;
        all.push_back(id), seen.insert(id), ++j;
      }
    used = std::ssize(seen);
  }
};

/// One part's stack, or two with a gate behind them: x is (tokens, k), or (pairs, k) with `down`.
struct Shape {
  const char* name;
  const Row* row;
  int experts, n, k;
  bool gated, down;
  int per_token = 8;
};

class Bench {
 public:
  Bench(cudaStream_t stream, int multiprocessors, double reading, const Shape& shape);
  ~Bench();
  int check_bits(int tokens) const;
  void time(int tokens, bool last) const;

 private:
  const Row& row() const { return *shape_.row; }
  int64_t expert_bytes() const { return codes_ + (row().affine() ? 2 : 1) * scales_; }
  int parts() const { return shape_.gated ? 2 : 1; }
  CudaContext context() const { return {stream_, workspace_, multiprocessors_, true}; }
  MatmulArgs part(int copy, int at, int tokens, uint8_t* y) const;
  void launch(int copy, int tokens, const uint8_t* x, const int32_t* ids, uint8_t* y) const;
  std::vector<uint16_t> results(int tokens, const uint8_t* x, const int32_t* ids) const;
  std::vector<uint16_t> apart(int tokens, const Ids& ids) const;

  cudaStream_t stream_;
  int multiprocessors_;
  double reading_;
  Shape shape_;
  int64_t codes_, scales_;  // bytes of one expert's
  int copies_;
  uint8_t *weights_, *x_, *late_x_, *y_, *workspace_;
  int32_t *ids_, *late_ids_;
};

Bench::Bench(cudaStream_t stream, int multiprocessors, double reading, const Shape& shape)
    : stream_(stream), multiprocessors_(multiprocessors), reading_(reading), shape_(shape) {
  codes_ = int64_t{shape.n} * shape.k / 8 * row().bits;
  scales_ = int64_t{shape.n} * shape.k / row().group * row().scale_bytes();
  const int64_t all = expert_bytes() * shape.experts * parts(), pairs = kMostTokens * kMostPerToken;
  copies_ = static_cast<int>(kRotationBytes / all) + 2;
  check(cudaMalloc(&weights_, all * copies_), "weights");
  check(cudaMalloc(&x_, pairs * shape.k * 2), "x");
  check(cudaMalloc(&late_x_, pairs * shape.k * 2), "x");
  check(cudaMalloc(&y_, pairs * shape.n * 2 * parts()), "y");
  check(cudaMalloc(&ids_, pairs * 4), "ids"), check(cudaMalloc(&late_ids_, pairs * 4), "ids");
  const ExpertPairs most{ids_, pairs, 1, shape.experts};
  const MatmulArgs a = part(0, 0, kMostTokens, y_);
  const int64_t room = row().entry.joined.experts_bytes(&a, 1, most);
  check(cudaMalloc(&workspace_, room), "workspace"), cudaMemset(workspace_, 0, room);
  fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(weights_), all * copies_ / 8, 11);
  for (int i = 0; i < copies_; ++i)  // of a part: codes of all experts, then scales, then biases
    for (int at = 0; at < parts(); ++at) {
      const MatmulArgs w = part(i, at, 1, y_);
      auto* scales = const_cast<uint8_t*>(w.scales);
      if (row().affine())
        fill_uniform<<<1024, 256, 0, stream>>>(scales, scales_ * shape.experts, i * 2 + at, .01f,
                                               row().type);
      else
        cudaMemsetAsync(scales, row().mode == Mode::nvfp4 ? 0x30 : 120, scales_ * shape.experts,
                        stream);
    }
  fill_uniform<<<1024, 256, 0, stream>>>(x_, pairs * shape.k, 9, 1, row().type);
}

Bench::~Bench() {
  for (uint8_t* p : {weights_, x_, late_x_, y_, workspace_}) cudaFree(p);
  cudaFree(ids_), cudaFree(late_ids_);
}

MatmulArgs Bench::part(int copy, int at, int tokens, uint8_t* y) const {
  MatmulArgs a{};
  a.mode = row().mode, a.bits = row().bits, a.group_size = row().group;
  a.n = shape_.n, a.k = shape_.k, a.x_stride = a.k;
  a.x_type = a.w_type = a.y_type = row().type;
  a.tensor_scale = row().mode == Mode::nvfp4 ? .37f : 1;
  a.m = int64_t{tokens} * shape_.per_token;
  a.w = weights_ + (int64_t{copy} * parts() + at) * expert_bytes() * shape_.experts;
  a.scales = a.w + codes_ * shape_.experts,
  a.biases = row().affine() ? a.scales + scales_ * shape_.experts : nullptr;
  a.w_row_bytes = a.k / 8 * a.bits;
  a.y = y + at * a.m * a.n * 2, a.y_stride = a.n;
  return a;
}

void Bench::launch(int copy, int tokens, const uint8_t* x, const int32_t* ids, uint8_t* y) const {
  MatmulArgs both[2] = {part(copy, 0, tokens, y), part(copy, parts() - 1, tokens, y)};
  both[0].x = both[1].x = x;
  const ExpertPairs pairs{ids, both[0].m, shape_.down ? 1 : shape_.per_token, shape_.experts};
  GluArgs glu{};
  glu.y = y, glu.type = row().type, glu.rows = both[0].m;
  glu.width = glu.gate_stride = glu.up_stride = glu.y_stride = shape_.n;
  check(static_cast<cudaError_t>(row().entry.joined.experts(
            both, parts(), shape_.gated ? &glu : nullptr, pairs, context())),
        "experts");
}

std::vector<uint16_t> Bench::results(int tokens, const uint8_t* x, const int32_t* ids) const {
  std::vector<uint16_t> y(static_cast<std::size_t>(tokens) * shape_.per_token * shape_.n);
  launch(0, tokens, x, ids, y_);
  cudaMemcpyAsync(y.data(), y_, y.size() * 2, cudaMemcpyDeviceToHost, stream_);
  check(cudaStreamSynchronize(stream_), "experts");
  return y;
}

/// A launch per pair and part, and one for the gate.
std::vector<uint16_t> Bench::apart(int tokens, const Ids& ids) const {
  for (int at = 0; at < parts(); ++at)
    for (int64_t i = 0; i < std::ssize(ids.all); ++i) {
      MatmulArgs a = part(0, at, tokens, y_);
      const int64_t expert = ids.all[static_cast<std::size_t>(i)];
      a.m = 1, a.y = static_cast<uint8_t*>(a.y) + i * a.n * 2;
      a.x = x_ + (shape_.down ? i : i / shape_.per_token) * a.k * 2;
      a.w += expert * codes_, a.scales += expert * scales_;
      if (row().affine()) a.biases += expert * scales_;
      check(static_cast<cudaError_t>(row().alone.launch(&a, context())), "qmm");
    }
  if (shape_.gated) {
    GluArgs glu{};
    glu.gate = glu.y = y_, glu.up = part(0, 1, tokens, y_).y, glu.type = row().type;
    glu.rows = int64_t{tokens} * shape_.per_token;
    glu.width = glu.gate_stride = glu.up_stride = glu.y_stride = shape_.n;
    check(static_cast<cudaError_t>(kernels::glu_fany_r1_cuda.launch(&glu, context())), "glu");
  }
  std::vector<uint16_t> y(ids.all.size() * shape_.n);
  cudaMemcpyAsync(y.data(), y_, y.size() * 2, cudaMemcpyDeviceToHost, stream_);
  check(cudaStreamSynchronize(stream_), "pairs apart");
  return y;
}

int Bench::check_bits(int tokens) const {
  const Ids ids(tokens, shape_.per_token, shape_.experts, 77 + tokens);
  const int64_t words = std::ssize(ids.all), x_words = words * shape_.k / 2;
  cudaMemcpy(ids_, ids.all.data(), words * 4, cudaMemcpyHostToDevice);
  const std::vector<uint16_t> want = apart(tokens, ids);
  const auto unequal = [&](const std::vector<uint16_t>& y) {
    int count = 0;
    for (std::size_t i = 0; i < y.size(); ++i) count += y[i] != want[i];
    return count;
  };
  cudaMemset(y_, 0xff, want.size() * 2 * parts());
  int wrong = unequal(results(tokens, x_, ids_));
  cudaMemset(y_, 0xff, want.size() * 2 * parts());
  cudaMemset(late_x_, 0xff, x_words * 4), cudaMemset(late_ids_, 0, words * 4);
  copy_late<<<32, 256, 0, stream_>>>(reinterpret_cast<uint32_t*>(x_),
                                     reinterpret_cast<uint32_t*>(late_x_), x_words);
  wrong += unequal(results(tokens, late_x_, ids_));
  copy_late<<<32, 256, 0, stream_>>>(reinterpret_cast<uint32_t*>(ids_),
                                     reinterpret_cast<uint32_t*>(late_ids_), words);
  return wrong + unequal(results(tokens, x_, late_ids_));
}

void Bench::time(int tokens, bool last) const {
  double used = 0;
  std::vector<int32_t> all;  // of every copy
  for (int i = 0; i < copies_; ++i) {
    const Ids ids(tokens, shape_.per_token, shape_.experts, i + 1);
    all.insert(all.end(), ids.all.begin(), ids.all.end());
    used += static_cast<double>(ids.used) / copies_;
  }
  int32_t* many;
  check(cudaMalloc(&many, all.size() * 4), "ids");
  cudaMemcpy(many, all.data(), all.size() * 4, cudaMemcpyHostToDevice);
  const int64_t pairs = int64_t{tokens} * shape_.per_token;
  const int calls = tokens > 64 ? 12 : 60;
  const Times t = time_graph(stream_, copies_ * std::max(1, calls / copies_), [&](int i) {
    launch(i % copies_, tokens, x_, many + i % copies_ * pairs, y_);
  });
  cudaFree(many);
  const int64_t x_rows = shape_.down ? pairs : tokens;
  const double bytes = used * static_cast<double>(expert_bytes() * parts()) +
                       2.0 * static_cast<double>(x_rows * shape_.k + pairs * shape_.n);
  const double floor = bytes / reading_;
  std::printf(
      "    {\"tokens\": %d, \"experts_used\": %.1f, \"us\": %.2f, \"least\": %.2f, \"most\": %.2f, "
      "\"floor_us\": %.2f, \"of_floor\": %.3f}%s\n",
      tokens, used, t.median, t.least, t.most, floor, floor / t.median, last ? "" : ",");
}

}  // namespace

/// Arguments, none of them needed: a part of the names of shapes or kernels, and the least tokens.
int main(int count, char** arguments) {
  const char* const only = count > 1 ? arguments[1] : "";
  const int least = count > 2 ? std::atoi(arguments[2]) : 1;
  cudaStream_t stream;
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&stream), "stream");
  const double reading = measure_reading(stream);
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"shapes\": [\n",
      device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown", reading / 1e6,
      kRepeats);
  std::vector<Shape> shapes = {{"gather", &kAffine4[0], 64, 1536, 2048, false, false}};
  for (const Row& row : kAffine4) {
    shapes.push_back({"qwen3-30b-a3b gate and up", &row, 128, 768, 2048, true, false});
    shapes.push_back({"qwen3-30b-a3b down", &row, 128, 2048, 768, false, true});
  }
  for (const Row& row : kMxfp4) {
    shapes.push_back({"gpt-oss-20b, 8 per token", &row, 32, 2880, 2880, false, false});
    shapes.push_back({"gpt-oss-20b gate and up", &row, 32, 2880, 2880, true, false, 4});
    shapes.push_back({"gpt-oss-20b down", &row, 32, 2880, 2880, false, true, 4});
  }
  for (const Row* rows : {kAffine8, kMxfp8, kNvfp4, kMxfp4F16, kAffine4F16, kAffine8F16})
    for (int i = 0; i < 2; ++i)
      shapes.push_back({"qwen3-30b-a3b gate and up", &rows[i], 128, 768, 2048, true, false});
  int wrong = 0, printed = 0;
  for (const Shape& shape : shapes) {
    if (std::strstr(shape.name, only) == nullptr && std::strstr(shape.row->name, only) == nullptr)
      continue;
    const Bench bench(stream, device.multiProcessorCount, reading, shape);
    int unequal = 0;
    for (const int tokens : {1, 3, 32, 33, 150}) unequal += bench.check_bits(tokens);
    std::printf(
        "  %s{\"name\": \"%s\", \"kernel\": \"%s\", \"experts\": %d, \"per_token\": %d, "
        "\"n\": %d, \"k\": %d, \"parts\": %d, \"unequal\": %d, \"rows\": [\n",
        printed++ == 0 ? "" : ",", shape.name, shape.row->name, shape.experts, shape.per_token,
        shape.n, shape.k, shape.gated ? 2 : 1, unequal);
    for (const int tokens : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, kMostTokens})
      if (tokens >= least) bench.time(tokens, tokens == kMostTokens);
    std::printf("  ]}\n");
    std::fflush(stdout);
    wrong += unequal;
  }
  std::printf("]}\n");
  return wrong == 0 ? 0 : 2;
}
