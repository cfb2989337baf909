// What a template may use, and the failure that stops it. Everything that loops, grows or nests
// while a template runs asks the meter first, so that a template from a stranger ends with an error
// and not with a frozen process.
#pragma once
#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "stepless/error.hpp"

namespace stepless {

/// Limits of one template and of one rendering. Beyond one of them: Error (exhausted) that names
/// the limit.
struct TemplateLimits {
  std::int64_t template_bytes = std::int64_t{1} << 20;
  std::int64_t output_bytes = std::int64_t{16} << 20;  // also of every string made on the way
  std::int64_t steps = 10'000'000;  // evaluated nodes, items made, and one per 64 bytes copied
  int depth = 64;                   // nested macro calls, recursive loops, brackets and blocks
  double seconds = 5;
};

namespace jinja {

/// Stops a rendering; ChatTemplate adds the file and the line and throws it on as Error.
class Failure : public std::runtime_error {
 public:
  Failure(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

template <class... Args>
[[noreturn]] void stop(fmt::format_string<Args...> form, Args&&... args) {
  throw Failure(ErrorCode::invalid_argument, fmt::format(form, std::forward<Args>(args)...));
}

class Meter {
 public:
  explicit Meter(const TemplateLimits& limits)
      : limits_(limits),
        deadline_(std::chrono::steady_clock::now() +
                  std::chrono::duration_cast<Clock::duration>(
                      std::chrono::duration<double>(limits.seconds))) {}
  const TemplateLimits& limits() const { return limits_; }

  void step(std::int64_t count = 1) {
    steps_ += count;
    if (steps_ >= next_check_) check();
  }
  /// Asked before `bytes` are copied into a text that will then have `total` bytes.
  void grow(std::int64_t bytes, std::int64_t total) {
    if (total > limits_.output_bytes) too_long(total);
    step(1 + bytes / 64);
  }

 private:
  using Clock = std::chrono::steady_clock;
  void check();
  [[noreturn]] void too_long(std::int64_t total) const;

  TemplateLimits limits_;
  Clock::time_point deadline_;
  std::int64_t steps_ = 0;
  std::int64_t next_check_ = 0;
};

}  // namespace jinja
}  // namespace stepless
