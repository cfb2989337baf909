// Properties of quantize and dequantize for every format, and every refusal of contract.md, section
// 6, that is theirs.
#include "format/quantize.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "format/dequantize.hpp"
#include "format/dtype.hpp"
#include "format/pack.hpp"
#include "format/scalar.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

std::vector<QuantSpec> all_specs() {
  std::vector<QuantSpec> specs;
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128}) specs.push_back(make_spec(Mode::affine, bits, group));
  for (const Mode mode : {Mode::mxfp4, Mode::mxfp8, Mode::nvfp4}) specs.push_back(make_spec(mode));
  return specs;
}

std::string spec_name(const ::testing::TestParamInfo<QuantSpec>& each) {
  return std::string(to_string(each.param.mode)) + "_b" + std::to_string(each.param.bits) + "_g" +
         std::to_string(each.param.group_size);
}

Tensor tensor_of(const std::vector<float>& values, DType type, Shape shape) {
  Tensor tensor{std::vector<std::byte>(values.size() * static_cast<std::size_t>(size_of(type))),
                type, std::move(shape)};
  from_f32(values.data(), type, tensor.data.data(), static_cast<std::int64_t>(values.size()));
  return tensor;
}

std::vector<float> values_of(const TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(count_of(view.shape, "test")));
  to_f32(view.data, view.type, values.data(), static_cast<std::int64_t>(values.size()));
  return values;
}

Tensor random_matrix(Shape shape, DType type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count_of(shape, "test")));
  for (float& value : values) value = normal(random);
  return tensor_of(values, type, std::move(shape));
}

class EachSpec : public ::testing::TestWithParam<QuantSpec> {
 protected:
  const QuantSpec& spec() const { return GetParam(); }
};

TEST_P(EachSpec, ShapesAndTypesAreThoseOfTheContract) {
  const std::int64_t k = 2 * spec().group_size;
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const QuantizedTensors made = quantize(random_matrix({3, 5, k}, type, 1).view(), spec());
    EXPECT_EQ(made.packed.type, DType::u32);
    EXPECT_EQ(made.packed.shape, (Shape{3, 5, k * spec().bits / 32}));
    EXPECT_EQ(made.scales.shape, (Shape{3, 5, 2}));
    const bool affine = spec().mode == Mode::affine;
    EXPECT_EQ(made.scales.type, affine ? type : DType::u8);
    EXPECT_EQ(made.biases.has_value(), affine);
    EXPECT_NO_THROW(check_quantized(made.view(), "w"));
    EXPECT_NO_THROW(check_codes(made.view(), "w"));
    EXPECT_EQ(columns_of(made.view()), k);
    EXPECT_EQ(dequantize(made.view(), DType::f32).shape, (Shape{3, 5, k}));
  }
}

// Decoded values lie within half a step of the input, a step being what the format has at the
// group's range.
TEST_P(EachSpec, RoundTripIsWithinTheStep) {
  const std::int64_t k = 8 * spec().group_size;
  const Tensor w = random_matrix({16, k}, DType::f32, 2);
  const std::vector<float> in = values_of(w.view());
  const std::vector<float> out =
      values_of(dequantize(quantize(w.view(), spec()).view(), DType::f32).view());
  for (std::size_t g = 0; g < in.size(); g += static_cast<std::size_t>(spec().group_size)) {
    float low = in[g], high = in[g], most = 0;
    for (std::size_t i = g; i < g + static_cast<std::size_t>(spec().group_size); ++i) {
      low = std::min(low, in[i]);
      high = std::max(high, in[i]);
      most = std::max(most, std::fabs(in[i]));
    }
    float allowed = 0;
    if (spec().mode == Mode::affine)
      // The step is changed a little so that one code means the edge exactly; that may clip the
      // other end by a step.
      allowed = (high - low) / static_cast<float>((1 << spec().bits) - 1) * 1.01f;
    else if (spec().bits == 4)
      allowed = most / 4;  // E2M1: half of the gap from 4 to 6, at a scale up to twice too large
    else
      allowed = most / 14;
    for (std::size_t i = g; i < g + static_cast<std::size_t>(spec().group_size); ++i)
      ASSERT_LE(std::fabs(in[i] - out[i]), allowed) << i;
  }
}

// Any grouping into ranges, in any order, by several threads, gives the same bytes.
TEST_P(EachSpec, RowsAloneEqualRowsInCompany) {
  const Tensor w = random_matrix({7, 2 * spec().group_size}, DType::bf16, 3);
  const QuantizedTensors whole = quantize(w.view(), spec());
  QuantizedTensors parts = make_quantized(w.view(), spec());
  std::vector<std::thread> threads;
  for (const auto& [begin, end] : {std::pair{4, 7}, {0, 1}, {1, 4}})
    threads.emplace_back(
        [&, begin = begin, end = end] { quantize_rows(w.view(), begin, end, parts); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(parts.packed.data, whole.packed.data);
  EXPECT_EQ(parts.scales.data, whole.scales.data);
  if (whole.biases) {
    EXPECT_EQ(parts.biases->data, whole.biases->data);
  }

  const Tensor all = dequantize(whole.view(), DType::f16);
  std::vector<std::byte> row(all.data.size() / 7);
  for (std::int64_t r = 0; r < 7; ++r) {
    dequantize_rows(whole.view(), r, r + 1, DType::f16, row.data());
    EXPECT_EQ(std::memcmp(row.data(), all.data.data() + r * static_cast<std::int64_t>(row.size()),
                          row.size()),
              0);
  }
}

TEST_P(EachSpec, AZeroGroupDecodesToExactZeros) {
  std::vector<float> values(static_cast<std::size_t>(2 * spec().group_size), 0.0f);
  values.back() = 1.5f;  // the second group is not zero
  const Tensor w = tensor_of(values, DType::bf16, {1, 2 * spec().group_size});
  const std::vector<float> out =
      values_of(dequantize(quantize(w.view(), spec()).view(), DType::bf16).view());
  for (int i = 0; i < spec().group_size; ++i) ASSERT_EQ(out[static_cast<std::size_t>(i)], 0.0f);
}

TEST_P(EachSpec, NoRowsIsNoWork) {
  const Tensor w{{}, DType::f16, {0, spec().group_size}};
  const QuantizedTensors made = quantize(w.view(), spec());
  EXPECT_EQ(made.packed.shape, (Shape{0, spec().group_size * spec().bits / 32}));
  EXPECT_EQ(dequantize(made.view(), DType::f16).shape, w.shape);
}

TEST_P(EachSpec, RefusesWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()})
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      std::vector<float> values(static_cast<std::size_t>(4 * spec().group_size), 1.0f);
      const std::size_t at = static_cast<std::size_t>(3 * spec().group_size + 5);
      values[at] = bad;
      const Tensor w = tensor_of(values, type, {2, 2 * spec().group_size});
      expect_error(ErrorCode::invalid_argument,
                   "quantize: row 1: column " + std::to_string(spec().group_size + 5),
                   [&] { quantize(w.view(), spec()); });
    }
}

TEST_P(EachSpec, RefusesAColumnCountThatIsNoMultipleOfTheGroup) {
  for (const std::int64_t k :
       {0, 1, spec().group_size - 1, spec().group_size + 1, spec().group_size / 2 * 3}) {
    const Tensor w = random_matrix({2, k}, DType::f32, 4);
    expect_error(ErrorCode::invalid_argument, shape_text({2, k}),
                 [&] { quantize(w.view(), spec()); });
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EachSpec, ::testing::ValuesIn(all_specs()), spec_name);

TEST(Quantize, RefusesWrongTypesAndShapes) {
  const QuantSpec spec = make_spec(Mode::affine);
  for (const DType type : {DType::f64, DType::u8, DType::u32, DType::i32, DType::complex64}) {
    const Tensor w{std::vector<std::byte>(2 * 64 * 8), type, {2, 64}};
    expect_error(ErrorCode::invalid_argument, "type " + std::string(to_string(type)),
                 [&] { quantize(w.view(), spec); });
  }
  const Tensor line = random_matrix({64}, DType::f32, 5);
  expect_error(ErrorCode::invalid_argument, "shape [64]", [&] { quantize(line.view(), spec); });
  const TensorView vast{line.data.data(), DType::f32, {std::int64_t{1} << 60, 64}};
  expect_error(ErrorCode::exhausted, "does not fit", [&] { quantize(vast, spec); });
}

TEST(Quantize, RefusesPairsThatDoNotExist) {
  const Tensor w = random_matrix({1, 128}, DType::f32, 6);
  for (const QuantSpec spec : {QuantSpec{Mode::affine, 7, 64}, QuantSpec{Mode::affine, 4, 16},
                               QuantSpec{Mode::affine, 0, 64}, QuantSpec{Mode::mxfp4, 8, 32},
                               QuantSpec{Mode::mxfp8, 8, 64}, QuantSpec{Mode::nvfp4, 4, 32}})
    expect_error(ErrorCode::invalid_argument, "expected", [&] { quantize(w.view(), spec); });
}

TEST(Quantize, TensorScaleIsForNvfp4AndPositive) {
  const Tensor w = random_matrix({1, 128}, DType::f32, 7);
  for (const Mode mode : {Mode::affine, Mode::mxfp4, Mode::mxfp8})
    expect_error(ErrorCode::invalid_argument, "only nvfp4",
                 [&] { quantize(w.view(), make_spec(mode), 2.0f); });
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY, 1e-40f})
    expect_error(ErrorCode::invalid_argument, "positive number",
                 [&] { quantize(w.view(), make_spec(Mode::nvfp4), bad); });
}

// With the whole tensor's largest value as tensor scale, small and large groups keep the same
// relative error.
TEST(Quantize, TensorScaleIsUsedAndStored) {
  std::vector<float> values(32);
  for (std::size_t i = 0; i < 32; ++i) values[i] = i < 16 ? 1000.0f : 0.25f;
  const Tensor w = tensor_of(values, DType::f32, {1, 32});
  const QuantizedTensors made = quantize(w.view(), make_spec(Mode::nvfp4), 1000.0f);
  ASSERT_TRUE(made.tensor_scale);
  EXPECT_EQ(tensor_scale_of(made.view(), 0), 1000.0f);
  EXPECT_EQ(made.scales.data[0], std::byte{0x7e});  // 448: the largest block
  const std::vector<float> out = values_of(dequantize(made.view(), DType::f32).view());
  EXPECT_FLOAT_EQ(out[0], 1000.0f);
  EXPECT_NEAR(out[31], 0.25f, 0.02f);
}

TEST(Quantize, AScaleBeyondTheTypeIsRefusedNotStoredAsInfinity) {
  std::vector<float> values(64, 0.0f);
  values[0] = 65504.0f;
  values[1] = -65504.0f;
  const Tensor w = tensor_of(values, DType::f16, {1, 64});
  expect_error(ErrorCode::invalid_argument, "does not fit f16",
               [&] { quantize(w.view(), make_spec(Mode::affine, 1)); });
  EXPECT_NO_THROW(quantize(w.view(), make_spec(Mode::affine, 2)));
  values[0] = 3e38f;
  values[1] = -3e38f;
  const Tensor huge = tensor_of(values, DType::f32, {1, 64});
  expect_error(ErrorCode::invalid_argument, "does not fit f32",
               [&] { quantize(huge.view(), make_spec(Mode::affine, 4)); });
}

// Narrow groups far from zero count their edge in millions of steps, odd numbers among them: all
// bits of that count are used (contract.md, section 3).
TEST(Quantize, NarrowGroupsFarFromZeroKeepTheirEdge) {
  int odd = 0;
  for (int i = 0; i < 50; ++i) {
    const float value = 0.9f + 0.0123457f * static_cast<float>(i);
    const float steps = std::rint(value / -1e-7f);
    if (std::fmod(steps, 2.0f) != 0) ++odd;
    const Tensor w = tensor_of(std::vector<float>(32, value), DType::f32, {1, 32});
    const QuantizedTensors made = quantize(w.view(), make_spec(Mode::affine, 4, 32));
    EXPECT_EQ(values_of(made.scales.view())[0], value / steps);
    EXPECT_EQ(values_of(dequantize(made.view(), DType::f32).view())[31], value);
  }
  EXPECT_GT(odd, 5);
}

// The last bits of a decoded value: one rounding of the exact s*q + b, also where the sum has more
// bits than a double.
TEST(Dequantize, RoundsOnce) {
  // s*q = 1 + 2^-8, half-way between two bf16 numbers; b, far below what a double holds beside it,
  // decides.
  for (const auto& [bias, want] :
       {std::pair{0x1p-100f, 1.0078125f}, {-0x1p-100f, 1.0f}, {0.0f, 1.0f}}) {
    QuantizedTensors made =
        quantize(random_matrix({1, 32}, DType::f32, 8).view(), make_spec(Mode::affine, 1, 32));
    const float scale = 1.0f + 0x1p-8f;
    from_f32(&scale, DType::f32, made.scales.data.data(), 1);
    from_f32(&bias, DType::f32, made.biases->data.data(), 1);
    std::memset(made.packed.data.data(), 0xff, made.packed.data.size());
    EXPECT_EQ(values_of(dequantize(made.view(), DType::bf16).view())[0], want);
  }
}

TEST(Dequantize, RefusesOtherOutputTypes) {
  const QuantizedTensors made =
      quantize(random_matrix({1, 64}, DType::f32, 9).view(), make_spec(Mode::affine));
  for (const DType type : {DType::f64, DType::u8, DType::i32})
    expect_error(ErrorCode::invalid_argument, "output type " + std::string(to_string(type)),
                 [&] { dequantize(made.view(), type); });
}

TEST(Dequantize, StackedExpertsHaveTheirOwnTensorScales) {
  const Tensor w = random_matrix({2, 3, 32}, DType::f32, 10);
  QuantizedTensors made = quantize(w.view(), make_spec(Mode::nvfp4));
  const std::vector<float> plain = values_of(dequantize(made.view(), DType::f32).view());
  made.tensor_scale = tensor_of({2688.0f, 2 * 2688.0f}, DType::f32, {2});
  const std::vector<float> scaled = values_of(dequantize(made.view(), DType::f32).view());
  for (std::size_t i = 0; i < plain.size(); ++i)
    EXPECT_EQ(scaled[i], plain[i] * (i < plain.size() / 2 ? 1.0f : 2.0f));
}

TEST(Dequantize, SpansCutRowsAtGroups) {
  const QuantizedTensors made =
      quantize(random_matrix({3, 256}, DType::f16, 11).view(), make_spec(Mode::affine, 3, 32));
  const std::vector<float> whole = values_of(dequantize(made.view(), DType::f32).view());
  std::vector<float> part(96);
  dequantize_span(made.view(), 2, 64, 96, DType::f32, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 2 * 256 + 64));
}

}  // namespace
}  // namespace stepless
