// What the benches of CPU rows share: the time of one thread, and the middle of several.
#pragma once
#include <time.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace stepless::bench {

/// Time this thread ran: on a shared computer the wall clock measures the neighbours.
inline double seconds_of(const std::function<void()>& work) {
  const auto now = [] {
    timespec time = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace stepless::bench
