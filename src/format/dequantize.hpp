// Decoding: each value is exact up to one rounding to the output type (contract.md, section 2).
#pragma once
#include <cstdint>

#include "format/quantized.hpp"

namespace stepless {

/// The matrix (.., n, k) in f32, f16 or bf16. Throws Error: as check_quantized and check_codes;
/// invalid_argument for other output types; exhausted.
Tensor dequantize(const QuantizedView& view, DType out);

/// Rows [begin, end) of the flattened matrix, contiguous at `dst` in the type `out`. The view has
/// passed check_quantized. Safe from several threads.
void dequantize_rows(const QuantizedView& view, std::int64_t begin, std::int64_t end, DType out,
                     void* dst);

/// Elements [first, first + count) of one row, both multiples of group_size: for matrices packed
/// along n.
void dequantize_span(const QuantizedView& view, std::int64_t row, std::int64_t first,
                     std::int64_t count, DType out, void* dst);

}  // namespace stepless
