// Rows among operands of products of prompts, as sm90/prompt_operands.cuh stores them.
#pragma once
#include <algorithm>
#include <cstdint>

#include "tests/support/matmul_case.hpp"

namespace stepless::test {

/// The rows again, of 16-bit elements.
inline Bytes rows_of_operands(const Bytes& x, std::int64_t rows, std::int64_t width) {
  Bytes all(x.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t k = 0; k < width; ++k) {
      const std::int64_t step = k / 64, word = k % 64 / 16, chunk = k / 8 % 2 * 4 + k % 4;
      const std::int64_t at = (i / 64 * (width / 64) + step) * 8192 + i % 64 * 128 +
                              (chunk ^ i % 8) * 16 + word * 4 + k / 4 % 2 * 2;
      std::copy_n(x.begin() + at, 2, all.begin() + (i * width + k) * 2);
    }
  return all;
}

}  // namespace stepless::test
