// Every qmm and mm row this computer can run, on cold weights, one thread:
// <row>/<format>/m:4/n:4096/k:4096/cold. Weights rotate over a pool of 448 MB
// (STEPLESS_BENCH_POOL_MB changes it; 3x the last cache and more). The read and flop ceilings are
// measured in the same loop, turn by turn with the kernel, and its share of each is printed.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/kernels/ceilings_of.hpp"
#include "bench/kernels/machine.hpp"
#include "bench/kernels/thread_time.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

using bench::median, bench::seconds_of;

/// What the pool's bytes are made to be: any code is valid, any float is not.
enum class Fill { codes, floats };

class Pool {
 public:
  Pool() {
    const char* wish = std::getenv("STEPLESS_BENCH_POOL_MB");
    size_ = (wish ? std::atoll(wish) : 448) << 20;
    bytes_ = static_cast<std::uint8_t*>(mmap(nullptr, static_cast<std::size_t>(size_),
                                             PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                             -1, 0));
  }

  void fill(Fill kind) {
    if (filled_ == kind) return;
    std::uint64_t state = 88172645463325252u;
    for (std::int64_t i = 0; i < size_; i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      // Floats: 0.008 to 2 as bf16 and as the upper half of f32, 1 to 2 as f16, either sign.
      const std::uint64_t value =
          kind == Fill::codes ? state : (state & 0x83FF83FF83FF83FFu) | 0x3C003C003C003C00u;
      *reinterpret_cast<std::uint64_t*>(bytes_ + i) = value;
    }
    filled_ = kind;
  }

  /// The next `size` bytes, from the start again when the pool ends.
  std::uint8_t* next(std::int64_t size) {
    if (at_ + size > size_) at_ = 0;
    std::uint8_t* const here = bytes_ + at_;
    at_ += (size + 63) / 64 * 64;
    return here;
  }

 private:
  std::int64_t size_ = 0, at_ = 0;
  std::uint8_t* bytes_ = nullptr;
  std::optional<Fill> filled_;
};

Pool& weights() {
  static Pool pool;
  return pool;
}

double peak_flops(const bench::Arithmetic& arithmetic) {
  constexpr std::int64_t kSteps = 100000;
  return static_cast<double>(arithmetic.loop(kSteps)) / arithmetic.planes;
}

struct Case {
  const Kernel* row;
  Mode mode;
  int bits, group_size;  // bits 0: dense
  DType x_type, w_type;
  std::int64_t m, n, k;
};

struct Buffers {
  std::vector<std::uint8_t> x, y;
  std::uint8_t* workspace;
  std::vector<std::uint8_t> workspace_bytes;
};

std::int64_t size_of(DType type) { return type == DType::f32 ? 4 : 2; }

kernels::MatmulArgs args_of(const Case& c, Buffers& buffers) {
  kernels::MatmulArgs args = {};
  args.x_stride = c.k;
  args.w_row_bytes = c.bits == 0 ? c.k * size_of(c.w_type) : c.k * c.bits / 8;
  args.tensor_scale = 1;
  args.mode = c.mode;
  args.bits = c.bits;
  args.group_size = c.group_size;
  args.x_type = c.x_type;
  args.w_type = c.w_type;
  args.y_type = c.x_type;
  args.m = c.m;
  args.n = c.n;
  args.k = c.k;
  args.y_stride = c.n;
  buffers.x.resize(static_cast<std::size_t>(c.m * c.k * size_of(c.x_type)));
  std::uint32_t state = 12345;
  for (std::size_t i = 1; i < buffers.x.size(); i += 2) {
    state = state * 1664525 + 1013904223;
    buffers.x[i - 1] = static_cast<std::uint8_t>(state >> 24);
    buffers.x[i] = static_cast<std::uint8_t>((state >> 16 & 0x83) | 0x3C);
  }
  buffers.y.resize(static_cast<std::size_t>(c.m * c.n * size_of(c.x_type)));
  const WorkspaceRule rule = c.row->fields.workspace;
  const std::int64_t padded = (c.k + 127) / 128 * 128;
  buffers.workspace_bytes.resize(
      static_cast<std::size_t>(c.m * (rule.per_k * padded + rule.per_32k * padded / 32) + 64));
  buffers.workspace = buffers.workspace_bytes.data();
  buffers.workspace += -reinterpret_cast<std::uintptr_t>(buffers.workspace) & 63;
  args.x = buffers.x.data();
  args.y = buffers.y.data();
  args.workspace = buffers.workspace;
  return args;
}

/// Scales stay small; they are read beside the codes from a pool of their own, as cold.
std::vector<std::uint8_t> make_scales(const Case& c, std::int64_t bytes) {
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(bytes));
  const bool fp = c.mode != Mode::affine;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const bool top = i % static_cast<std::size_t>(size_of(c.w_type)) ==
                     static_cast<std::size_t>(size_of(c.w_type) - 1);
    const int high = c.w_type == DType::f16 ? 0x20 : 0x3C;
    scales[i] = static_cast<std::uint8_t>(fp ? 120 + i % 7 : top ? high : (i * 37) & 0x7F);
  }
  return scales;
}

void run_case(benchmark::State& state, const Case& c) {
  Buffers buffers;
  kernels::MatmulArgs args = args_of(c, buffers);
  weights().fill(c.bits == 0 ? Fill::floats : Fill::codes);
  const std::int64_t weight_bytes = c.n * args.w_row_bytes;
  const std::int64_t groups = c.bits == 0 ? 0 : c.n * c.k / c.group_size;
  const std::int64_t scale_bytes = groups * (c.mode == Mode::affine ? size_of(c.w_type) : 1);
  const std::int64_t arrays = c.mode == Mode::affine ? 2 : 1;
  const std::int64_t copies = std::max<std::int64_t>(1, (std::int64_t{448} << 20) / weight_bytes);
  const std::vector<std::uint8_t> scales = make_scales(c, scale_bytes * arrays * copies);
  const bench::Arithmetic arithmetic = bench::arithmetic_of(*c.row);
  const kernels::CeilingEntry& reader = bench::widest_ceilings();
  std::vector<double> times, reads, peaks;
  std::int64_t turn = 0;
  for (auto _ : state) {
    args.w = weights().next(weight_bytes);
    args.scales = groups == 0 ? nullptr : scales.data() + turn++ % copies * scale_bytes * arrays;
    args.biases = groups == 0 || arrays == 1 ? nullptr : args.scales + scale_bytes;
    const double time = seconds_of([&] {
      if (c.row->entry->prepare != nullptr) c.row->entry->prepare(&args, {0, c.m});
      c.row->entry->run(&args, {0, c.n});
      if (c.row->entry->finish != nullptr) c.row->entry->finish(&args);
    });
    state.SetIterationTime(time);
    times.push_back(time);
    const std::uint8_t* const other = weights().next(16 << 20);
    reads.push_back((16 << 20) / seconds_of([&] { reader.read(other, 16 << 20); }) / 1e9);
    double flops = 0;
    const double peak_time = seconds_of([&] { flops = peak_flops(arithmetic); });
    peaks.push_back(flops / peak_time / 1e9);
  }
  const double time = median(times);
  const double bytes = static_cast<double>(weight_bytes + scale_bytes * arrays);
  const double flops =
      2.0 * static_cast<double>(c.m) * static_cast<double>(c.n) * static_cast<double>(c.k);
  state.counters["med_us"] = time * 1e6;
  state.counters["min_us"] = *std::ranges::min_element(times) * 1e6;
  state.counters["max_us"] = *std::ranges::max_element(times) * 1e6;
  state.counters["GB/s"] = bytes / time / 1e9;
  state.counters["read_GB/s"] = median(reads);
  state.counters["%read"] = 100 * bytes / time / 1e9 / median(reads);
  state.counters["GFLOP/s"] = flops / time / 1e9;
  state.counters["peak"] = median(peaks);
  state.counters["%peak"] = 100 * flops / time / 1e9 / median(peaks);
}

std::string format_text(const Case& c) {
  const auto name = [](DType type) {
    return std::string(type == DType::f32 ? "f32" : type == DType::f16 ? "f16" : "bf16");
  };
  const char* const modes[] = {"affine", "mxfp4", "mxfp8", "nvfp4"};
  std::string text = c.bits == 0 ? "dense" : modes[static_cast<int>(c.mode)];
  if (c.bits != 0) text += "_b" + std::to_string(c.bits) + "_g" + std::to_string(c.group_size);
  return text + "_" + name(c.w_type) + "/x:" + name(c.x_type);
}

void add(const Case& c) {
  const std::string name = std::string(c.row->name) + "/" + format_text(c) +
                           "/m:" + std::to_string(c.m) + "/n:" + std::to_string(c.n) +
                           "/k:" + std::to_string(c.k) + "/cold";
  // About 100 ms of a 4-bit kernel at the ceiling, at least five turns.
  const double work = static_cast<double>(c.m * c.n * c.k);
  const std::int64_t turns = std::clamp<std::int64_t>(static_cast<std::int64_t>(2e9 / work), 5, 60);
  benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& state) { run_case(state, c); })
      ->UseManualTime()
      ->Iterations(turns)
      ->Unit(benchmark::kMicrosecond);
}

void add_row(const Kernel& row, std::int64_t n, std::int64_t k) {
  const std::int64_t ms[] = {1, 2, 3, 4, 6, 8, 9, 12, 16, 24, 32, 64, 128, 512};
  const DType types[] = {DType::f32, DType::f16, DType::bf16};
  const auto takes = [&](DType w_type) {
    const int bit = w_type == DType::f32 ? kTypeF32 : w_type == DType::f16 ? kTypeF16 : kTypeBf16;
    return (row.fields.w_types & bit) != 0;
  };
  const bool takes_f32 = (row.fields.x_types & kTypeF32) != 0;
  const DType x_type = row.is.act.value_or(takes_f32 ? DType::f32 : DType::bf16);
  for (const std::int64_t m : ms) {
    if (m < row.fields.rows.least || m > row.fields.rows.most) continue;
    if (row.is.op == KernelOp::mm) {
      for (const DType w_type : types)
        if (takes(w_type)) add({&row, Mode::affine, 0, 0, x_type, w_type, m, n, k});
      continue;
    }
    const auto serves = [&](Mode mode, int bits) {
      return (!row.is.mode || *row.is.mode == mode) && (row.is.bits == 0 || row.is.bits == bits);
    };
    for (const int bits : {4, 8, 1, 2, 3, 5, 6})
      if (serves(Mode::affine, bits))
        add({&row, Mode::affine, bits, 64, x_type, DType::bf16, m, n, k});
    if (serves(Mode::mxfp4, 4)) add({&row, Mode::mxfp4, 4, 32, x_type, DType::bf16, m, n, k});
    if (serves(Mode::mxfp8, 8)) add({&row, Mode::mxfp8, 8, 32, x_type, DType::bf16, m, n, k});
    if (serves(Mode::nvfp4, 4)) add({&row, Mode::nvfp4, 4, 16, x_type, DType::bf16, m, n, k});
  }
}

}  // namespace
}  // namespace stepless

int main(int argc, char** argv) {
  using namespace stepless;
  const std::int64_t shapes[][2] = {{4096, 4096}, {5120, 13824}};
  for (const auto& [n, k] : shapes)
    for (const Kernel& row : roll_call())
      if (row.entry != nullptr && (row.is.op == KernelOp::qmm || row.is.op == KernelOp::mm) &&
          bench::machine_has(row.is.isa))
        add_row(row, n, k);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
