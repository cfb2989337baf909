#include "format/dtype.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;
constexpr double kInf = std::numeric_limits<double>::infinity();

// What a code of a format with `exponent_bits` and `mantissa_bits` means, from the definition.
double defined_value(std::uint32_t code, int exponent_bits, int mantissa_bits) {
  const std::uint32_t mantissa = code & ((1u << mantissa_bits) - 1);
  const std::uint32_t exponent = code >> mantissa_bits & ((1u << exponent_bits) - 1);
  const double sign = code >> (exponent_bits + mantissa_bits) != 0 ? -1 : 1;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == (1u << exponent_bits) - 1)
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * kInf;
  const int shift = exponent == 0 ? 1 - bias : static_cast<int>(exponent) - bias;
  const double head = exponent == 0 ? 0 : 1;
  return sign * std::ldexp(head + std::ldexp(static_cast<double>(mantissa), -mantissa_bits), shift);
}

struct Format {
  DType type;
  int exponent_bits, mantissa_bits;
  float (*decode)(std::uint16_t);
  std::uint16_t (*encode)(float);
  std::uint16_t (*encode_f64)(double);
};

class Halves : public ::testing::TestWithParam<Format> {
 protected:
  bool is_nan(std::uint32_t code) const {
    const auto& [type, e, m, decode, encode, encode_f64] = GetParam();
    return std::isnan(defined_value(code, e, m));
  }
};

TEST_P(Halves, EveryCodeDecodesToItsDefinitionAndBack) {
  const auto& [type, e, m, decode, encode, encode_f64] = GetParam();
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const auto half = static_cast<std::uint16_t>(code);
    const float value = decode(half);
    const double want = defined_value(code, e, m);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(value)) << code;
      // A NaN stays one, with its sign and payload, made quiet.
      ASSERT_EQ(encode(value), half | 1u << (m - 1)) << code;
      ASSERT_TRUE(is_nan(encode_f64(static_cast<double>(value))));
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), want) << code;
    ASSERT_EQ(std::signbit(value), code >= 0x8000);
    ASSERT_EQ(encode(value), half) << code;
    ASSERT_EQ(encode_f64(want), half) << code;
  }
}

// Between every two neighbours: the middle goes to the even code, the floats beside it to the
// nearer one.
TEST_P(Halves, EveryTieGoesToEven) {
  const auto& [type, e, m, decode, encode, encode_f64] = GetParam();
  const std::uint32_t infinity = ((1u << e) - 1) << m;
  for (std::uint32_t code = 0; code + 1 <= infinity; ++code) {
    const double low = defined_value(code, e, m);
    // Above the largest number: the middle to what would come next, where infinity begins.
    const double high = code + 1 == infinity ? 2 * low - defined_value(code - 1, e, m)
                                             : defined_value(code + 1, e, m);
    const double middle = (low + high) / 2;
    const auto even = static_cast<std::uint16_t>(code % 2 == 0 ? code : code + 1);
    for (const double sign : {1.0, -1.0}) {
      const std::uint32_t bit = sign < 0 ? 0x8000u : 0u;
      const auto at = static_cast<float>(sign * middle);
      if (static_cast<double>(at) == sign * middle) {  // bf16's last middles are no floats
        ASSERT_EQ(encode(at), even | bit) << code;
        ASSERT_EQ(encode(std::nextafterf(at, 0.0f)), code | bit) << code;
        ASSERT_EQ(encode(std::nextafterf(at, at * 4)), (code + 1) | bit) << code;
      }
      // A double just beside the middle, which a rounding to float first would move onto it.
      ASSERT_EQ(encode_f64(sign * middle), even | bit) << code;
      ASSERT_EQ(encode_f64(sign * std::nextafter(middle, 0.0)), code | bit) << code;
      ASSERT_EQ(encode_f64(sign * std::nextafter(middle, kInf)), (code + 1) | bit) << code;
    }
  }
}

TEST_P(Halves, OverflowIsInfinity) {
  const auto& [type, e, m, decode, encode, encode_f64] = GetParam();
  const auto infinity = static_cast<std::uint16_t>(((1u << e) - 1) << m);
  const float max = std::numeric_limits<float>::max();
  EXPECT_EQ(encode(max), infinity);
  EXPECT_EQ(encode(-max), infinity | 0x8000);
  EXPECT_EQ(encode_f64(1e300), infinity);
  EXPECT_EQ(encode_f64(-kInf), infinity | 0x8000);
  EXPECT_EQ(encode(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(encode(-std::numeric_limits<float>::denorm_min()), 0x8000);
  EXPECT_EQ(encode_f64(-1e-300), 0x8000);
}

// The bulk functions give the single function's bits, at every misalignment, and touch nothing
// else.
TEST_P(Halves, BulkEqualsSingle) {
  const auto& [type, e, m, decode, encode, encode_f64] = GetParam();
  std::mt19937 random(7);
  std::vector<float> values(97);
  for (float& value : values) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  for (std::size_t offset = 0; offset < 4; ++offset) {
    std::vector<unsigned char> bytes(values.size() * 2 + offset + 1, 0xa5);
    from_f32(values.data(), type, bytes.data() + offset, 97);
    EXPECT_EQ(bytes.back(), 0xa5);
    std::vector<float> back(values.size());
    to_f32(bytes.data() + offset, type, back.data(), 97);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint16_t code;
      std::memcpy(&code, bytes.data() + offset + 2 * i, 2);
      EXPECT_EQ(code, encode(values[i]));
      EXPECT_EQ(std::bit_cast<std::uint32_t>(back[i]), std::bit_cast<std::uint32_t>(decode(code)));
    }
  }
}

std::string format_name(const ::testing::TestParamInfo<Format>& each) {
  return std::string(to_string(each.param.type));
}
INSTANTIATE_TEST_SUITE_P(
    Types, Halves,
    ::testing::Values(Format{DType::f16, 5, 10, f16_to_f32, f32_to_f16, f64_to_f16},
                      Format{DType::bf16, 8, 7, bf16_to_f32, f32_to_bf16, f64_to_bf16}),
    format_name);

template <class T>
void expect_converts(DType type, std::vector<T> values, std::vector<float> want) {
  std::vector<float> got(want.size());
  to_f32(values.data(), type, got.data(), static_cast<std::int64_t>(got.size()));
  EXPECT_EQ(got, want) << to_string(type);
}

TEST(DType, EveryRealTypeBecomesF32) {
  expect_converts<float>(DType::f32, {1.5f, -0.0f}, {1.5f, -0.0f});
  expect_converts<double>(DType::f64, {0.1, 1e300}, {0.1f, std::numeric_limits<float>::infinity()});
  expect_converts<std::uint8_t>(DType::u8, {0, 255}, {0, 255});
  expect_converts<std::int8_t>(DType::i8, {-128, 127}, {-128, 127});
  expect_converts<std::uint16_t>(DType::u16, {65535}, {65535});
  expect_converts<std::int16_t>(DType::i16, {-32768}, {-32768});
  expect_converts<std::uint32_t>(DType::u32, {4294967295u}, {4294967296.0f});
  expect_converts<std::int32_t>(DType::i32, {-16777217}, {-16777216.0f});
  expect_converts<std::uint64_t>(DType::u64, {~0ull}, {18446744073709551616.0f});
  expect_converts<std::int64_t>(DType::i64, {-3}, {-3});
  expect_converts<std::uint8_t>(DType::boolean, {0, 1, 2}, {0, 1, 1});
  float out = 0;
  const float pair[2] = {1, 2};
  expect_error(ErrorCode::unsupported, "complex64",
               [&] { to_f32(pair, DType::complex64, &out, 1); });
  expect_error(ErrorCode::unsupported, "i32", [&] { from_f32(pair, DType::i32, &out, 1); });
  expect_error(ErrorCode::unsupported, "boolean",
               [&] { from_f64(nullptr, DType::boolean, &out, 0); });
}

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::complex64); ++i) {
    const auto type = static_cast<DType>(i);
    EXPECT_EQ(find_safetensors_dtype(safetensors_name(type)), type);
    EXPECT_TRUE(size_of(type) == 1 || size_of(type) == 2 || size_of(type) == 4 ||
                size_of(type) == 8);
  }
  EXPECT_EQ(find_safetensors_dtype("BF16"), DType::bf16);
  for (const char* other : {"F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "f32", "", "F32 "})
    EXPECT_EQ(find_safetensors_dtype(other), std::nullopt) << other;
  EXPECT_EQ(parse_float_dtype("torch.bfloat16", "config.json"), DType::bf16);
  EXPECT_EQ(parse_float_dtype("float16", "x"), DType::f16);
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    EXPECT_EQ(parse_float_dtype(torch_name(type), "x"), type);
  expect_error(ErrorCode::unsupported, "config.json: torch_dtype: type \"float64\"",
               [] { parse_float_dtype("float64", "config.json: torch_dtype"); });
}

TEST(DType, CountsWithoutOverflow) {
  EXPECT_EQ(count_of({}, "x"), 1);
  EXPECT_EQ(count_of({3, 0, 5}, "x"), 0);
  EXPECT_EQ(bytes_of({3, 5}, DType::f64, "x"), 120);
  const std::int64_t big = std::int64_t{1} << 40;
  expect_error(ErrorCode::exhausted, "x", [=] { count_of({big, big}, "x"); });
  expect_error(ErrorCode::exhausted, "x", [=] { count_of({0, big, big}, "x"); });
  expect_error(ErrorCode::exhausted, "x", [=] { count_of({big, big, 0}, "x"); });
  expect_error(ErrorCode::exhausted, "x", [=] { bytes_of({big, big >> 18}, DType::u16, "x"); });
  expect_error(ErrorCode::invalid_argument, "x", [] { count_of({2, -1}, "x"); });
  EXPECT_EQ(shape_text({2, 64}), "[2, 64]");
  EXPECT_EQ(shape_text({}), "[]");
}

}  // namespace
}  // namespace stepless
