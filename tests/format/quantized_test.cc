// check_quantized and check_codes: each refusal of contract.md, section 6, and hardening L5, with
// its words.
#include "format/quantized.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "format/dtype.hpp"
#include "format/quantize.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

Tensor filled(DType type, Shape shape, unsigned char byte = 0x11) {
  const auto bytes = static_cast<std::size_t>(bytes_of(shape, type, "test"));
  return {std::vector<std::byte>(bytes, std::byte{byte}), type, std::move(shape)};
}

// The arrays of one weight, each of which a test may spoil.
struct Arrays {
  QuantSpec spec;
  Tensor packed, scales, biases, tensor_scale;
  bool has_biases = false, has_tensor_scale = false;
  QuantizedView view() const {
    return {spec, packed.view(), scales.view(), has_biases ? biases.view() : TensorView{},
            has_tensor_scale ? tensor_scale.view() : TensorView{}};
  }
};

Arrays good(Mode mode, const Shape& leading = {2048}, std::int64_t k = 2048) {
  Arrays arrays;
  arrays.spec = make_spec(mode);
  Shape shape = leading;
  shape.push_back(k * arrays.spec.bits / 32);
  arrays.packed = filled(DType::u32, shape);
  shape.back() = k / arrays.spec.group_size;
  const bool affine = mode == Mode::affine;
  arrays.scales = filled(affine ? DType::bf16 : DType::u8, shape);
  if (affine) arrays.biases = filled(DType::bf16, shape);
  arrays.has_biases = affine;
  return arrays;
}

void expect_refused(const Arrays& arrays, std::string_view words) {
  expect_error(ErrorCode::invalid_argument, words,
               [&] { check_quantized(arrays.view(), "layers.3.mlp.up_proj"); });
}

TEST(CheckQuantized, AcceptsWhatTheContractHas) {
  for (const Mode mode : {Mode::affine, Mode::mxfp4, Mode::mxfp8, Mode::nvfp4}) {
    EXPECT_NO_THROW(check_quantized(good(mode).view(), "w"));
    EXPECT_NO_THROW(check_quantized(good(mode, {3, 4}, 128).view(), "w"));
    EXPECT_NO_THROW(check_quantized(good(mode, {0}, 128).view(), "w"));
    EXPECT_NO_THROW(check_codes(good(mode).view(), "w"));
  }
}

TEST(CheckQuantized, ScalesThatDoNotFitAreShownBesideWhatWould) {
  Arrays a = good(Mode::affine);
  a.scales = filled(DType::bf16, {2048, 31});
  expect_refused(a,
                 "layers.3.mlp.up_proj.scales: shape [2048, 31] does not fit weight [2048, 256], "
                 "affine 4 bits, "
                 "group 64; expected [2048, 32]");
  a.scales = filled(DType::bf16, {2047, 32});
  expect_refused(a, "scales: shape [2047, 32]");
  a.scales = filled(DType::bf16, {1, 2048, 32});
  expect_refused(a, "scales: shape [1, 2048, 32]");
}

TEST(CheckQuantized, PackedWidthMustHoldWholeGroups) {
  Arrays a = good(Mode::affine);
  a.packed = filled(DType::u32, {2048, 255});
  expect_refused(a, "weight: shape [2048, 255]");
  expect_refused(a, "expected a multiple of 8 columns");
  a.spec = make_spec(Mode::affine, 5, 64);  // 256 columns are no whole 5-bit elements
  a.packed = filled(DType::u32, {2048, 256});
  expect_refused(a, "expected a multiple of 10 columns");
  a.packed = filled(DType::u32, {2048, 0});
  expect_refused(a, "weight: shape [2048, 0]");
  a.packed = filled(DType::u32, {256});
  expect_refused(a, "two dimensions");
}

TEST(CheckQuantized, Types) {
  for (const Mode mode : {Mode::affine, Mode::mxfp4, Mode::nvfp4}) {
    Arrays a = good(mode);
    a.packed.type = DType::i32;
    expect_refused(a, "weight: type i32");
    a = good(mode);
    a.scales.type = DType::f64;
    expect_refused(a, "scales: type f64");
    a.scales.type = mode == Mode::affine ? DType::u8 : DType::f32;
    expect_refused(a, mode == Mode::affine ? "expected f32, f16 or bf16" : "expected u8");
  }
}

TEST(CheckQuantized, BiasesMissingPresentOrDifferent) {
  Arrays a = good(Mode::affine);
  a.has_biases = false;
  expect_refused(a, "biases: missing");
  a = good(Mode::affine);
  a.biases.type = DType::f16;
  expect_refused(a, "biases: type f16; expected bf16");
  a = good(Mode::affine);
  a.biases = filled(DType::bf16, {2048, 31});
  expect_refused(a, "biases: shape [2048, 31]; expected [2048, 32]");
  a = good(Mode::mxfp4);
  a.biases = filled(DType::u8, {2048, 64});
  a.has_biases = true;
  expect_refused(a, "biases: present, shape [2048, 64]; mode mxfp4 has none");
  QuantizedView view = good(Mode::affine).view();
  view.scales = {};
  expect_error(ErrorCode::invalid_argument, "w.scales: missing",
               [&] { check_quantized(view, "w"); });
}

TEST(CheckQuantized, PairsThatDoNotExist) {
  Arrays a = good(Mode::affine);
  a.spec.bits = 7;
  expect_refused(a, "layers.3.mlp.up_proj: bits: 7 in mode affine; expected 1, 2, 3, 4, 5, 6, 8");
  a.spec = {Mode::affine, 4, 16};
  expect_refused(a, "group_size: 16 in mode affine; expected 32, 64, 128");
  a.spec = {Mode::nvfp4, 4, 32};
  expect_refused(a, "group_size: 32 in mode nvfp4; expected 16");
}

TEST(CheckQuantized, TensorScale) {
  const auto with = [](Mode mode, Tensor scale) {
    Arrays a = good(mode, {3, 64}, 128);
    a.tensor_scale = std::move(scale);
    a.has_tensor_scale = true;
    return a;
  };
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3}, Shape{3, 1, 1}})
    EXPECT_NO_THROW(check_quantized(with(Mode::nvfp4, filled(DType::f32, shape)).view(), "w"));
  expect_refused(with(Mode::nvfp4, filled(DType::f32, {2})),
                 "global_scale: shape [2]; expected 3 elements");
  expect_refused(with(Mode::nvfp4, filled(DType::f32, {0})), "global_scale: shape [0]");
  expect_refused(with(Mode::nvfp4, filled(DType::f16, {3})),
                 "global_scale: type f16; expected f32");
  expect_refused(with(Mode::mxfp4, filled(DType::f32, {3})), "global_scale: present in mode mxfp4");
  expect_refused(with(Mode::nvfp4, filled(DType::f32, {3}, 0)), "global_scale: 0 at 0");
  expect_refused(with(Mode::nvfp4, filled(DType::f32, {3}, 0xff)), "positive number");
}

TEST(CheckQuantized, SizesWhoseBytesOverflow) {
  const std::byte nothing{};
  QuantizedView view = good(Mode::affine).view();
  view.packed = {&nothing, DType::u32, {std::int64_t{1} << 59, 8}};
  view.scales = view.biases = {&nothing, DType::bf16, {std::int64_t{1} << 59, 1}};
  expect_error(ErrorCode::exhausted, "does not fit", [&] { check_quantized(view, "w"); });
  view.packed.shape = {-1, 8};
  expect_error(ErrorCode::invalid_argument, "-1", [&] { check_quantized(view, "w"); });
}

// A NaN at the first and last byte and on both sides of the blocks the search works in.
TEST(CheckCodes, FindsEveryNaN) {
  struct Place {
    Mode mode;
    bool in_scales;
    unsigned char nan, harmless;
    const char* words;
  };
  for (const Place& place : {Place{Mode::mxfp4, true, 0xff, 0x7f, "w.scales: byte"},
                             Place{Mode::mxfp8, true, 0xff, 0x7f, "NaN of E8M0"},
                             Place{Mode::mxfp8, false, 0x7f, 0x7e, "w.weight: byte"},
                             Place{Mode::mxfp8, false, 0xff, 0xfe, "NaN of E4M3"},
                             Place{Mode::nvfp4, true, 0x7f, 0x7e, "NaN of E4M3"},
                             Place{Mode::nvfp4, true, 0xff, 0xfe, "0xff"}}) {
    Arrays a = good(place.mode, {67}, 64 * 32);
    std::vector<std::byte>& data = place.in_scales ? a.scales.data : a.packed.data;
    for (const std::size_t at :
         {std::size_t{0}, std::size_t{1023}, std::size_t{1024}, data.size() - 1}) {
      const std::byte before = data[at];
      data[at] = std::byte{place.harmless};
      EXPECT_NO_THROW(check_codes(a.view(), "w"));
      data[at] = std::byte{place.nan};
      expect_error(ErrorCode::corrupt, place.words, [&] { check_codes(a.view(), "w"); });
      expect_error(ErrorCode::corrupt, "byte " + std::to_string(at),
                   [&] { check_codes(a.view(), "w"); });
      data[at] = before;
    }
  }
  // In the other modes every byte is a number.
  Arrays a = good(Mode::mxfp4);
  a.packed = filled(DType::u32, a.packed.shape, 0xff);
  EXPECT_NO_THROW(check_codes(a.view(), "w"));
}

TEST(MakeSpec, DefaultsAndNames) {
  EXPECT_EQ(make_spec(Mode::affine), (QuantSpec{Mode::affine, 4, 64}));
  EXPECT_EQ(make_spec(Mode::mxfp4), (QuantSpec{Mode::mxfp4, 4, 32}));
  EXPECT_EQ(make_spec(Mode::mxfp8), (QuantSpec{Mode::mxfp8, 8, 32}));
  EXPECT_EQ(make_spec(Mode::nvfp4), (QuantSpec{Mode::nvfp4, 4, 16}));
  EXPECT_EQ(make_spec(Mode::affine, 6), (QuantSpec{Mode::affine, 6, 64}));
  for (const Mode mode : {Mode::affine, Mode::mxfp4, Mode::mxfp8, Mode::nvfp4})
    EXPECT_EQ(parse_mode(to_string(mode)), mode);
  expect_error(ErrorCode::invalid_argument,
               "\"q4_0\" is unknown; expected affine, mxfp4, mxfp8 or nvfp4",
               [] { parse_mode("q4_0"); });
}

}  // namespace
}  // namespace stepless
