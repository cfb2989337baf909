#include "base/measure.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "base/error.hpp"
#include "base/placement.hpp"

namespace stepless {
namespace {

/// How often the system took a CPU from a thread of this process.
long preemptions() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

struct Sample {
  double us;
  bool disturbed;
};

Sample sample_of(const Arm& arm) {
  const long before = preemptions();
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < arm.calls; ++i) arm.run();
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  return {took.count() / static_cast<double>(arm.calls), preemptions() != before};
}

double quantile(const std::vector<double>& sorted, double at) {
  const double place = at * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

std::vector<ArmTimes> measure_rounds(std::span<const Arm> arms, const MeasureOptions& options) {
  std::vector<ArmTimes> times(arms.size());
  const int rounds = options.warm_up + options.rounds;
  const std::int64_t total = rounds * std::ssize(arms);
  std::int64_t done = 0;
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < arms.size(); ++i) {
      const bool counts = round >= options.warm_up;
      Sample sample = sample_of(arms[i]);
      for (int retry = 0; counts && sample.disturbed && retry < options.retries; ++retry)
        sample = sample_of(arms[i]);
      if (counts) {
        times[i].us.push_back(sample.us);
        times[i].disturbed += sample.disturbed ? 1 : 0;
      }
      if (options.progress && !options.progress(++done, total))
        fail(ErrorCode::cancelled, "stopped after {} of {} samples", done, total);
    }
  return times;
}

Summary summary_of(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::ranges::sort(samples);
  return {quantile(samples, 0.5), samples.front(), samples.back(), quantile(samples, 0.25),
          quantile(samples, 0.75)};
}

std::vector<std::pair<std::string, std::int64_t>> cache_sizes() {
  std::vector<std::pair<std::string, std::int64_t>> sizes;
  for (const CpuCache& cache : cpu_caches())
    if (cache.type != "Instruction")
      sizes.emplace_back("L" + std::to_string(cache.level) + (cache.type == "Data" ? "d" : ""),
                         cache.bytes);
  return sizes;
}

std::int64_t last_cache_bytes() {
  std::int64_t most = 0;
  for (const auto& [level, bytes] : cache_sizes()) most = std::max(most, bytes);
  return most > 0 ? most : std::int64_t{32} << 20;
}

}  // namespace stepless
