#include "format/dequantize.hpp"

#include <array>
#include <cstring>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/pack.hpp"
#include "format/scalar.hpp"

namespace stepless {
namespace {

constexpr int kMostGroup = 128;

// a + b of doubles, rounded to odd: later rounding to 24 bits or fewer gives what one rounding of
// the exact sum gives.
double add_to_odd(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  const double error = (a - (sum - b_part)) + (b - b_part);  // exact: sum + error == a + b
  const auto bits = std::bit_cast<std::uint64_t>(sum);
  if (error == 0 || (bits & 1) != 0) return sum;
  // The exact sum lies between `sum` and a neighbour of odd last bit, the one on error's side.
  const bool away = (error > 0) == (sum > 0);
  return std::bit_cast<double>(away ? bits + 1 : bits - 1);
}

struct Group {
  const QuantizedView& view;
  std::int64_t row, index;  // index: which group of the row
  std::int64_t groups;      // per row

  const std::byte* at(const TensorView& array) const {
    return array.data + (row * groups + index) * size_of(array.type);
  }
  double value(const TensorView& array) const {
    float number = 0;
    to_f32(at(array), array.type, &number, 1);
    return static_cast<double>(number);
  }
};

void decode_affine(const Group& group, const std::uint8_t* codes, int count, double* values) {
  const double scale = group.value(group.view.scales), bias = group.value(group.view.biases);
  for (int i = 0; i < count; ++i)  // the product has 32 bits at most: exact
    values[i] = add_to_odd(scale * static_cast<double>(codes[i]), bias);
}

double fp_scale(const Group& group, std::optional<float> tensor_scale) {
  const auto byte = std::to_integer<std::uint8_t>(*group.at(group.view.scales));
  if (group.view.spec.mode != Mode::nvfp4) return static_cast<double>(e8m0_value(byte));
  const double scale = static_cast<double>(kE4M3[byte]);
  return tensor_scale ? scale * (static_cast<double>(*tensor_scale) / 2688.0) : scale;
}

void decode_fp(const Group& group, const std::uint8_t* codes, int count, double* values) {
  const double scale = fp_scale(group, tensor_scale_of(group.view, group.row));
  const float* const table = group.view.spec.bits == 4 ? kE2M1.data() : kE4M3.data();
  for (int i = 0; i < count; ++i) values[i] = scale * static_cast<double>(table[codes[i]]);
}

}  // namespace

void dequantize_span(const QuantizedView& view, std::int64_t row, std::int64_t first,
                     std::int64_t count, DType out, void* dst) {
  const QuantSpec& spec = view.spec;
  const int size = spec.group_size;
  const std::int64_t k = columns_of(view), groups = groups_of(spec, k);
  const std::byte* packed = view.packed.data + row * packed_row_bytes(spec, k);
  std::array<std::uint8_t, kMostGroup> codes;
  std::array<double, kMostGroup> values;
  auto* to = static_cast<std::byte*>(dst);
  for (std::int64_t i = first; i < first + count; i += size, to += size * size_of(out)) {
    unpack_row(packed + i / 8 * spec.bits, size, spec.bits, codes.data());
    const Group group{view, row, i / size, groups};
    if (spec.mode == Mode::affine)
      decode_affine(group, codes.data(), size, values.data());
    else
      decode_fp(group, codes.data(), size, values.data());
    from_f64(values.data(), out, to, size);
  }
}

void dequantize_rows(const QuantizedView& view, std::int64_t begin, std::int64_t end, DType out,
                     void* dst) {
  const std::int64_t k = columns_of(view);
  auto* to = static_cast<std::byte*>(dst);
  for (std::int64_t row = begin; row < end; ++row, to += k * size_of(out))
    dequantize_span(view, row, 0, k, out, to);
}

Tensor dequantize(const QuantizedView& view, DType out) {
  check_quantized(view, "dequantize");
  check_codes(view, "dequantize");
  if (!is_float(out))
    fail(ErrorCode::invalid_argument, "dequantize: output type {}; expected f32, f16 or bf16",
         to_string(out));
  Shape shape = view.packed.shape;
  shape.back() = columns_of(view);
  const std::int64_t bytes = bytes_of(shape, out, "dequantize");
  Tensor result{std::vector<std::byte>(static_cast<std::size_t>(bytes)), out, std::move(shape)};
  dequantize_rows(view, 0, rows_of(view.packed), out, result.data.data());
  return result;
}

}  // namespace stepless
