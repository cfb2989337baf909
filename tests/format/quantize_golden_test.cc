// quantize and dequantize against the fixtures in golden/ops: codes, scales and biases bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "base/json.hpp"
#include "format/dequantize.hpp"
#include "format/dtype.hpp"
#include "format/quantize.hpp"
#include "format/safetensors.hpp"
#include "tests/support/paths.hpp"

namespace stepless {
namespace {

const SafetensorsFile& fixture(const std::string& name) {
  static std::map<std::string, std::unique_ptr<SafetensorsFile>> files;
  auto& file = files[name];
  if (!file) file = std::make_unique<SafetensorsFile>(test::golden_dir() + "/ops/" + name);
  return *file;
}

::testing::AssertionResult same_bytes(const TensorView& want, const TensorView& got) {
  if (want.type != got.type || want.shape != got.shape)
    return ::testing::AssertionFailure()
           << to_string(got.type) << shape_text(got.shape) << " instead of " << to_string(want.type)
           << shape_text(want.shape);
  const std::int64_t bytes = bytes_of(want.shape, want.type, "test");
  for (std::int64_t i = 0; i < bytes; ++i)
    if (want.data[i] != got.data[i])
      return ::testing::AssertionFailure()
             << "byte " << i << " of " << bytes << ": " << std::to_integer<int>(got.data[i])
             << " instead of " << std::to_integer<int>(want.data[i]);
  return ::testing::AssertionSuccess();
}

// The distance between two values of `type`, in steps of that type at `want`.
double ulps(DType type, double want, float got) {
  const int digits = type == DType::f32 ? 24 : type == DType::f16 ? 11 : 8;
  const int least = type == DType::f16 ? -24 : type == DType::bf16 ? -133 : -149;
  int exponent = 0;
  std::frexp(want, &exponent);
  return std::fabs(want - static_cast<double>(got)) /
         std::ldexp(1.0, std::max(exponent - digits, least));
}

class Quantize : public ::testing::TestWithParam<Json> {};

std::vector<Json> cases() {
  const Json all = read_json(test::golden_dir() + "/ops/quantize.json");
  return {all.begin(), all.end()};
}

TEST_P(Quantize, MatchesFixture) {
  const Json& c = GetParam();
  const std::string name = c["name"];
  const SafetensorsFile& file = fixture(c["file"]);
  const auto array = [&](const char* part) -> const TensorView& {
    return *file.find(name + "." + part);
  };
  const QuantSpec spec = make_spec(parse_mode(c["mode"].get<std::string>()), c["bits"].get<int>(),
                                   c["group_size"].get<int>());
  std::optional<float> tensor_scale;
  if (c.contains("tensor_scale")) tensor_scale = c["tensor_scale"].get<float>();
  const QuantizedTensors made = quantize(array("input"), spec, tensor_scale);
  EXPECT_TRUE(same_bytes(array("w"), made.packed.view()));
  EXPECT_TRUE(same_bytes(array("scales"), made.scales.view()));
  ASSERT_EQ(made.biases.has_value(), spec.mode == Mode::affine);
  if (made.biases) {
    EXPECT_TRUE(same_bytes(array("biases"), made.biases->view()));
  }

  const TensorView& want = array("dequantized");
  ASSERT_EQ(want.type, DType::f64);
  const DType type = array("input").type;
  for (const DType out : {type, DType::f32}) {
    const Tensor got = dequantize(made.view(), out);
    ASSERT_EQ(got.shape, want.shape);
    std::vector<float> values(static_cast<std::size_t>(count_of(want.shape, name)));
    to_f32(got.data.data(), out, values.data(), static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      double exact = 0;
      std::memcpy(&exact, want.data + 8 * i, 8);
      // Half a step: one rounding. The tensor scale's quotient costs the reference and us another
      // rounding in f64.
      ASSERT_LE(ulps(out, exact, values[i]), 0.5000001)
          << name << " at " << i << ": " << exact << " became " << values[i];
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<Json>& each) {
  return each.param.at("name").get<std::string>();
}

INSTANTIATE_TEST_SUITE_P(Golden, Quantize, ::testing::ValuesIn(cases()), name_of);

TEST(QuantizeGolden, CoversEveryFormat) { EXPECT_GE(cases().size(), 73u); }

}  // namespace
}  // namespace stepless
