// Every error of contract.md, section 6, that arrays can cause: each through the door, with the
// values in its message.
#include "ops/matmul_checks.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/context.hpp"
#include "tests/ops/arrays.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {
using test::expect_error;
using test::random_floats;
using test::random_packed;

constexpr ErrorCode kBad = ErrorCode::invalid_argument;

class MatmulErrors : public ::testing::Test {
 protected:
  Context context{1};
  test::FloatArray x_ = random_floats(DType::bf16, {3, 128}, 1);
  test::PackedArray w_ = random_packed({}, DType::bf16, {}, 5, 128, 2);
  test::PackedArray experts_ = random_packed({}, DType::bf16, {4}, 5, 128, 3);
  test::PackedArray fp_ = random_packed(make_spec(Mode::nvfp4), DType::u8, {2}, 5, 128, 4);
  std::vector<std::uint8_t> bytes_ = std::vector<std::uint8_t>(1 << 16);

  TensorView x = x_.view();
  QuantizedView w = w_.view();

  TensorView some(DType type, Shape shape) { return test::view_of(bytes_, type, std::move(shape)); }
  void refuses(std::string_view words, ErrorCode code = kBad,
               Transpose transpose = Transpose::yes) {
    expect_error(code, words, [&] { quantized_matmul(context, x, w, transpose); });
  }
};

TEST_F(MatmulErrors, NothingIsWrongWithTheStart) {
  EXPECT_EQ(quantized_matmul(context, x, w).shape, (Shape{3, 5}));
}

TEST_F(MatmulErrors, UnknownMode) {
  w.spec.mode = static_cast<Mode>(9);
  refuses("mode: 9");
  expect_error(kBad, "\"q4_0\" is unknown", [] { parse_mode("q4_0"); });
}

TEST_F(MatmulErrors, XThatIsNoFloat) {
  for (const DType type : {DType::f64, DType::i32, DType::u8, DType::boolean, DType::complex64}) {
    x.type = type;
    refuses(fmt::format("x: type {}; expected f32, f16 or bf16", to_string(type)));
  }
}

TEST_F(MatmulErrors, ScalesOfAnotherType) {
  for (const DType type : {DType::f64, DType::i32, DType::u8, DType::u32}) {
    w.scales.type = w.biases.type = type;
    refuses(fmt::format("scales: type {} in mode affine", to_string(type)));
  }
  w = fp_.view();
  x = some(DType::f32, {128});
  w.scales.type = DType::bf16;
  refuses("scales: type bf16 in mode nvfp4; expected u8");
}

TEST_F(MatmulErrors, BiasesOfAnotherType) {
  w.biases.type = DType::f16;
  refuses("biases: type f16; expected bf16");
}

TEST_F(MatmulErrors, BitsAndGroupsThatDoNotExist) {
  for (const int bits : {0, -4, 7, 9, 16, 32}) {
    w.spec = {Mode::affine, bits, 64};
    refuses(fmt::format("bits: {} in mode affine", bits));
  }
  for (const int group : {0, -64, 16, 48, 256}) {
    w.spec = {Mode::affine, 4, group};
    refuses(fmt::format("group_size: {} in mode affine", group));
  }
  for (const auto& [spec, words] :
       {std::pair{QuantSpec{Mode::mxfp4, 8, 32}, "bits: 8 in mode mxfp4"},
        std::pair{QuantSpec{Mode::mxfp8, 4, 32}, "bits: 4 in mode mxfp8"},
        std::pair{QuantSpec{Mode::nvfp4, 4, 32}, "group_size: 32 in mode nvfp4"},
        std::pair{QuantSpec{Mode::mxfp4, 4, 16}, "group_size: 16 in mode mxfp4"}}) {
    w.spec = spec;
    refuses(words);
  }
}

TEST_F(MatmulErrors, ColumnsThatAreNoWholeGroups) {
  w.packed = some(DType::u32, {5, 12});  // 96 columns
  refuses("[5, 12]: 12 packed columns hold no whole groups of affine 4 bits, group 64");
  w.spec.bits = 3;
  w.packed = some(DType::u32, {5, 8});  // 85.3
  refuses("8 packed columns");
}

TEST_F(MatmulErrors, BiasesMissingOrPresent) {
  w.biases = {};
  refuses("biases: missing; mode affine");
  w = fp_.view();
  x = some(DType::f32, {128});
  w.biases = w.scales;
  refuses("biases: present, shape [2, 5, 8]; mode nvfp4 has none");
}

TEST_F(MatmulErrors, ScalesMissing) {
  w.scales = {};
  refuses("scales: missing");
}

TEST_F(MatmulErrors, PackedThatIsNoU32) {
  w.packed.type = DType::i32;
  refuses("weight: type i32; a packed weight is u32");
}

TEST_F(MatmulErrors, PackedOfOneDimension) {
  w.packed = some(DType::u32, {16});
  refuses("weight: shape [16]; expected two dimensions or more");
}

TEST_F(MatmulErrors, ScalesAndBiasesShapes) {
  w.scales = some(DType::bf16, {5, 1});
  refuses(
      "scales: shape [5, 1] does not fit weight [5, 16], affine 4 bits, group 64; expected [5, 2]");
  w.scales = some(DType::bf16, {4, 2});  // rows included
  refuses("scales: shape [4, 2] does not fit weight [5, 16]");
  w.scales = some(DType::bf16, {1, 5, 2});
  refuses("scales: shape [1, 5, 2]");
  w = w_.view();
  w.biases = some(DType::bf16, {5, 3});
  refuses("biases: shape [5, 3]; expected [5, 2]");
}

TEST_F(MatmulErrors, InnerDimensions) {
  x = some(DType::bf16, {3, 64});
  refuses("x: last dimension 64 of shape [3, 64] does not fit w (n, words) [5, 16]; expected 128");
  x = some(DType::bf16, {3, 6});
  refuses("x: last dimension 6 of shape [3, 6] does not fit w (k, words) [5, 16]; expected 5", kBad,
          Transpose::no);
  x = some(DType::bf16, {3, 0});
  refuses("x: last dimension 0");
}

TEST_F(MatmulErrors, XWithoutDimensions) {
  x = some(DType::bf16, {});
  refuses("x: shape [] has no last dimension");
}

TEST_F(MatmulErrors, NoReduction) {
  x = some(DType::bf16, {3, 0});
  w.packed = some(DType::u32, {5, 0});
  w.scales = w.biases = some(DType::bf16, {5, 0});
  refuses("[5, 0]: 0 packed columns");
  w.packed = some(DType::u32, {0, 16});
  w.scales = w.biases = some(DType::bf16, {0, 2});
  refuses("k = 0 in shape [0, 16]", kBad, Transpose::no);
}

TEST_F(MatmulErrors, BatchesThatDoNotBroadcast) {
  w = experts_.view();
  x = some(DType::bf16, {3, 2, 128});
  refuses("leading dimensions [3] and [4] do not broadcast: 3 against 4");
}

TEST_F(MatmulErrors, TensorScales) {
  x = some(DType::f32, {128});
  w = fp_.view();
  const std::vector<float> numbers = {1, 2, 0, -1, HUGE_VALF, NAN};
  const auto scale = [&](std::int64_t from, Shape shape) {
    return TensorView{reinterpret_cast<const std::byte*>(numbers.data() + from), DType::f32,
                      std::move(shape)};
  };
  w.tensor_scale = scale(0, {2});
  EXPECT_EQ(quantized_matmul(context, x, w).shape, (Shape{2, 5}));
  w.tensor_scale = scale(0, {3});
  refuses("global_scale: shape [3]; expected 2 elements, one per matrix");
  w.tensor_scale = scale(0, {0});
  refuses("global_scale: shape [0]");
  for (const std::int64_t bad : {2, 3, 4, 5}) {
    w.tensor_scale = scale(bad, {});
    refuses("expected a positive number");
  }
  w.tensor_scale = scale(0, {});
  w.tensor_scale.type = DType::f16;
  refuses("global_scale: type f16; expected f32");
  w = w_.view();
  x = x_.view();
  w.tensor_scale = scale(0, {});
  refuses("global_scale: present in mode affine; only nvfp4 has one");
}

TEST_F(MatmulErrors, SizesThatOverflow) {
  const std::int64_t huge = std::int64_t{1} << 61;
  w.packed.shape = {huge, huge};
  refuses("w", ErrorCode::exhausted);
  w = w_.view();
  x.shape = {huge, huge, 128};
  refuses("x", ErrorCode::exhausted);
  x.shape = {-3, 128};
  refuses("negative");
  // Each operand fits, their product does not.
  const test::FloatArray row = random_floats(DType::f32, {1}, 9);
  TensorView tall = row.view(), wide = row.view();
  tall.shape = wide.shape = {std::int64_t{1} << 31, std::int64_t{1} << 8};
  tall.shape = {std::int64_t{1} << 40, 1}, wide.shape = {std::int64_t{1} << 40, 1};
  expect_error(ErrorCode::exhausted, "y", [&] { linear(context, tall, wide); });
}

TEST_F(MatmulErrors, NoMemoryForTheResult) {
  const test::FloatArray row = random_floats(DType::f32, {1}, 9);
  TensorView tall = row.view(), wide = row.view();
  tall.shape = {std::int64_t{1} << 30, 1}, wide.shape = {std::int64_t{1} << 30, 1};
  expect_error(ErrorCode::exhausted, "4611686018427387904 bytes, shape [1073741824, 1073741824]",
               [&] { linear(context, tall, wide); });
}

TEST_F(MatmulErrors, NullData) {
  x.data = nullptr;
  refuses("x: null data for shape [3, 128]; expected 768 bytes");
  x = x_.view();
  for (TensorView* view : {&w.packed, &w.scales, &w.biases}) {
    const TensorView kept = *view;
    view->data = nullptr;
    refuses("null data for shape");
    *view = kept;
  }
}

TEST_F(MatmulErrors, GatherIndices) {
  w = experts_.view();
  x = some(DType::bf16, {6, 1, 128});
  GatherIndices indices;
  const auto refuse = [&](std::string_view words) {
    expect_error(kBad, words, [&] { gather_qmm(context, x, w, indices); });
  };
  const std::vector<std::int32_t> values = {0, 3, 4, -1, 0, 1};
  const auto slice = [&](std::int64_t from, std::int64_t count) {
    return TensorView{
        reinterpret_cast<const std::byte*>(values.data() + from), DType::i32, {count}};
  };
  indices.rhs = slice(0, 2), indices.lhs = slice(4, 2);
  EXPECT_EQ(gather_qmm(context, x, w, indices).shape, (Shape{2, 1, 5}));
  indices.rhs = slice(0, 3);
  refuse("rhs indices: index 4 at position 2 is outside 0 .. 3");
  indices.rhs = slice(3, 1);
  refuse("rhs indices: index -1 at position 0");
  indices.rhs = slice(0, 2), indices.lhs = slice(3, 2);
  refuse("lhs indices: index -1 at position 0 is outside 0 .. 5");
  indices.lhs = slice(0, 3), indices.rhs = slice(0, 2);
  refuse("shapes [3] and [2] do not broadcast");
  for (const DType type : {DType::f32, DType::bf16, DType::boolean, DType::complex64}) {
    indices.rhs = TensorView{indices.rhs->data, type, {1}};
    refuse(fmt::format("rhs indices: type {}; expected integers", to_string(type)));
  }
  indices.rhs = TensorView{nullptr, DType::i32, {}};
  refuse("rhs indices: null data");
  const std::vector<std::uint64_t> large = {~std::uint64_t{0}};
  indices.rhs = TensorView{reinterpret_cast<const std::byte*>(large.data()), DType::u64, {1}};
  refuse("rhs indices: index 9223372036854775807");
  indices = {};
  x = some(DType::bf16, {128});
  refuse("x: shape [128]; gather_qmm expects matrices");
}

TEST_F(MatmulErrors, GatherChecksItsWeight) {
  w = experts_.view();
  w.biases = {};
  x = some(DType::bf16, {4, 1, 128});
  expect_error(kBad, "biases: missing", [&] { gather_qmm(context, x, w, {}); });
  w = experts_.view();
  x = some(DType::bf16, {4, 1, 64});
  expect_error(kBad, "x: last dimension 64", [&] { gather_qmm(context, x, w, {}); });
}

TEST_F(MatmulErrors, Linear) {
  const auto refuse = [&](std::string_view words, const TensorView& a, const TensorView& b) {
    expect_error(kBad, words, [&] { linear(context, a, b); });
  };
  refuse("w: type u32", x, some(DType::u32, {5, 128}));
  refuse("w: shape [128]; expected two", x, some(DType::f32, {128}));
  refuse("x: last dimension 128 of shape [3, 128] does not fit w (n, k) [5, 64]; expected 64", x,
         some(DType::f32, {5, 64}));
  refuse("x: type i64", some(DType::i64, {3, 128}), some(DType::f32, {5, 128}));
  refuse("w: null data", x, {nullptr, DType::f32, {5, 128}});
  refuse("leading dimensions [2] and [3]", some(DType::f32, {2, 1, 8}),
         some(DType::f32, {3, 5, 8}));
}

TEST_F(MatmulErrors, Inner) {
  const auto refuse = [&](std::string_view words, const StridedView& a, const StridedView& b) {
    expect_error(kBad, words, [&] { inner(context, a, b); });
  };
  refuse("a: type u32; expected f32, f16, bf16 or complex64", some(DType::u32, {4}),
         some(DType::f32, {4}));
  refuse("b: type f64", some(DType::f32, {4}), some(DType::f64, {4}));
  refuse("a and b: types f32 and bf16; expected equal types", some(DType::f32, {4}),
         some(DType::bf16, {4}));
  refuse("last dimensions 4 and 5 of shapes [2, 4] and [5]", some(DType::f32, {2, 4}),
         some(DType::f32, {5}));
  refuse("a: shape [] has no last dimension", some(DType::f32, {}), some(DType::f32, {4}));
  refuse("b: null data", some(DType::f32, {4}), StridedView(nullptr, DType::f32, {4}, {1}));
  refuse("a: 1 strides [1] for shape [2, 2]",
         StridedView(some(DType::f32, {}).data, DType::f32, {2, 2}, {1}), some(DType::f32, {2}));
  expect_error(ErrorCode::exhausted, "a: shape [4] at strides [4611686018427387904]", [&] {
    inner(context, StridedView(some(DType::f32, {}).data, DType::f32, {4}, {std::int64_t{1} << 62}),
          some(DType::f32, {4}));
  });
  expect_error(kBad, "a: shape [2, 4]; dot expects vectors", [&] {
    dot(context, some(DType::f32, {2, 4}), some(DType::f32, {4}));
  });
}

TEST(ContextErrors, OptionsAreCheckedWhenAContextIsMade) {
  const auto refuse = [](std::string_view words, const ContextOptions& options) {
    expect_error(kBad, words, [&] { make_context(options); });
  };
  refuse("max-isa: \"sse9\" is unknown", {1, "sse9", "", false});
  refuse("max-isa: sm90 is not on", {1, "sm90", "", false});
  refuse("kernel: \"fastest\" is not in the roll call", {1, "", "fastest", false});
  refuse("fast-int8", {1, "cpu", "", true});
  refuse("threads", {-1, "", "", false});
  EXPECT_NE(make_context({1, "cpu", "", false}), nullptr);
}

TEST(Promote, GivesTheWiderType) {
  EXPECT_EQ(promote(DType::f16, DType::bf16), DType::f32);
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    EXPECT_EQ(promote(type, type), type);
    EXPECT_EQ(promote(type, DType::f32), DType::f32);
  }
  expect_error(kBad, "type i32", [] { promote(DType::i32, DType::f32); });
}

}  // namespace
}  // namespace stepless
