// Random arrays for the tests of the doors, as a caller would hand them in, with their decoded
// values beside them.
#pragma once
#include <cstring>
#include <vector>

#include "format/dtype.hpp"
#include "stepless/matmul.hpp"
#include "tests/support/matmul_case.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {

inline TensorView view_of(const Bytes& bytes, DType type, Shape shape) {
  return {reinterpret_cast<const std::byte*>(bytes.data()), type, std::move(shape)};
}

/// Matrices of (rows, columns), packed along columns, one after another; what each decodes to.
struct PackedArray {
  QuantSpec spec;
  DType scale_type = DType::bf16;
  Shape batch;
  std::int64_t rows = 0, columns = 0;
  Bytes w, scales, biases;
  std::vector<oracle::Matrix> decoded;

  QuantizedView view() const {
    Shape packed = batch, groups = batch;
    packed.insert(packed.end(), {rows, columns * spec.bits / 32});
    groups.insert(groups.end(), {rows, columns / spec.group_size});
    QuantizedView view{spec, view_of(w, DType::u32, packed), {}, {}, {}};
    view.scales = view_of(scales, spec.mode == Mode::affine ? scale_type : DType::u8, groups);
    if (spec.mode == Mode::affine) view.biases = view_of(biases, scale_type, groups);
    return view;
  }
};

inline PackedArray random_packed(QuantSpec spec, DType scale_type, Shape batch, std::int64_t rows,
                                 std::int64_t columns, std::uint64_t seed) {
  PackedArray array{spec, scale_type, std::move(batch), rows, columns, {}, {}, {}, {}};
  Random random(seed);
  Format format{true, spec, DType::f32, scale_type, DType::f32};
  for (std::int64_t i = 0; i < count_of(array.batch, "batch"); ++i) {
    oracle::Stored one = random_weight(format, rows, columns, random);
    one.tensor_scale = 1;  // a view says what it is
    array.w.insert(array.w.end(), one.w.begin(), one.w.end());
    array.scales.insert(array.scales.end(), one.scales.begin(), one.scales.end());
    array.biases.insert(array.biases.end(), one.biases.begin(), one.biases.end());
    array.decoded.push_back(oracle::decode(one));
  }
  return array;
}

/// An array ~ N(0, 1) of a float type.
struct FloatArray {
  DType type = DType::f32;
  Shape shape;
  Bytes bytes;
  TensorView view() const { return view_of(bytes, type, shape); }
  /// Matrix `index` of (rows, columns) from the flattened leading dimensions.
  oracle::Matrix matrix(std::int64_t index, std::int64_t rows, std::int64_t columns) const {
    const std::int64_t size = rows * columns * size_of(type);
    const auto begin = bytes.begin() + index * size;
    return matrix_of(Bytes(begin, begin + size), type, rows);
  }
};

inline FloatArray random_floats(DType type, Shape shape, std::uint64_t seed) {
  Random random(seed);
  const std::int64_t count = count_of(shape, "x");
  return {type, std::move(shape), random_rows(type, count, 1.0, random)};
}

inline Bytes bytes_of(const Tensor& tensor) {
  Bytes bytes(tensor.data.size());
  if (!bytes.empty()) std::memcpy(bytes.data(), tensor.data.data(), bytes.size());
  return bytes;
}

/// Bytes of matrix `index` of a result whose matrices have `size` elements.
inline Bytes part_of_result(const Tensor& y, std::int64_t index, std::int64_t elements) {
  const std::int64_t size = elements * size_of(y.type);
  const Bytes all = bytes_of(y);
  return {all.begin() + index * size, all.begin() + (index + 1) * size};
}

}  // namespace stepless::test
