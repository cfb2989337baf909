// How things are timed: arms in turn, round by round, so that what the machine does meanwhile meets
// them all; and what is said of the samples. Knows no tensor and no model.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace stepless {

/// One thing to be timed. A sample is the mean of `calls` calls: more than one for what takes less
/// than some microseconds.
struct Arm {
  std::function<void()> run;
  std::int64_t calls = 1;
};

struct MeasureOptions {
  int rounds = 5;
  int warm_up = 1;  // rounds before the first that counts
  int retries = 2;  // per sample, when the system took a CPU away meanwhile
  /// Asked after every sample; false ends the run with Error (cancelled).
  std::function<bool(std::int64_t done, std::int64_t total)> progress = {};
};

/// us[r] is of round r, so that two arms may be compared round by round. `disturbed`: samples that
/// were kept although a thread was taken off its CPU: every retry was as bad.
struct ArmTimes {
  std::vector<double> us;
  std::int64_t disturbed = 0;
};

/// Every arm once per round, in order. Throws Error: cancelled, or what an arm throws.
std::vector<ArmTimes> measure_rounds(std::span<const Arm> arms, const MeasureOptions& options);

/// Quartiles are interpolated. `spread` is what the middle half covers, (q3 - q1) / median: one bad
/// neighbour in five samples does not show in it, min and max tell of that.
struct Summary {
  double median = 0, min = 0, max = 0, q1 = 0, q3 = 0;
  double spread() const { return median > 0 ? (q3 - q1) / median : 0; }
};
/// Of no samples: all zero.
Summary summary_of(std::vector<double> samples);

/// Bytes of the largest cache level that this CPU has, 32 MiB when the system does not tell.
std::int64_t last_cache_bytes();
/// Bytes per level of what holds data (placement.hpp): {"L1d", 32768}, ...
std::vector<std::pair<std::string, std::int64_t>> cache_sizes();

}  // namespace stepless
