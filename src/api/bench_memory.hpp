// What a bench reads: random bytes, and copies of one weight that rotate so that each call finds
// its own cold.
#pragma once
#include <cstdint>

#include "base/large_buffer.hpp"
#include "dispatch/problem.hpp"
#include "kernels/args.hpp"
#include "stepless/quant.hpp"

namespace stepless {

/// Words of a fixed stream: (word & keep) | set. The same on every machine.
void fill_random(std::uint8_t* to, std::int64_t bytes, std::uint64_t keep, std::uint64_t set);
/// Floats of either sign with sizes from 1/128 to 2, as `type`.
void fill_floats(std::uint8_t* to, std::int64_t bytes, DType type);

/// Copies of a weight: codes, scales and biases that any kernel may run on (no NaN, no code that
/// the format forbids). Cold: at least three times the last cache and two copies; warm: one.
class WeightCopies {
 public:
  /// `least`: copies there are at any rate, a stack of experts. Throws Error (exhausted).
  WeightCopies(const Problem& problem, bool warm, std::int64_t least = 1);
  /// Puts the next copy into `args`, with what else a matmul is told of its weight.
  void set_next(kernels::MatmulArgs& args);
  std::int64_t count() const { return count_; }
  /// Bytes of one copy.
  std::int64_t bytes() const;
  /// All copies of a packed weight as one array: (count, n, k), or (count, k, n) for qmmn.
  QuantizedView stacked() const;

 private:
  Problem problem_;
  std::int64_t rows_ = 0, columns_ = 0;  // of the packed matrix
  std::int64_t row_bytes_ = 0, code_bytes_ = 0, scale_bytes_ = 0, count_ = 1, next_ = 0;
  LargeBuffer codes_, scales_, biases_;
};

}  // namespace stepless
