// The quantizer's vectors against numbers taken one by one: every format, every type, edge groups.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "format/dtype.hpp"
#include "format/quantized.hpp"
#include "tests/oracle/quantize.hpp"
#include "tests/support/random.hpp"

namespace stepless {
namespace {

using test::Random;

std::vector<QuantSpec> all_specs() {
  std::vector<QuantSpec> specs = {make_spec(Mode::mxfp4), make_spec(Mode::mxfp8),
                                  make_spec(Mode::nvfp4)};
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128}) specs.push_back({Mode::affine, bits, group});
  return specs;
}

constexpr std::int64_t kColumns = 384;  // a multiple of every group, and an odd number of words

/// Rows of one kind each: what rounds, ties, cancels, is narrow, tiny, large or of mixed zeros.
std::vector<float> edge_rows(float largest) {
  Random random(7);
  std::vector<float> rows;
  const auto row = [&](auto&& make) {
    for (std::int64_t i = 0; i < kColumns; ++i) rows.push_back(static_cast<float>(make(i)));
  };
  for (int again = 0; again < 40; ++again) row([&](auto) { return random.normal() * 0.02; });
  row([&](auto) { return random.normal() * 1e-8; });
  row([&](auto) { return random.normal() * 1e4; });
  row([](auto) { return 0.0; });
  row([](auto) { return -0.0; });
  row([](auto i) { return i % 3 == 0 ? -0.0 : 0.0; });
  row([](auto i) { return i % 2 == 0 ? 0.0 : -0.0; });
  row([](auto i) { return i % 5 == 4 ? -0.0 : static_cast<double>(i % 5); });
  row([](auto i) { return i % 5 == 4 ? 0.0 : -static_cast<double>(i % 5); });
  row([](auto i) { return static_cast<double>(i % 16) - 8; });      // codes that hit exactly
  row([](auto i) { return static_cast<double>(i % 32) / 2 - 8; });  // half-way points
  row([](auto i) { return static_cast<double>(i % 64) / 4; });
  row([](auto i) { return 1000.0 + static_cast<double>(i % 4) / 8; });  // narrow, far from zero
  row([](auto i) { return -1000.0 - static_cast<double>(i % 4) / 8; });
  row([](auto) { return 3.0; });
  row([](auto i) { return i % 32 == 31 ? -1.0 : 0.0; });  // one outlier, in the last lane
  row([](auto i) { return i % 32 == 0 ? 1.0 : 0.0; });
  row([](auto i) { return i % 2 == 0 ? -1.0 : 1.0; });  // |min| == |max|
  row([&](auto i) { return i % 7 == 0 ? static_cast<double>(largest) / 4 : 1.0; });
  row([&](auto) { return random.normal() * 6e-5; });  // f16 subnormals
  row([](auto i) { return std::ldexp(1.0, static_cast<int>(i % 40) - 30); });
  return rows;
}

class EachFormat : public ::testing::TestWithParam<QuantSpec> {};

void expect_equal(const QuantizedTensors& got, const oracle::Codes& want, DType type) {
  const auto same = [](const std::vector<std::byte>& a, const std::vector<std::uint8_t>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
  };
  EXPECT_TRUE(same(got.scales.data, want.scales)) << "scales, " << to_string(type);
  EXPECT_TRUE(!got.biases || same(got.biases->data, want.biases)) << "biases, " << to_string(type);
  EXPECT_TRUE(same(got.packed.data, oracle::packed(want.codes, kColumns, got.spec.bits)))
      << "codes, " << to_string(type);
}

TEST_P(EachFormat, VectorsGiveTheBitsOfNumbersOneByOne) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const std::vector<float> wanted = edge_rows(type == DType::f16 ? 65504.0f : 1e30f);
    const auto rows = static_cast<std::int64_t>(wanted.size()) / kColumns;
    std::vector<std::byte> stored(wanted.size() * static_cast<std::size_t>(size_of(type)));
    from_f32(wanted.data(), type, stored.data(), rows * kColumns);
    std::vector<float> w(wanted.size());
    to_f32(stored.data(), type, w.data(), rows * kColumns);
    const TensorView view{stored.data(), type, {rows, kColumns}};
    expect_equal(quantize(view, GetParam()), oracle::quantize(w, type, GetParam()), type);
    if (GetParam().mode == Mode::nvfp4)
      expect_equal(quantize(view, GetParam(), 3.5f), oracle::quantize(w, type, GetParam(), 3.5f),
                   type);
  }
}

INSTANTIATE_TEST_SUITE_P(Scalar, EachFormat, ::testing::ValuesIn(all_specs()),
                         [](const auto& each) {
                           return std::string(to_string(each.param.mode)) + "_b" +
                                  std::to_string(each.param.bits) + "_g" +
                                  std::to_string(each.param.group_size);
                         });

}  // namespace
}  // namespace stepless
