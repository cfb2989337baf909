#include "text/jinja_limits.hpp"

#include <algorithm>

namespace stepless::jinja {

void Meter::check() {
  if (steps_ > limits_.steps)
    throw Failure(
        ErrorCode::exhausted,
        fmt::format("more than {} steps; a chat template needs a few thousand", limits_.steps));
  if (Clock::now() > deadline_)
    throw Failure(ErrorCode::exhausted, fmt::format("still running after {} s", limits_.seconds));
  next_check_ =
      std::min(steps_ + 4096, limits_.steps + 1);  // a look at the clock costs about 30 steps
}

void Meter::too_long(std::int64_t total) const {
  throw Failure(ErrorCode::exhausted, fmt::format("makes a text of {} bytes; the limit is {}",
                                                  total, limits_.output_bytes));
}

}  // namespace stepless::jinja
