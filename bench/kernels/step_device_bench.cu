// The layers of a decode step on one Hopper GPU: 28 layers of a model of 3 billion weights, launch
// behind launch as the engine joins them, in one CUDA graph. A kernel of a step starts while the
// one before still runs, so what serves it there may lose where a kernel follows itself (qmm_flat),
// and the other way around. `bits` are of all rows behind the last layer: equal where only the
// speed of a kernel was changed. usage: step_device_bench [f16] [M ...]; f16: x, scales and
// cache of it instead of bf16.
#include <cstring>

#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry norm_fany_r1_cuda, attn_full_b16_fany_h64_sm80,
    qmm_affine_b4_bf16_m8n16_sm90, qmm_affine_b4_bf16_m64n64_sm90, qmm_affine_b4_f16_m8n16_sm90,
    qmm_affine_b4_f16_m64n64_sm90;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using namespace stepless::kernels;
using stepless::DType;

constexpr int64_t kLayers = 28, kWidth = 3072, kInner = 8192, kHeads = 24, kKvHeads = 8, kDim = 128;
constexpr int64_t kQ = kHeads * kDim, kKv = kKvHeads * kDim, kPageTokens = 64, kPosition = 256;
constexpr int64_t kPagesOfRow = kPosition / kPageTokens + 1, kMostRows = 64;
constexpr int kLoneRows = 8;

/// Device memory that lives as long as the program.
template <class T>
T* device_memory(int64_t count) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, static_cast<std::size_t>(count) * sizeof(T)), "memory");
  return static_cast<T*>(memory);
}

struct Weight {
  uint8_t* w;
  int64_t n, k;
  DType type;  // of scales, x and y

  Weight(int64_t rows, int64_t columns, cudaStream_t stream, uint64_t seed, DType type_)
      : w(device_memory<uint8_t>(rows * columns / 2 + rows * columns / 64 * 4)),
        n(rows),
        k(columns),
        type(type_) {
    fill<<<1024, 256, 0, stream>>>(reinterpret_cast<uint64_t*>(w), n * k / 16, seed);
    fill_uniform<<<1024, 256, 0, stream>>>(w + n * k / 2, n * k / 32, seed, .01f, type);
  }
  MatmulArgs times(const void* x, void* y, int64_t m) const {
    MatmulArgs a{};
    a.x = x, a.x_stride = k, a.w = w, a.scales = w + n * k / 2, a.biases = a.scales + n * k / 32;
    a.w_row_bytes = k / 2, a.tensor_scale = 1, a.bits = 4, a.group_size = 64;
    a.x_type = a.w_type = a.y_type = type;
    a.y = y, a.y_stride = n, a.m = m, a.n = n, a.k = k;
    return a;
  }
};

struct Layer {
  Weight q, k, v, o, gate, up, down;
  uint8_t *keys, *values;

  Layer(cudaStream_t stream, uint64_t seed, DType type)
      : q(kQ, kWidth, stream, seed, type),
        k(kKv, kWidth, stream, seed + 1, type),
        v(kKv, kWidth, stream, seed + 2, type),
        o(kWidth, kQ, stream, seed + 3, type),
        gate(kInner, kWidth, stream, seed + 4, type),
        up(kInner, kWidth, stream, seed + 5, type),
        down(kWidth, kInner, stream, seed + 6, type) {
    const int64_t elements = kMostRows * kPagesOfRow * kPageTokens * kKv;
    for (uint8_t** part : {&keys, &values}) {
      *part = device_memory<uint8_t>(elements * 2);
      fill_uniform<<<1024, 256, 0, stream>>>(*part, elements, seed, 1, type);
    }
  }
};

class StepBench {
 public:
  explicit StepBench(DType type) : type_(type) {
    check(cudaGetDeviceProperties(&device_, 0), "device");
    check(cudaStreamCreate(&stream_), "stream");
    read_bytes_per_us_ = measure_reading(stream_);
    for (int64_t i = 0; i < kLayers; ++i) layers_.emplace_back(stream_, 100 * i + 1, type_);
    for (uint16_t** row : {&start_, &residual_[0], &residual_[1], &added_, &normed_, &attended_})
      *row = device_memory<uint16_t>(kMostRows * kWidth);
    inner_ = device_memory<uint16_t>(kMostRows * kInner);
    for (uint16_t** row : {&q_, &k_, &v_}) *row = device_memory<uint16_t>(kMostRows * kQ);
    norm_ = device_memory<uint16_t>(kWidth);
    fill_uniform<<<64, 256, 0, stream_>>>(norm_, kWidth, 5, 1, type_);
    fill_uniform<<<64, 256, 0, stream_>>>(start_, kMostRows * kWidth, 6, 1, type_);
    angles_ = device_memory<float>(kMostRows * kDim);
    fill_angles();
    fill_rows();
    workspace_ = device_memory<uint8_t>(kWorkspaceBytes);
    check(cudaMemset(workspace_, 0, kWorkspaceBytes), "workspace");
  }

  void run(int64_t m, bool last) {
    m_ = m;
    step(), check(cudaStreamSynchronize(stream_), "a step");
    const uint64_t once = bits();
    const Times t = time_graph(stream_, 1, [&](int) { step(); });
    const double floor = bytes() / read_bytes_per_us_, us = t.median / kLayers;
    std::printf(
        "  {\"m\": %d, \"layer_us\": %.2f, \"least\": %.2f, \"most\": %.2f, \"floor_us\": %.2f, "
        "\"of_floor\": %.3f, \"bits\": \"%016llx\", \"again\": %s}%s\n",
        static_cast<int>(m), us, t.least / kLayers, t.most / kLayers, floor / kLayers,
        floor / t.median, static_cast<unsigned long long>(once), bits() == once ? "true" : "false",
        last ? "" : ",");
    std::fflush(stdout);
  }
  const char* name() const { return device_.name; }
  double reading() const { return read_bytes_per_us_; }

 private:
  static constexpr int64_t kWorkspaceBytes = 64 << 20;

  CudaContext context() const { return {stream_, workspace_, device_.multiProcessorCount, true}; }
  static void passed(int32_t error, const char* what) {
    check(static_cast<cudaError_t>(error), what);
  }

  void fill_angles() {
    std::vector<float> angles(kMostRows * kDim);
    for (std::size_t i = 0; i < angles.size(); ++i)
      angles[i] = i % kDim < kDim / 2 ? .8f : .6f;  // a turn by one angle
    cudaMemcpy(angles_, angles.data(), angles.size() * 4, cudaMemcpyHostToDevice);
  }
  void fill_rows() {
    std::vector<int32_t> pages(kMostRows * kPagesOfRow);
    for (std::size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
    auto* const table = device_memory<int32_t>(std::ssize(pages));
    cudaMemcpy(table, pages.data(), pages.size() * 4, cudaMemcpyHostToDevice);
    std::vector<SeqRow> rows(kMostRows);
    for (int64_t i = 0; i < kMostRows; ++i)
      rows[i].pages = table + i * kPagesOfRow, rows[i].position = kPosition;
    rows_ = device_memory<SeqRow>(kMostRows);
    cudaMemcpy(rows_, rows.data(), rows.size() * sizeof(SeqRow), cudaMemcpyHostToDevice);
  }

  struct NormedSum {
    AddArgs add{};
    NormArgs norm{};
  };
  NormedSum normed_sum(const uint16_t* a, const uint16_t* b, uint16_t* sum) const {
    NormedSum all;
    AddArgs& add = all.add;
    add.a = a, add.b = b, add.y = sum, add.type = add.b_type = add.y_type = type_;
    add.rows = m_, add.width = add.a_stride = add.b_stride = add.y_stride = kWidth;
    NormArgs& norm = all.norm;
    norm.x = sum, norm.y = normed_, norm.weight = reinterpret_cast<const uint8_t*>(norm_);
    norm.x_type = norm.weight_type = norm.y_type = type_, norm.rows = m_, norm.k = kWidth;
    norm.groups = 1, norm.x_stride = norm.y_stride = kWidth, norm.epsilon = 1e-5f;
    return all;
  }
  /// y = norm(a + b) by the parts' weights; the sum is kept.
  void multiply_normed(const NormedSum& x, const std::vector<MatmulArgs>& parts,
                       const GluArgs* glu) const {
    const auto together = products().joined.normed_products;
    const int32_t error = together == nullptr ? cudaErrorNotSupported
                                              : together(x.add, x.norm, parts.data(),
                                                         std::ssize(parts), glu, context());
    if (error != cudaErrorNotSupported) return passed(error, "norm and product");
    passed(norm_fany_r1_cuda.joined.norm_sum(x.add, x.norm, context()), "norm");
    multiply(parts, glu);
  }
  void feed_forward(const NormedSum& x, const Layer& layer) const {
    GluArgs glu{};
    glu.y = inner_, glu.type = type_, glu.rows = m_, glu.width = glu.y_stride = kInner;
    const std::vector<MatmulArgs> both = {layer.gate.times(normed_, nullptr, m_),
                                          layer.up.times(normed_, nullptr, m_)};
    const MatmulArgs down = layer.down.times(inner_, added_, m_);
    const auto together = products().joined.feed_forward;
    const int32_t error = together == nullptr
                              ? cudaErrorNotSupported
                              : together(x.add, x.norm, both.data(), glu, down, context());
    if (error != cudaErrorNotSupported) return passed(error, "feed-forward");
    multiply_normed(x, both, &glu);
    multiply({down}, nullptr);
  }
  const CudaEntry& products() const {
    if (type_ == DType::f16)
      return m_ <= kLoneRows ? qmm_affine_b4_f16_m8n16_sm90 : qmm_affine_b4_f16_m64n64_sm90;
    return m_ <= kLoneRows ? qmm_affine_b4_bf16_m8n16_sm90 : qmm_affine_b4_bf16_m64n64_sm90;
  }
  void multiply(const std::vector<MatmulArgs>& parts, const GluArgs* glu) const {
    passed(products().joined.products(parts.data(), std::ssize(parts), glu, context()), "product");
  }
  RopeArgs turn(const uint16_t* x, int64_t heads) const {
    return {x,    nullptr,  angles_,      type_,        m_,   heads,
            kDim, kDim / 2, heads * kDim, heads * kDim, false};
  }
  void attend(const Layer& layer) const {
    const KvLayer cache{layer.keys, layer.values, type_, kPageTokens, kKvHeads, kDim, kDim};
    const KvPutArgs put{k_, v_, kKv, kKv, type_, rows_, m_, cache};
    AttnArgs a{};
    a.y = attended_, a.y_stride = kQ, a.type = type_, a.seq = rows_, a.rows = m_;
    a.heads = kHeads, a.cache = cache, a.scale = 0.088388348f;
    passed(attn_full_b16_fany_h64_sm80.joined.attend_turned(turn(q_, kHeads), turn(k_, kKvHeads),
                                                            put, a, context()),
           "attention");
  }
  void step() const {
    const uint16_t *before = start_, *added = start_;
    int other = 0;
    const auto next_sum = [&] {
      const NormedSum x = normed_sum(before, added, residual_[other]);
      before = residual_[other], added = added_, other ^= 1;
      return x;
    };
    for (const Layer& layer : layers_) {
      multiply_normed(next_sum(),
                      {layer.q.times(normed_, q_, m_), layer.k.times(normed_, k_, m_),
                       layer.v.times(normed_, v_, m_)},
                      nullptr);
      attend(layer);
      multiply({layer.o.times(attended_, added_, m_)}, nullptr);
      feed_forward(next_sum(), layer);
    }
  }
  double bytes() const {
    const double weights = 9.0 / 16 * kWidth * (kQ + 2 * kKv + kQ + 3 * kInner);
    return kLayers * (weights + static_cast<double>(m_ * (kPosition + 1) * kKv * 4));
  }
  /// Of the last layer's output.
  uint64_t bits() const {
    std::vector<uint64_t> words(static_cast<std::size_t>(m_ * kWidth / 4));
    cudaMemcpy(words.data(), added_, words.size() * 8, cudaMemcpyDeviceToHost);
    uint64_t all = 1469598103934665603ull;
    for (const uint64_t word : words) all = (all ^ word) * 1099511628211ull;
    return all;
  }

  cudaDeviceProp device_{};
  cudaStream_t stream_{};
  double read_bytes_per_us_ = 0;
  const DType type_;
  int64_t m_ = 1;
  std::vector<Layer> layers_;
  uint16_t *start_, *residual_[2], *added_, *normed_, *attended_, *inner_, *q_, *k_, *v_, *norm_;
  float* angles_;
  SeqRow* rows_;
  uint8_t* workspace_;
};

}  // namespace

int main(int count, char** arguments) {
  const bool halves = count > 1 && std::strcmp(arguments[1], "f16") == 0;
  StepBench bench(halves ? DType::f16 : DType::bf16);
  std::vector<int64_t> ms;
  for (int i = halves ? 2 : 1; i < count; ++i) ms.push_back(std::atoll(arguments[i]));
  if (ms.empty()) ms = {1, 2, 4, 8, 16, 32, 64};
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"type\": \"%s\", \"layers\": %d, \"position\": %d, "
      "\"rows\": [\n",
      bench.name(), std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown",
      bench.reading() / 1e6, kRepeats, halves ? "f16" : "bf16", static_cast<int>(kLayers),
      static_cast<int>(kPosition));
  for (const int64_t m : ms) {
    if (m < 1 || m > kMostRows) check(cudaErrorInvalidValue, "rows");
    bench.run(m, m == ms.back());
  }
  std::printf("]}\n");
}
