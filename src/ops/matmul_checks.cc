#include "ops/matmul_checks.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/quantized.hpp"

namespace stepless {
namespace {

constexpr ErrorCode kBad = ErrorCode::invalid_argument;

/// The shape has a size and, when that is not 0, bytes to read.
void check_data(const TensorView& view, const char* name) {
  const std::int64_t bytes = bytes_of(view.shape, view.type, name);
  if (bytes > 0 && view.data == nullptr)
    fail(kBad, "{}: null data for shape {}; expected {} bytes", name, shape_text(view.shape),
         bytes);
}

void check_float(DType type, const char* name) {
  if (!is_float(type)) fail(kBad, "{}: type {}; expected f32, f16 or bf16", name, to_string(type));
}

Shape without_last(const Shape& shape, std::size_t dims) {
  return {shape.begin(), shape.end() - static_cast<std::ptrdiff_t>(dims)};
}

std::int64_t from_end(const Shape& shape, std::size_t at) { return shape[shape.size() - at]; }

/// As check_quantized(), save that n = 0 is a legal, empty weight when it is packed along n.
void check_weight(QuantizedView w, Transpose transpose) {
  const auto empty_along_n = [](const TensorView& view) {
    return !view.shape.empty() && view.shape.back() == 0;
  };
  if (transpose == Transpose::no && empty_along_n(w.packed)) {
    make_spec(w.spec.mode, w.spec.bits, w.spec.group_size);
    w.packed.shape.back() = packed_row_bytes(w.spec, w.spec.group_size) / 4;
    for (TensorView* view : {&w.scales, &w.biases})
      if (empty_along_n(*view)) view->shape.back() = 1;
  }
  check_quantized(w, "w");
}

void check_x(const TensorView& x) {
  check_float(x.type, "x");
  if (x.shape.empty()) fail(kBad, "x: shape [] has no last dimension; expected [.., k]");
  check_data(x, "x");
}

void check_inner(const TensorView& x, std::int64_t k, const Shape& w, const char* w_is) {
  if (x.shape.back() != k)
    fail(kBad, "x: last dimension {} of shape {} does not fit w {} {}; expected {}", x.shape.back(),
         shape_text(x.shape), w_is, shape_text(w), k);
}

/// For every index of `to`, which matrix of an array with leading dimensions `from` stands there.
std::vector<std::int64_t> broadcast_indices(const Shape& from, const Shape& to) {
  const std::size_t dims = to.size(), missing = dims - from.size();
  std::vector<std::int64_t> step(dims, 0);
  std::int64_t stride = 1;
  for (std::size_t d = dims; d-- > missing;) {
    step[d] = from[d - missing] == 1 ? 0 : stride;
    stride *= from[d - missing];
  }
  std::vector<std::int64_t> result, at(dims, 0);
  const std::int64_t count = count_of(to, "batch");
  result.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0, where = 0; i < count; ++i) {
    result.push_back(where);
    for (std::size_t d = dims; d-- > 0;) {
      where += step[d];
      if (++at[d] < to[d]) break;
      where -= step[d] * to[d];
      at[d] = 0;
    }
  }
  return result;
}

/// Leading dimensions of x are rows when w is one matrix; else both sides' leading dimensions
/// broadcast.
ProductShape product_of(const TensorView& x, const Shape& w_batch, std::int64_t n, std::int64_t k,
                        DType y_type) {
  ProductShape p;
  p.n = n, p.k = k, p.y_type = y_type;
  if (w_batch.empty()) {
    const Shape rows = without_last(x.shape, 1);
    p.m = count_of(rows, "x");
    p.x_at = p.w_at = {0};
    p.y_shape = rows;
  } else {
    const bool one_row = x.shape.size() == 1;
    p.m = one_row ? 1 : from_end(x.shape, 2);
    const Shape x_batch = one_row ? Shape{} : without_last(x.shape, 2);
    p.batch = broadcast(x_batch, w_batch, "x and w: leading dimensions");
    p.count = count_of(p.batch, "y");
    p.x_at = broadcast_indices(x_batch, p.batch);
    p.w_at = broadcast_indices(w_batch, p.batch);
    p.y_shape = p.batch;
    if (!one_row) p.y_shape.push_back(p.m);
  }
  p.y_shape.push_back(n);
  bytes_of(p.y_shape, y_type, "y");
  return p;
}

DType result_type(const TensorView& x, const QuantizedView& w) {
  return w.spec.mode == Mode::affine ? promote(x.type, w.scales.type) : x.type;
}

template <class T>
std::int64_t load_index(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  if constexpr (sizeof(T) == 8 && !std::is_signed_v<T>)
    return value > static_cast<T>(INT64_MAX) ? INT64_MAX : static_cast<std::int64_t>(value);
  else
    return static_cast<std::int64_t>(value);
}

/// Throws for what is no integer type.
std::int64_t index_at(const TensorView& view, std::int64_t i, const char* name) {
  const std::byte* at = view.data + i * size_of(view.type);
  switch (view.type) {
    case DType::u8:
      return load_index<std::uint8_t>(at);
    case DType::u16:
      return load_index<std::uint16_t>(at);
    case DType::u32:
      return load_index<std::uint32_t>(at);
    case DType::u64:
      return load_index<std::uint64_t>(at);
    case DType::i8:
      return load_index<std::int8_t>(at);
    case DType::i16:
      return load_index<std::int16_t>(at);
    case DType::i32:
      return load_index<std::int32_t>(at);
    case DType::i64:
      return load_index<std::int64_t>(at);
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::f64:
    case DType::boolean:
    case DType::complex64:
      break;
  }
  fail(kBad, "{}: type {}; expected integers", name, to_string(view.type));
}

bool is_integer(DType type) { return type >= DType::u8 && type <= DType::i64; }

struct Indices {
  Shape shape;
  std::vector<std::int64_t> values;
};

/// The indices given, checked against `count` matrices, or 0, 1, 2 … in the shape of the leading
/// dimensions.
Indices read_indices(const std::optional<TensorView>& given, const Shape& batch, std::int64_t count,
                     const char* name) {
  Indices indices;
  if (!given) {
    indices.shape = batch;
    for (std::int64_t i = 0; i < count; ++i) indices.values.push_back(i);
    return indices;
  }
  if (!is_integer(given->type))
    fail(kBad, "{}: type {}; expected integers", name, to_string(given->type));
  check_data(*given, name);
  indices.shape = given->shape;
  const std::int64_t size = count_of(given->shape, name);
  for (std::int64_t i = 0; i < size; ++i) {
    const std::int64_t value = index_at(*given, i, name);
    if (value < 0 || value >= count)
      fail(kBad, "{}: index {} at position {} is outside 0 .. {}", name, value, i, count - 1);
    indices.values.push_back(value);
  }
  return indices;
}

std::vector<std::int64_t> spread(const Indices& indices, const Shape& to) {
  std::vector<std::int64_t> result = broadcast_indices(indices.shape, to);
  for (std::int64_t& at : result) at = indices.values[static_cast<std::size_t>(at)];
  return result;
}

}  // namespace

DType promote(DType a, DType b) {
  check_float(a, "type");
  check_float(b, "type");
  return a == b ? a : DType::f32;
}

Shape broadcast(const Shape& a, const Shape& b, const char* what) {
  Shape result(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 1; i <= result.size(); ++i) {
    const std::int64_t x = i <= a.size() ? from_end(a, i) : 1,
                       y = i <= b.size() ? from_end(b, i) : 1;
    if (x != y && x != 1 && y != 1)
      fail(kBad, "{} {} and {} do not broadcast: {} against {}", what, shape_text(a), shape_text(b),
           x, y);
    result[result.size() - i] = x == 1 ? y : x;
  }
  return result;
}

float matrix_scale(const QuantizedView& w, std::int64_t index) {
  return tensor_scale_of(w, index * from_end(w.packed.shape, 2)).value_or(2688.0f) / 2688.0f;
}

WeightShape describe_weight(const QuantizedView& w, Transpose transpose) {
  check_weight(w, transpose);
  check_data(w.packed, "w");
  check_data(w.scales, "scales");
  if (!is_absent(w.biases)) check_data(w.biases, "biases");
  const std::int64_t columns = columns_of(w), rows = from_end(w.packed.shape, 2);
  WeightShape shape;
  shape.batch = without_last(w.packed.shape, 2);
  shape.count = count_of(shape.batch, "w");
  shape.n = transpose == Transpose::yes ? rows : columns;
  shape.k = transpose == Transpose::yes ? columns : rows;
  if (shape.k == 0)
    fail(kBad, "w: k = 0 in shape {}; expected a reduction of at least one element",
         shape_text(w.packed.shape));
  shape.row_bytes = from_end(w.packed.shape, 1) * 4;
  shape.matrix_bytes = rows * shape.row_bytes;
  shape.scale_bytes = rows * (columns / w.spec.group_size) * size_of(w.scales.type);
  shape.type = w.scales.type;
  return shape;
}

ProductShape describe_quantized_matmul(const TensorView& x, const QuantizedView& w,
                                       Transpose transpose) {
  check_x(x);
  const WeightShape shape = describe_weight(w, transpose);
  check_inner(x, shape.k, w.packed.shape,
              transpose == Transpose::yes ? "(n, words)" : "(k, words)");
  return product_of(x, shape.batch, shape.n, shape.k, result_type(x, w));
}

ProductShape describe_gather_qmm(const TensorView& x, const QuantizedView& w,
                                 const GatherIndices& indices, Transpose transpose) {
  check_x(x);
  if (x.shape.size() < 2)
    fail(kBad, "x: shape {}; gather_qmm expects matrices, [.., m, k]", shape_text(x.shape));
  const WeightShape shape = describe_weight(w, transpose);
  check_inner(x, shape.k, w.packed.shape,
              transpose == Transpose::yes ? "(n, words)" : "(k, words)");
  const Shape x_batch = without_last(x.shape, 2);
  const Indices lhs = read_indices(indices.lhs, x_batch, count_of(x_batch, "x"), "lhs indices");
  const Indices rhs = read_indices(indices.rhs, shape.batch, shape.count, "rhs indices");
  ProductShape p;
  p.batch = broadcast(lhs.shape, rhs.shape, "lhs and rhs indices: shapes");
  p.count = count_of(p.batch, "y");
  p.m = from_end(x.shape, 2), p.n = shape.n, p.k = shape.k;
  p.y_type = result_type(x, w);
  p.x_at = spread(lhs, p.batch);
  p.w_at = spread(rhs, p.batch);
  p.y_shape = p.batch;
  p.y_shape.push_back(p.m);
  p.y_shape.push_back(p.n);
  bytes_of(p.y_shape, p.y_type, "y");
  return p;
}

ProductShape describe_linear(const TensorView& x, const TensorView& w) {
  check_x(x);
  check_float(w.type, "w");
  if (w.shape.size() < 2)
    fail(kBad, "w: shape {}; expected two or more dimensions", shape_text(w.shape));
  check_data(w, "w");
  check_inner(x, w.shape.back(), w.shape, "(n, k)");
  return product_of(x, without_last(w.shape, 2), from_end(w.shape, 2), w.shape.back(),
                    promote(x.type, w.type));
}

}  // namespace stepless
