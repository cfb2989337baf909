// Attention over plain and packed pages on one GPU, of a shape of 3 billion weights: decode rows of
// sequences of their own, and prompts. Each call of a rotation reads another layer's cold cache;
// the rotation is one CUDA graph with programmatic dependent launch, the read ceiling beside it.
// Before a time is printed rows must have the bits of rows alone, also when what the step itself
// writes comes late. usage: attn_device_bench [CONTEXT]: shapes of that context only.
#include "bench/kernels/device_bench.cuh"

namespace stepless::kernels {
extern const CudaEntry attn_full_b16_fany_h64_sm80, attn_full_b16_fany_h128_sm90,
    attn_affine_bany_fany_h1_cuda, attn_affine_b4_fany_h64_sm80, attn_affine_b8_fany_h64_sm80,
    attn_affine_b4_bf16_h128_sm90, attn_affine_b8_bf16_h128_sm90;
}

namespace {
using namespace stepless::bench;  // NOLINT: a program of one file
using stepless::DType;
using stepless::kernels::AttnArgs, stepless::kernels::CudaEntry, stepless::kernels::SeqRow;

struct Row {
  const char* name;
  const CudaEntry* entry;
  int bits = 0;  // of packed pages; 0: all are plain
};
constexpr Row kAny = {"attn_full_b16_fany_h64_sm80",
                      &stepless::kernels::attn_full_b16_fany_h64_sm80};
constexpr Row kPrompts = {"attn_full_b16_fany_h128_sm90",
                          &stepless::kernels::attn_full_b16_fany_h128_sm90};

constexpr Row kPacked4 = {"attn_affine_b4_fany_h64_sm80",
                          &stepless::kernels::attn_affine_b4_fany_h64_sm80, 4};
constexpr Row kPacked8 = {"attn_affine_b8_fany_h64_sm80",
                          &stepless::kernels::attn_affine_b8_fany_h64_sm80, 8};
constexpr Row kPrompts4 = {"attn_affine_b4_bf16_h128_sm90",
                           &stepless::kernels::attn_affine_b4_bf16_h128_sm90, 4};
constexpr Row kPrompts8 = {"attn_affine_b8_bf16_h128_sm90",
                           &stepless::kernels::attn_affine_b8_bf16_h128_sm90, 8};
constexpr Row kPortable4 = {"attn_affine_bany_fany_h1_cuda",
                            &stepless::kernels::attn_affine_bany_fany_h1_cuda, 4};
constexpr Row kPortable8 = {"attn_affine_bany_fany_h1_cuda",
                            &stepless::kernels::attn_affine_bany_fany_h1_cuda, 8};

constexpr int64_t kHeads = 24, kKvHeads = 8, kDim = 128, kPageTokens = 64;
constexpr int64_t kPageBytes = kKvHeads * kPageTokens * kDim * 2, kRowBytes = kHeads * kDim * 2;
constexpr int64_t kMostRows = 2048, kMostKeyBytes = int64_t{4} << 30;
constexpr int64_t kGroup = 64, kMostScaleBytes = kMostKeyBytes / kGroup;

/// Rows that a launch computes: decode rows at the end of a sequence each, or the end of a prompt.
struct Shape {
  const char* name;
  int64_t rows, context;
  bool is_prompt;
  Row row = kAny;

  int64_t sequences() const { return is_prompt ? 1 : rows; }
  int64_t pages() const { return sequences() * ((context + kPageTokens - 1) / kPageTokens); }
  int64_t position(int64_t row) const { return is_prompt ? context - rows + row : context - 1; }
  double bytes() const {
    const double element = row.bits == 0 ? 2 : row.bits / 8.0 + 4.0 / kGroup;
    return 2 * element * sequences() * context * kKvHeads * kDim;
  }
  double flops() const {
    double positions = 0;
    for (int64_t r = 0; r < rows; ++r) positions += static_cast<double>(position(r) + 1);
    return 4 * positions * kHeads * kDim;
  }
};
constexpr Shape kShapes[] = {
    {"decode", 1, 32, false},
    {"decode", 8, 32, false},
    {"decode", 32, 32, false},
    {"decode", 1, 256, false},
    {"decode", 8, 256, false},
    {"decode", 32, 256, false},
    {"decode", 1, 4096, false},
    {"decode", 8, 4096, false},
    {"decode", 32, 4096, false},
    {"decode", 1, 32768, false},
    {"prompt", 512, 512, true},
    {"prompt", 2048, 2048, true},
    {"prompt", 2048, 10240, true},
    {"prompt", 100, 100, true, kPrompts},
    {"prompt", 512, 512, true, kPrompts},
    {"prompt", 2048, 2048, true, kPrompts},
    {"prompt", 2000, 10199, true, kPrompts},
    {"prompt", 2048, 10240, true, kPrompts},
    {"decode", 1, 4096, false, kPacked4},
    {"decode", 8, 4096, false, kPacked4},
    {"decode", 32, 4096, false, kPacked4},
    {"decode", 1, 32768, false, kPacked4},
    {"prompt", 2048, 10240, true, kPacked4},
    {"prompt", 512, 512, true, kPrompts4},
    {"prompt", 2048, 2048, true, kPrompts4},
    {"prompt", 2000, 10199, true, kPrompts4},
    {"prompt", 2048, 10240, true, kPrompts4},
    {"decode", 32, 4096, false, kPortable4},
    {"decode", 1, 4096, false, kPacked8},
    {"decode", 8, 4096, false, kPacked8},
    {"decode", 32, 4096, false, kPacked8},
    {"decode", 1, 32768, false, kPacked8},
    {"prompt", 2048, 10240, true, kPacked8},
    {"prompt", 512, 512, true, kPrompts8},
    {"prompt", 2048, 2048, true, kPrompts8},
    {"prompt", 2000, 10199, true, kPrompts8},
    {"prompt", 2048, 10240, true, kPrompts8},
    {"decode", 32, 4096, false, kPortable8},
};

/// About N(0, 1) by four uniform numbers.
__global__ void fill_bf16(uint32_t* p, int64_t count, uint64_t seed) {
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    uint32_t pair = 0;
    for (int half = 0; half < 2; ++half) {
      const uint64_t h = mixed(static_cast<uint64_t>(i) * 10 + half + seed);
      float sum = 0;
      for (int j = 0; j < 4; ++j) sum += (h >> (16 * j) & 0xffff) / 65536.f - 0.5f;
      pair |= __float_as_uint(sum * 1.7320508f) >> 16 << 16 * half;
    }
    p[i] = pair;
  }
}
/// Spoils or writes queries and the rows' own keys and values, about 20 us after the kernel behind
/// it was allowed to start.
struct Own {
  const uint32_t* q_from;
  uint32_t* q;
  int64_t q_words;
  const SeqRow* seq;
  uint32_t *k, *v, *kept;  // kept: keys, then values, of each row and KV head
  int64_t rows;
  __device__ uint32_t* place(uint32_t* cache, int64_t row, int64_t head) const {
    const int64_t at = seq[row].position;
    const int64_t page = seq[row].pages[at / kPageTokens];
    return cache + ((page * kKvHeads + head) * kPageTokens + at % kPageTokens) * (kDim / 2);
  }
};
enum class Act { keep, spoil, write };
__global__ void own_rows(Own own, Act act) {
  early();
  const long long start = clock64();
  while (act == Act::write && clock64() - start < 40000) {
  }
  const int64_t threads = gridDim.x * 256ll, first = blockIdx.x * 256ll + threadIdx.x;
  if (act != Act::keep)
    for (int64_t i = first; i < own.q_words; i += threads)
      own.q[i] = act == Act::write ? own.q_from[i] : ~0u;
  for (int64_t i = first; i < own.rows * kKvHeads * kDim; i += threads) {
    const int64_t word = i % kDim, row = i / kDim / kKvHeads, head = i / kDim % kKvHeads;
    uint32_t& there = own.place(word < kDim / 2 ? own.k : own.v, row, head)[word % (kDim / 2)];
    if (act == Act::keep) own.kept[i] = there;
    if (act != Act::keep) there = act == Act::write ? own.kept[i] : ~0u;
  }
}

struct Bench {
  cudaStream_t stream;
  cudaDeviceProp device;
  double read_bytes_per_us;
  uint8_t *keys, *values, *scales, *q, *late_q, *y, *alone, *kept, *workspace;
  SeqRow* seq;
  int32_t* tables;
  unsigned* unequal;
  double* squares;

  void start();
  void place(const Shape& shape) const;
  AttnArgs args(const Shape& shape, int64_t copy, int64_t first, int64_t rows) const;
  void attend(const Row& row, const AttnArgs& args) const {
    const CudaContext context{stream, workspace, device.multiProcessorCount, true};
    check(static_cast<cudaError_t>(row.entry->launch(&args, context)), row.name);
  }
  double apart(const Shape& shape) const;
  unsigned differing(int64_t row, int64_t rows) const;
  unsigned stale(const Shape& shape) const;
  unsigned variant(const Shape& shape) const;
  bool run(const Shape& shape, bool last) const;
};

void Bench::start() {
  check(cudaGetDeviceProperties(&device, 0), "device");
  check(cudaStreamCreate(&stream), "stream");
  read_bytes_per_us = measure_reading(stream);
  AttnArgs largest = args(kShapes[0], 0, 0, kMostRows);
  const int64_t room =
      std::max(kAny.entry->workspace_bytes(&largest), kPortable4.entry->workspace_bytes(&largest));
  const auto take = [](auto** to, int64_t bytes, const char* what) {
    check(cudaMalloc(reinterpret_cast<void**>(to), bytes), what);
  };
  take(&keys, kMostKeyBytes, "keys"), take(&values, kMostKeyBytes, "values");
  take(&scales, 4 * kMostScaleBytes, "scales");
  for (uint8_t** p : {&q, &late_q, &y, &alone}) take(p, kMostRows * kRowBytes, "rows");
  take(&kept, kMostRows * kKvHeads * kDim * 4, "rows"), take(&workspace, room, "workspace");
  take(&seq, kMostRows * sizeof(SeqRow), "rows"), take(&tables, 1 << 20, "tables");
  take(&unequal, 4, "count"), take(&squares, 16, "squares");
  cudaMemset(workspace, 0, room);
  for (uint8_t* p : {keys, values})
    fill_bf16<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(p), kMostKeyBytes / 4,
                                        p == keys);
  fill_bf16<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(scales), kMostScaleBytes, 5);
  fill_bf16<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(q), kMostRows * kRowBytes / 4, 9);
}

/// Rows and tables of the step: a sequence's pages lie apart and back to front.
void Bench::place(const Shape& shape) const {
  const int64_t pages = shape.pages(), sequences = shape.sequences();
  std::vector<int32_t> table(pages);
  for (int64_t i = 0; i < pages; ++i)
    table[i] = static_cast<int32_t>(pages - 1 - i % (pages / sequences) * sequences -
                                    i / (pages / sequences));
  std::vector<SeqRow> rows(shape.rows);
  for (int64_t r = 0; r < shape.rows; ++r) {
    rows[r].pages = tables + (shape.is_prompt ? 0 : r * (pages / sequences));
    rows[r].position = shape.position(r);
    rows[r].packed = rows[r].pages;
    if (shape.row.bits != 0) rows[r].packed_end = rows[r].position / kPageTokens;
  }
  cudaMemcpy(tables, table.data(), table.size() * 4, cudaMemcpyHostToDevice);
  cudaMemcpy(seq, rows.data(), rows.size() * sizeof(SeqRow), cudaMemcpyHostToDevice);
}

/// Rows [first, first + rows) of the step in the layer `copy`.
AttnArgs Bench::args(const Shape& shape, int64_t copy, int64_t first, int64_t rows) const {
  AttnArgs a{};
  a.q = q + first * kRowBytes, a.y = y + first * kRowBytes;
  a.q_stride = a.y_stride = kHeads * kDim;
  a.type = DType::bf16, a.seq = seq + first, a.rows = rows, a.heads = kHeads;
  const int64_t at = copy * shape.pages() * kPageBytes;
  a.cache = {keys + at, values + at, DType::bf16, kPageTokens, kKvHeads, kDim, kDim};
  if (const int bits = shape.row.bits; bits != 0) {  // codes of another layer's plain numbers
    const int64_t codes = kMostKeyBytes / 2 + at * bits / 16, scale = at / kGroup;
    const auto array = [&](int i) { return scales + i * kMostScaleBytes + scale; };
    a.cache.packed = {keys + codes, array(0), array(1), values + codes,
                      array(2),     array(3), bits,     kGroup};
  }
  a.scale = 0.08838835f;
  return a;
}

/// Words of rows of y that are not those of `alone`.
unsigned Bench::differing(int64_t row, int64_t rows) const {
  cudaMemsetAsync(unequal, 0, 4, stream);
  const int64_t at = row * kRowBytes;
  count_unequal<<<264, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(y + at),
                                         reinterpret_cast<uint32_t*>(alone + at),
                                         rows * kRowBytes / 4, unequal);
  unsigned count = 0;
  cudaMemcpyAsync(&count, unequal, 4, cudaMemcpyDeviceToHost, stream);
  check(cudaStreamSynchronize(stream), "compare");
  return count;
}

/// squares: of a - b, and of b.
__global__ void add_squares(const uint16_t* a, const uint16_t* b, int64_t count, double* squares) {
  double apart = 0, all = 0;
  for (int64_t i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    const float u = __uint_as_float(uint32_t{a[i]} << 16),
                v = __uint_as_float(uint32_t{b[i]} << 16);
    apart += static_cast<double>(u - v) * (u - v), all += static_cast<double>(v) * v;
  }
  atomicAdd(squares, apart), atomicAdd(squares + 1, all);
}
/// How far y is from that of the row which serves every step, relative.
double Bench::apart(const Shape& shape) const {
  attend(shape.row.bits == 0   ? kAny
         : shape.row.bits == 4 ? kPortable4
                               : kPortable8,
         args(shape, 0, 0, shape.rows));
  cudaMemcpyAsync(alone, y, shape.rows * kRowBytes, cudaMemcpyDeviceToDevice, stream);
  cudaMemsetAsync(y, 0xff, shape.rows * kRowBytes, stream);
  attend(shape.row, args(shape, 0, 0, shape.rows));
  cudaMemsetAsync(squares, 0, 16, stream);
  add_squares<<<264, 256, 0, stream>>>(reinterpret_cast<uint16_t*>(y),
                                       reinterpret_cast<uint16_t*>(alone),
                                       shape.rows * kRowBytes / 2, squares);
  double sums[2];
  cudaMemcpyAsync(sums, squares, 16, cudaMemcpyDeviceToHost, stream);
  check(cudaStreamSynchronize(stream), "compare");
  return std::sqrt(sums[0] / sums[1]);
}

/// Words that change when rows are computed alone.
unsigned Bench::variant(const Shape& shape) const {
  cudaMemsetAsync(y, 0xff, shape.rows * kRowBytes, stream);
  attend(shape.row, args(shape, 0, 0, shape.rows));
  cudaMemcpyAsync(alone, y, shape.rows * kRowBytes, cudaMemcpyDeviceToDevice, stream);
  unsigned count = 0;
  for (int64_t row = 0; row < shape.rows; row += 1 + shape.rows / 16) {
    const int64_t rows = std::min<int64_t>(1 + row % 7, shape.rows - row);
    cudaMemsetAsync(y, 0xff, shape.rows * kRowBytes, stream);
    attend(shape.row, args(shape, 0, row, rows));
    count += differing(row, rows);
  }
  return count;
}

/// Words that change when queries and the step's own keys and values come late; `alone` holds the
/// rows as they should be.
unsigned Bench::stale(const Shape& shape) const {
  AttnArgs a = args(shape, 0, 0, shape.rows);
  a.q = late_q;
  const auto words = [](uint8_t* p) { return reinterpret_cast<uint32_t*>(p); };
  const Own own{words(q),    words(late_q), shape.rows * kRowBytes / 4,
                seq,         words(keys),   words(values),
                words(kept), shape.rows};
  own_rows<<<32, 256, 0, stream>>>(own, Act::keep);
  own_rows<<<32, 256, 0, stream>>>(own, Act::spoil);
  cudaMemsetAsync(y, 0xff, shape.rows * kRowBytes, stream);
  own_rows<<<32, 256, 0, stream>>>(own, Act::write);
  attend(shape.row, a);
  return differing(0, shape.rows);
}

bool Bench::run(const Shape& shape, bool last) const {
  place(shape);
  const double far = apart(shape);
  const unsigned variants = variant(shape), stales = stale(shape);
  const int64_t each = shape.pages() * kPageBytes;
  // Packed pages lie behind the plain ones, of which a step reads the newest.
  const int64_t room = kMostKeyBytes / (shape.row.bits == 0 ? 1 : 2) / each;
  const int64_t read = static_cast<int64_t>(shape.bytes());
  const int copies = static_cast<int>(std::min(room, kRotationBytes / read + 2));
  const int calls = shape.is_prompt ? copies : copies * std::max(1, 60 / copies);
  const Times t = time_graph(
      stream, calls, [&](int i) { attend(shape.row, args(shape, i % copies, 0, shape.rows)); });
  const double floor = shape.bytes() / read_bytes_per_us;
  std::printf(
      "  {\"kernel\": \"%s\", \"rows\": \"%s\", \"apart\": %.2e, \"m\": %lld, \"context\": "
      "%lld, \"row_variant\": %u, \"stale\": %u, "
      "\"us\": %.2f, \"least\": %.2f, \"most\": %.2f, \"floor_us\": %.2f, \"of_floor\": %.3f, "
      "\"tflops\": %.1f}%s\n",
      shape.row.name, shape.name, far, static_cast<long long>(shape.rows),
      static_cast<long long>(shape.context), variants, stales, t.median, t.least, t.most, floor,
      floor / t.median, shape.flops() / t.median / 1e6, last ? "" : ",");
  return variants + stales == 0;
}

}  // namespace

int main(int count, char** words) {
  const int64_t only = count > 1 ? std::atoll(words[1]) : 0;
  Bench bench{};
  bench.start();
  std::printf(
      "{\"device\": \"%s\", \"commit\": \"%s\", \"read_tb_per_s\": %.3f, \"repeats\": %d,\n"
      " \"command\": \"tools/device/run\", \"heads\": "
      "%lld, \"kv_heads\": %lld, \"dim\": %lld, \"shapes\": [\n",
      bench.device.name, std::getenv("COMMIT") ? std::getenv("COMMIT") : "unknown",
      bench.read_bytes_per_us / 1e6, kRepeats, static_cast<long long>(kHeads),
      static_cast<long long>(kKvHeads), static_cast<long long>(kDim));
  bool right = true;
  for (const Shape& shape : kShapes)
    if (only == 0 || shape.context == only)
      right = bench.run(shape, &shape == std::end(kShapes) - 1) && right;
  std::puts("]}");
  return right ? 0 : 2;
}
