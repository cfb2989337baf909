// Every row of attention this computer can run, one thread, as JSON: prompts of 512 rows whose last
// position ends a context, and decode steps of some sequences over cold pages (a pool of 448 MB;
// STEPLESS_BENCH_POOL_MB changes it). Ceilings are measured turn by turn with it: of reading, and
// of the row's arithmetic, which is fma or, of codes by VPDPBUSD, two planes of bytes.
//
// attn_bench [part of the row's name [part of the case's]]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/large_buffer.hpp"
#include "bench/kernels/ceilings_of.hpp"
#include "bench/kernels/machine.hpp"
#include "bench/kernels/thread_time.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

using bench::median, bench::seconds_of;

constexpr std::int64_t kHeads = 16, kKvHeads = 8, kDim = 128, kPageTokens = 64, kGroup = 64;
constexpr std::int64_t kReadBytes = 64 << 20;

struct Case {
  bool prompt;
  DType type;
  int bits;  // 16: a plain cache
  std::int64_t context, sequences;

  std::int64_t rows() const { return prompt ? std::min<std::int64_t>(512, context) : sequences; }
  std::int64_t pages() const { return (context + kPageTokens - 1) / kPageTokens; }
  std::int64_t places() const { return sequences * pages() * kKvHeads * kPageTokens; }
  double position_bytes() const {
    return kDim * bits / 8.0 + (bits == 16 ? 0 : 4.0 * kDim / kGroup);
  }
  double read_bytes() const {
    return 2 * static_cast<double>(sequences * context * kKvHeads) * position_bytes();
  }
  std::int64_t position(std::int64_t row) const {
    return prompt ? context - rows() + row : context - 1;
  }
  double flops() const {
    double products = 0;
    for (std::int64_t row = 0; row < rows(); ++row)
      products += 2.0 * kHeads * kDim * static_cast<double>(position(row) + 1);
    return 2 * products;
  }
  std::string name() const {
    return std::string(prompt ? "prompt" : "decode") + (type == DType::f16 ? "/f16" : "/bf16") +
           "/kv:" + std::to_string(bits) + "/rows:" + std::to_string(rows()) +
           "/context:" + std::to_string(context);
  }
};

class Pool {
 public:
  Pool() {
    const char* wish = std::getenv("STEPLESS_BENCH_POOL_MB");
    size_ = (wish != nullptr ? std::atoll(wish) : 448) << 20;
    memory_ = LargeBuffer(size_, "pool", Pages::huge);
    bytes_ = memory_.as<std::uint8_t>();
    std::uint64_t state = 88172645463325252u;
    for (std::int64_t i = 0; i < size_; i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      // Any byte is a code; as bf16 these are 0.008 to 2, as f16 1 to 2, of either sign.
      const std::uint64_t value = (state & 0x83FF83FF83FF83FFu) | 0x3C003C003C003C00u;
      std::memcpy(bytes_ + i, &value, sizeof value);
    }
  }
  /// The next `size` bytes, from the start again when the pool ends.
  std::uint8_t* next(std::int64_t size) {
    if (at_ + size > size_) at_ = 0;
    std::uint8_t* const here = bytes_ + at_;
    at_ += (size + 4095) / 4096 * 4096;
    return here;
  }

 private:
  LargeBuffer memory_;  // of large pages where there are, as the engine's
  std::int64_t size_ = 0, at_ = 0;
  std::uint8_t* bytes_ = nullptr;
};

Pool& pool() {
  static Pool one;
  return one;
}

/// What a step reads besides keys and values.
struct Step {
  std::vector<std::uint16_t> source, q, y;
  std::vector<std::int32_t> pages;
  std::vector<kernels::SeqRow> seq;
  kernels::AttnArgs args = {};

  explicit Step(const Case& c)
      : source(static_cast<std::size_t>(c.rows() * kHeads * kDim)),
        q(source.size()),
        y(source.size()) {
    std::memcpy(source.data(), pool().next(std::ssize(q) * 2), q.size() * 2);
    for (std::int64_t i = c.sequences * c.pages(); i > 0; --i)
      pages.push_back(static_cast<std::int32_t>(i - 1));
    for (std::int64_t row = 0; row < c.rows(); ++row) {
      kernels::SeqRow one = {pages.data() + (c.prompt ? 0 : row * c.pages()), c.position(row)};
      if (c.bits != 16) one.packed = one.pages, one.packed_end = c.pages();
      seq.push_back(one);
    }
    args.q = q.data(), args.y = y.data();
    args.q_stride = args.y_stride = kHeads * kDim;
    args.type = c.type;
    args.seq = seq.data(), args.rows = c.rows(), args.heads = kHeads;
    // Codes reach 2^bits: scores of the size that models have, whose weights are no subnormals.
    args.scale = 1 / std::sqrt(static_cast<float>(kDim));
    if (c.bits != 16) args.scale /= static_cast<float>(1 << c.bits);
    args.cache = {nullptr, nullptr, c.type, kPageTokens, kKvHeads, kDim, kDim};
  }

  /// Other pages than before; queries are written anew, as by the rotary embedding.
  void move_on(const Case& c) {
    std::ranges::copy(source, q.begin());
    std::ranges::fill(y, std::uint16_t{0});
    const std::int64_t elements = c.places() * kDim, groups = elements / kGroup * 2;
    const auto next = [](std::int64_t bytes) { return pool().next(bytes); };
    if (c.bits == 16) {
      args.cache.k = next(elements * 2), args.cache.v = next(elements * 2);
      return;
    }
    const std::int64_t codes = elements * c.bits / 8;
    args.cache.packed = {next(codes),  next(groups), next(groups), next(codes),
                         next(groups), next(groups), c.bits,       kGroup};
  }
};

struct Times {
  std::vector<double> us, flops, reads;
};

/// Some 20 ms of steps at least, then both ceilings, in turn.
Times run(const Kernel& row, const Case& c) {
  constexpr int kTurns = 9;
  const bench::Arithmetic arithmetic = bench::arithmetic_of(row);
  const kernels::CeilingEntry& reader = bench::widest_ceilings();
  Step step(c);
  const int steps = c.prompt ? 1 : static_cast<int>(2e7 / c.read_bytes()) + 1;
  Times times;
  for (int turn = -1; turn < kTurns; ++turn) {
    double seconds = 0;
    for (int i = 0; i < steps; ++i) {
      step.move_on(c);
      seconds += seconds_of([&] { row.entry->run(&step.args, {0, c.rows() * kHeads}); });
    }
    std::int64_t operations = 0;
    const double peak = seconds_of([&] { operations = arithmetic.loop(200000); });
    const std::uint8_t* const other = pool().next(kReadBytes);
    const double read = seconds_of([&] { reader.read(other, kReadBytes); });
    if (turn < 0) continue;
    times.us.push_back(seconds / steps * 1e6);
    times.flops.push_back(static_cast<double>(operations) / arithmetic.planes / peak);
    times.reads.push_back(static_cast<double>(kReadBytes) / read);
  }
  return times;
}

void report(const Kernel& row, const Case& c) {
  const Times times = run(row, c);
  const double us = median(times.us);
  const double compute_us = c.flops() / median(times.flops) * 1e6;
  const double memory_us = c.read_bytes() / median(times.reads) * 1e6;
  static bool first = true;
  std::printf(
      "%s  {\"kernel\": \"%s\", \"case\": \"%s\", \"us\": %.1f, \"least\": %.1f, "
      "\"most\": %.1f, \"gflop_per_s\": %.1f, \"peak\": %.1f, \"of_compute\": %.3f, "
      "\"gb_per_s\": %.2f, \"read\": %.2f, \"of_read\": %.3f, \"of_floor\": %.3f}",
      first ? "" : ",\n", std::string(row.name).c_str(), c.name().c_str(), us,
      std::ranges::min(times.us), std::ranges::max(times.us), c.flops() / us / 1e3,
      median(times.flops) / 1e9, compute_us / us, c.read_bytes() / us / 1e3,
      median(times.reads) / 1e9, memory_us / us, std::max(compute_us, memory_us) / us);
  std::fflush(stdout);
  first = false;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const DType type : {DType::bf16, DType::f16})
    for (const int bits : {16, 8, 4}) {
      for (const std::int64_t context : {512, 4096}) all.push_back({true, type, bits, context, 1});
      for (const std::int64_t sequences : {1, 8})
        for (const std::int64_t context : {150, 256, 4096})
          all.push_back({false, type, bits, context, sequences});
    }
  return all;
}

}  // namespace
}  // namespace stepless

int main(int argc, char** argv) {
  using namespace stepless;
  const std::string row_part = argc > 1 ? argv[1] : "", case_part = argc > 2 ? argv[2] : "";
  std::printf("{\"heads\": %d, \"kv_heads\": %d, \"dim\": %d, \"group\": %d, \"rows\": [\n",
              static_cast<int>(kHeads), static_cast<int>(kKvHeads), static_cast<int>(kDim),
              static_cast<int>(kGroup));
  for (const Case& c : cases())
    for (const Kernel& row : roll_call()) {
      const bool packed = row.is.mode.has_value();
      if (row.is.op != KernelOp::attn || row.entry == nullptr || packed != (c.bits != 16)) continue;
      if (!bench::machine_has(row.is.isa) || row.name.find(row_part) == std::string_view::npos)
        continue;
      if (c.name().find(case_part) != std::string::npos) report(row, c);
    }
  std::printf("\n]}\n");
  return 0;
}
