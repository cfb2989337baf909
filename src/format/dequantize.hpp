// Decoding by parts: each value is exact up to one rounding to the output type (contract.md,
// section 2). dequantize() itself is public: stepless/quant.hpp.
#pragma once
#include <cstdint>

#include "format/quantized.hpp"

namespace stepless {

/// Rows [begin, end) of the flattened matrix, contiguous at `dst` in the type `out`. The view has
/// passed check_quantized. Safe from several threads.
void dequantize_rows(const QuantizedView& view, std::int64_t begin, std::int64_t end, DType out,
                     void* dst);

/// Elements [first, first + count) of one row, both multiples of group_size: for matrices packed
/// along n.
void dequantize_span(const QuantizedView& view, std::int64_t row, std::int64_t first,
                     std::int64_t count, DType out, void* dst);

}  // namespace stepless
