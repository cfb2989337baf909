// The doors of stepless/matmul.hpp: shapes and broadcasting against float64, and the bits of a row
// alone, in company, in a gather, on any number of threads, at any address. Formats are the kernel
// suite's and the fixtures' subject.
#include "stepless/matmul.hpp"

#include <gtest/gtest.h>

#include "ops/context.hpp"
#include "tests/ops/arrays.hpp"

namespace stepless {
namespace {
using test::Bytes;
using test::bytes_of;
using test::FloatArray;
using test::PackedArray;
using test::random_floats;
using test::random_packed;

const QuantSpec kMxfp4{Mode::mxfp4, 4, 32};

/// y, (m, n) of `type`, against x · w (already transposed for the orientation) within the
/// contract's bound.
void expect_product(const Bytes& y, DType type, const oracle::Matrix& x, const oracle::Matrix& w,
                    const std::string& what) {
  const oracle::Matrix ref = oracle::product(x, w);
  const double expected = oracle::norm(w) * std::sqrt(static_cast<double>(x.rows));
  EXPECT_LE(oracle::error_share(test::matrix_of(y, type, ref.rows), ref, type, expected), 1.0)
      << what;
}

oracle::Matrix oriented(const PackedArray& w, std::int64_t index, Transpose transpose) {
  const oracle::Matrix& matrix = w.decoded[static_cast<std::size_t>(index)];
  return transpose == Transpose::yes ? matrix : oracle::transposed(matrix);
}

TEST(QuantizedMatmul, LeadingDimensionsOfXAreRows) {
  Context context(2);
  for (const Transpose transpose : {Transpose::yes, Transpose::no}) {
    const PackedArray w = random_packed({}, DType::f16, {}, 64, 128, 1);
    const std::int64_t k = transpose == Transpose::yes ? 128 : 64, n = 192 - k;
    for (const Shape& lead : {Shape{}, Shape{1}, Shape{5}, Shape{2, 3}, Shape{2, 1, 4, 1}}) {
      Shape shape = lead, expected = lead;
      shape.push_back(k), expected.push_back(n);
      const FloatArray x = random_floats(DType::f16, shape, 2);
      const Tensor y = quantized_matmul(context, x.view(), w.view(), transpose);
      EXPECT_EQ(y.shape, expected);
      EXPECT_EQ(y.type, DType::f16);
      const std::int64_t m = count_of(lead, "m");
      expect_product(bytes_of(y), y.type, x.matrix(0, m, k), oriented(w, 0, transpose),
                     shape_text(shape));
    }
  }
}

struct Broadcast {
  Shape x, w, y;  // leading dimensions of x with its rows, of w; all of y but n
};

TEST(QuantizedMatmul, BatchesBroadcastAsNumPy) {
  Context context(2);
  const std::vector<Broadcast> cases = {{{3}, {2}, {2, 3}},           // x of two dimensions
                                        {{}, {2}, {2}},               // of one
                                        {{2, 3}, {2}, {2, 3}},        // equal
                                        {{1, 3}, {4}, {4, 3}},        // x repeats
                                        {{4, 3}, {1}, {4, 3}},        // w repeats
                                        {{2, 1, 3}, {5}, {2, 5, 3}},  // both
                                        {{5, 1}, {2, 1}, {2, 5, 1}},  // w of more dimensions
                                        {{2, 5, 2}, {2, 1}, {2, 5, 2}}};
  for (const Transpose transpose : {Transpose::yes, Transpose::no})
    for (const Broadcast& c : cases) {
      const std::int64_t k = transpose == Transpose::yes ? 64 : 8, n = 72 - k;
      const PackedArray w = random_packed(kMxfp4, DType::u8, c.w, 8, 64, 3);
      Shape shape = c.x, y_shape = c.y;
      shape.push_back(k), y_shape.push_back(n);
      const FloatArray x = random_floats(DType::bf16, shape, 4);
      const Tensor y = quantized_matmul(context, x.view(), w.view(), transpose);
      ASSERT_EQ(y.shape, y_shape) << shape_text(shape) << " against " << shape_text(c.w);
      // Every matrix of y is one product: find its operands by counting, last dimension fastest.
      const bool row = c.x.empty();
      const std::int64_t m = row ? 1 : c.x.back();
      const Shape x_batch(c.x.begin(), row ? c.x.end() : c.x.end() - 1);
      const Shape batch(c.y.begin(), row ? c.y.end() : c.y.end() - 1);
      const auto source = [&](const Shape& from, std::int64_t i) {
        std::int64_t at = 0, stride = 1;
        for (std::size_t d = 1; d <= batch.size(); ++d) {
          const std::int64_t size = batch[batch.size() - d], here = i % size;
          i /= size;
          if (d > from.size()) continue;
          at += from[from.size() - d] == 1 ? 0 : here * stride;
          stride *= from[from.size() - d];
        }
        return at;
      };
      for (std::int64_t i = 0; i < count_of(batch, "batch"); ++i)
        expect_product(test::part_of_result(y, i, m * n), y.type,
                       x.matrix(source(x_batch, i), m, k), oriented(w, source(c.w, i), transpose),
                       shape_text(shape) + " matrix " + std::to_string(i));
    }
}

TEST(QuantizedMatmul, ResultTypesFollowPromotion) {
  Context context(1);
  for (const DType x_type : {DType::f32, DType::f16, DType::bf16}) {
    const FloatArray x = random_floats(x_type, {2, 64}, 5);
    for (const DType scales : {DType::f32, DType::f16, DType::bf16}) {
      const PackedArray w = random_packed({}, scales, {}, 4, 64, 6);
      EXPECT_EQ(quantized_matmul(context, x.view(), w.view()).type, promote(x_type, scales));
    }
    const PackedArray fp = random_packed(kMxfp4, DType::u8, {}, 4, 64, 6);
    EXPECT_EQ(quantized_matmul(context, x.view(), fp.view()).type, x_type);
  }
}

TEST(QuantizedMatmul, EmptyResults) {
  Context context(1);
  const PackedArray w = random_packed({}, DType::f32, {}, 4, 64, 7);
  const FloatArray none = random_floats(DType::f32, {0, 64}, 8),
                   no_batch = random_floats(DType::f32, {2, 0, 3, 64}, 8);
  EXPECT_EQ(quantized_matmul(context, none.view(), w.view()).shape, (Shape{0, 4}));
  EXPECT_EQ(quantized_matmul(context, no_batch.view(), w.view()).shape, (Shape{2, 0, 3, 4}));
  const FloatArray x = random_floats(DType::f32, {3, 64}, 8);
  const PackedArray no_outputs = random_packed({}, DType::f32, {}, 0, 64, 7);
  EXPECT_EQ(quantized_matmul(context, x.view(), no_outputs.view()).shape, (Shape{3, 0}));
  const PackedArray no_columns = random_packed({}, DType::f32, {}, 64, 0, 7);
  EXPECT_EQ(quantized_matmul(context, x.view(), no_columns.view(), Transpose::no).shape,
            (Shape{3, 0}));
  const PackedArray no_matrices = random_packed({}, DType::f32, {0}, 4, 64, 7);
  EXPECT_EQ(quantized_matmul(context, x.view(), no_matrices.view()).shape, (Shape{0, 3, 4}));
}

// The bits of a row depend on the row: not on m, its place, the threads, the address of anything.
TEST(QuantizedMatmul, ARowHasItsOwnBits) {
  Context one(1), three(3);
  for (const auto& [spec, type] : {std::pair{QuantSpec{}, DType::bf16},
                                   {QuantSpec{Mode::affine, 3, 32}, DType::f16},
                                   {QuantSpec{Mode::affine, 4, 128}, DType::f32},
                                   {kMxfp4, DType::f32}})
    for (const Transpose transpose : {Transpose::yes, Transpose::no}) {
      const PackedArray w = random_packed(spec, type, {}, 256, 384, 9);
      const std::int64_t k = transpose == Transpose::yes ? 384 : 256, n = 640 - k;
      const FloatArray x = random_floats(type, {70, k}, 10);
      const Tensor together = quantized_matmul(one, x.view(), w.view(), transpose);
      EXPECT_EQ(quantized_matmul(three, x.view(), w.view(), transpose).data, together.data);
      for (const std::int64_t i : {0, 1, 6, 63, 64, 69}) {
        TensorView row = x.view();
        row.data += i * k * size_of(type), row.shape = {1, k};
        EXPECT_EQ(bytes_of(quantized_matmul(three, row, w.view(), transpose)),
                  test::part_of_result(together, i, n))
            << to_string(spec.mode) << " row " << i;
      }
    }
}

// Rows are computed in blocks: the last of 5000 is as it is alone.
TEST(QuantizedMatmul, ManyRows) {
  Context context(2);
  const PackedArray w = random_packed({}, DType::bf16, {}, 8, 64, 30);
  const FloatArray x = random_floats(DType::bf16, {5000, 64}, 31);
  const Tensor y = quantized_matmul(context, x.view(), w.view());
  expect_product(bytes_of(y), y.type, x.matrix(0, 5000, 64), w.decoded[0], "5000 rows");
  for (const std::int64_t i : {4095, 4096, 4999}) {
    TensorView row = x.view();
    row.data += i * 128, row.shape = {1, 64};
    EXPECT_EQ(bytes_of(quantized_matmul(context, row, w.view())), test::part_of_result(y, i, 8));
  }
}

TEST(QuantizedMatmul, AnyAddressWillDo) {
  Context context(1);
  const PackedArray w = random_packed({}, DType::bf16, {}, 32, 128, 11);
  const FloatArray x = random_floats(DType::bf16, {5, 128}, 12);
  const Tensor expected = quantized_matmul(context, x.view(), w.view());
  std::vector<Bytes> copies;
  const auto shifted = [&](const TensorView& view) {
    Bytes copy(static_cast<std::size_t>(stepless::bytes_of(view.shape, view.type, "x")) + 1);
    std::memcpy(copy.data() + 1, view.data, copy.size() - 1);
    copies.push_back(std::move(copy));
    return TensorView{reinterpret_cast<const std::byte*>(copies.back().data() + 1), view.type,
                      view.shape};
  };
  copies.reserve(4);
  QuantizedView odd = w.view();
  for (TensorView* view : {&odd.packed, &odd.scales, &odd.biases}) *view = shifted(*view);
  EXPECT_EQ(quantized_matmul(context, shifted(x.view()), odd).data, expected.data);
}

TEST(QuantizedMatmul, TensorScalesOfStackedMatrices) {
  Context context(1);
  const PackedArray w = random_packed(make_spec(Mode::nvfp4), DType::u8, {2}, 8, 64, 13);
  const FloatArray x = random_floats(DType::f32, {3, 64}, 14);
  const std::vector<float> scales = {2688.0f, 5376.0f};  // times one, times two
  QuantizedView view = w.view();
  const Tensor plain = quantized_matmul(context, x.view(), view);
  view.tensor_scale = {reinterpret_cast<const std::byte*>(scales.data()), DType::f32, {2}};
  const Tensor scaled = quantized_matmul(context, x.view(), view);
  EXPECT_EQ(test::part_of_result(scaled, 0, 24), test::part_of_result(plain, 0, 24));
  oracle::Matrix twice = w.decoded[1];
  for (double& value : twice.data) value *= 2;
  expect_product(test::part_of_result(scaled, 1, 24), DType::f32, x.matrix(0, 3, 64), twice,
                 "second matrix");
}

struct Gather {
  Shape x, w, lhs, rhs, y;  // leading dimensions; an absent side has none and `-1`
};

TEST(GatherQmm, EqualsEachPairAlone) {
  Context context(2);
  test::Random random(15);
  const Shape absent = {-1};
  const std::vector<Gather> cases = {
      {{7}, {4}, absent, {7}, {7}},       {{2, 3, 1}, {5}, absent, {2, 3, 2}, {2, 3, 2}},
      {{4}, {3}, {6}, absent, {}},        {{4}, {3}, {6}, {6}, {6}},
      {{4}, {2, 2}, {3, 1}, {4}, {3, 4}}, {{3}, {3}, absent, absent, {3}},
      {{40}, {8}, absent, {40}, {40}},    {{2}, {2}, {0}, {0}, {0}}};
  for (const Transpose transpose : {Transpose::yes, Transpose::no})
    for (const std::int64_t m : {1, 3})
      for (Gather c : cases) {
        if (c.rhs == absent && c.lhs == Shape{6}) c.lhs = {2, 3}, c.y = {2, 3};  // rhs: arange(3)
        const std::int64_t k = transpose == Transpose::yes ? 64 : 8, n = 72 - k;
        const PackedArray w = random_packed({Mode::affine, 4, 32}, DType::bf16, c.w, 8, 64, 16);
        Shape shape = c.x;
        shape.insert(shape.end(), {m, k});
        const FloatArray x = random_floats(DType::bf16, shape, 17);
        const auto pick = [&](const Shape& shape_of_indices, std::int64_t bound) {
          std::vector<std::uint32_t> values;
          for (std::int64_t i = 0; i < count_of(shape_of_indices, "indices"); ++i)
            values.push_back(static_cast<std::uint32_t>(random.below(bound)));
          return values;
        };
        const std::int64_t x_count = count_of(c.x, "x"), w_count = count_of(c.w, "w");
        std::vector<std::uint32_t> lhs, rhs;
        GatherIndices indices;
        if (c.lhs != absent)
          lhs = pick(c.lhs, x_count),
          indices.lhs =
              TensorView{reinterpret_cast<const std::byte*>(lhs.data()), DType::u32, c.lhs};
        if (c.rhs != absent)
          rhs = pick(c.rhs, w_count),
          indices.rhs =
              TensorView{reinterpret_cast<const std::byte*>(rhs.data()), DType::u32, c.rhs};
        static const std::uint32_t kNothing = 0;  // an empty index array has an address, too
        if (indices.lhs && lhs.empty())
          indices.lhs->data = reinterpret_cast<const std::byte*>(&kNothing);
        if (indices.rhs && rhs.empty())
          indices.rhs->data = reinterpret_cast<const std::byte*>(&kNothing);
        const Tensor y = gather_qmm(context, x.view(), w.view(), indices, transpose);
        Shape y_shape = c.y;
        y_shape.insert(y_shape.end(), {m, n});
        ASSERT_EQ(y.shape, y_shape);
        // What NumPy's broadcasting gives for these few pairs of shapes.
        const Shape l_shape = c.lhs == absent ? c.x : c.lhs,
                    r_shape = c.rhs == absent ? c.w : c.rhs;
        const std::int64_t pairs = count_of(c.y, "pairs");
        const auto at = [&](const std::vector<std::uint32_t>& values, const Shape& from,
                            std::int64_t i) {
          std::int64_t index = 0, stride = 1;
          for (std::size_t d = 1; d <= c.y.size(); ++d) {
            const std::int64_t size = c.y[c.y.size() - d], here = i % size;
            i /= size;
            if (d > from.size()) continue;
            index += from[from.size() - d] == 1 ? 0 : here * stride;
            stride *= from[from.size() - d];
          }
          return values.empty()
                     ? index
                     : static_cast<std::int64_t>(values[static_cast<std::size_t>(index)]);
        };
        for (std::int64_t i = 0; i < pairs; ++i) {
          TensorView one = x.view();
          one.data += at(lhs, l_shape, i) * m * k * 2, one.shape = {m, k};
          QuantizedView expert = w.view();
          const std::int64_t e = at(rhs, r_shape, i);
          expert.packed = {expert.packed.data + e * 8 * 32, DType::u32, {8, 8}};
          expert.scales = {expert.scales.data + e * 8 * 2 * 2, DType::bf16, {8, 2}};
          expert.biases = {expert.biases.data + e * 8 * 2 * 2, DType::bf16, {8, 2}};
          EXPECT_EQ(bytes_of(quantized_matmul(context, one, expert, transpose)),
                    test::part_of_result(y, i, m * n))
              << "pair " << i << ", expert " << e;
        }
      }
}

TEST(GatherQmm, TheHintAndTheIndexTypeChangeNothing) {
  Context context(2);
  const PackedArray w = random_packed({}, DType::f32, {3}, 16, 64, 18);
  const FloatArray x = random_floats(DType::f32, {6, 1, 64}, 19);
  const std::vector<std::int64_t> wide = {2, 0, 1, 1, 0, 2};
  const std::vector<std::uint8_t> narrow(wide.begin(), wide.end());
  GatherIndices indices;
  indices.rhs = TensorView{reinterpret_cast<const std::byte*>(wide.data()), DType::i64, {6}};
  const Tensor expected = gather_qmm(context, x.view(), w.view(), indices);
  indices.sorted = true;  // it is not
  EXPECT_EQ(gather_qmm(context, x.view(), w.view(), indices).data, expected.data);
  indices.rhs = TensorView{reinterpret_cast<const std::byte*>(narrow.data()), DType::u8, {6}};
  EXPECT_EQ(gather_qmm(context, x.view(), w.view(), indices).data, expected.data);
}

TEST(Linear, MultipliesDenseWeights) {
  Context context(2);
  for (const DType x_type : {DType::f32, DType::f16, DType::bf16})
    for (const DType w_type : {DType::f32, DType::bf16}) {
      const FloatArray x = random_floats(x_type, {2, 3, 33}, 20),
                       w = random_floats(w_type, {7, 33}, 21);
      const Tensor y = linear(context, x.view(), w.view());
      EXPECT_EQ(y.shape, (Shape{2, 3, 7}));
      EXPECT_EQ(y.type, promote(x_type, w_type));
      expect_product(bytes_of(y), y.type, x.matrix(0, 6, 33), w.matrix(0, 7, 33), "linear");
    }
  const FloatArray x = random_floats(DType::f32, {2, 3, 8}, 22),
                   w = random_floats(DType::f32, {2, 5, 8}, 23);
  const Tensor y = linear(context, x.view(), w.view());
  EXPECT_EQ(y.shape, (Shape{2, 3, 5}));
  for (const std::int64_t i : {0, 1})
    expect_product(test::part_of_result(y, i, 15), y.type, x.matrix(i, 3, 8), w.matrix(i, 5, 8),
                   "batch");
}

TEST(Linear, NoReductionGivesZeros) {
  Context context(1);
  const FloatArray x = random_floats(DType::f16, {2, 0}, 24),
                   w = random_floats(DType::f16, {3, 0}, 25);
  const Tensor y = linear(context, x.view(), w.view());
  EXPECT_EQ(y.shape, (Shape{2, 3}));
  EXPECT_EQ(bytes_of(y), Bytes(12, 0));
}

TEST(Context, ServesManyShapesWithOneScratch) {
  Context context(2);
  for (const std::int64_t k : {64, 4096, 128}) {
    const PackedArray w = random_packed({}, DType::bf16, {}, 16, k, 26);
    for (const std::int64_t m : {1, 200, 2}) {
      const FloatArray x = random_floats(DType::bf16, {m, k}, 27);
      expect_product(bytes_of(quantized_matmul(context, x.view(), w.view())), DType::bf16,
                     x.matrix(0, m, k), w.decoded[0], "m = " + std::to_string(m));
    }
  }
}

TEST(Context, AWishForAKernelIsGranted) {
  Overrides wish;
  wish.kernel = "qmm_wany_bany_fany_m2n1_cpu";
  Context plain(1), wished(1, wish);
  const PackedArray w = random_packed({}, DType::bf16, {}, 16, 64, 28);
  const FloatArray x = random_floats(DType::bf16, {2, 64}, 29);
  Problem p;
  p.m = 2, p.n = 16, p.k = 64;
  EXPECT_EQ(wished.kernel_for(p).name, wish.kernel);
  p.op = KernelOp::qmmn;  // another op: the wish does not concern it
  EXPECT_NE(wished.kernel_for(p).name, wish.kernel);
  expect_product(bytes_of(quantized_matmul(wished, x.view(), w.view())), DType::bf16,
                 x.matrix(0, 2, 64), w.decoded[0], "wished");
}

}  // namespace
}  // namespace stepless
