// Element types and plain views of arrays. A view owns nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "stepless/dtype.hpp"

namespace stepless {

std::string_view to_string(DType type);
/// Bytes of one element: 1, 2, 4 or 8.
std::int64_t size_of(DType type);
/// f32, f16 or bf16: the types activations, scales and dense weights may have.
constexpr bool is_float(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

using Shape = std::vector<std::int64_t>;

/// A read-only array, contiguous in row-major order. `data` may have any alignment (mapped files
/// start anywhere).
struct TensorView {
  const std::byte* data = nullptr;
  DType type = DType::f32;
  Shape shape;
};

/// A writable array that owns its bytes.
struct Tensor {
  std::vector<std::byte> data;
  DType type = DType::f32;
  Shape shape;
  TensorView view() const { return {data.data(), type, shape}; }
};

}  // namespace stepless
