// Fixtures of golden/ops through every row that may serve them, and through the oracle that judges
// everything else: products by NumPy in float64 on MLX's codes, decoded weights, inner products.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "base/json.hpp"
#include "format/safetensors.hpp"
#include "tests/support/dot_case.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/matmul_case.hpp"
#include "tests/support/paths.hpp"

namespace stepless::test {
namespace {

/// Fixtures that travel with the repository, else those of the shared folder; empty when neither
/// has the file.
std::string ops_file(const std::string& name) {
  const std::string own = golden_dir() + "/ops/" + name;
  if (std::filesystem::exists(own)) return own;
  const auto shared = shared_dir();
  if (!shared) return "";
  const std::string beside = *shared + "/golden/ops/" + name;
  return std::filesystem::exists(beside) ? beside : "";
}

const TensorView& tensor(const std::string& file, const std::string& name) {
  static std::map<std::string, std::unique_ptr<SafetensorsFile>> files;
  auto& open = files[file];
  if (!open) open = std::make_unique<SafetensorsFile>(ops_file(file));
  const TensorView* const found = open->find(name);
  if (found == nullptr) throw std::runtime_error(file + ": no tensor " + name);
  return *found;
}

bool has_tensor(const Json& c, const std::string& name) {
  return c.at("mode") == "affine" || !name.ends_with(".biases");
}

DType type_of(const Json& name) {
  const std::string text = name.get<std::string>();
  return text == "f32"    ? DType::f32
         : text == "f16"  ? DType::f16
         : text == "bf16" ? DType::bf16
                          : DType::complex64;
}

/// Columns [0, columns) of the first `rows` rows.
Bytes corner(const TensorView& view, std::int64_t rows, std::int64_t columns) {
  const std::int64_t width = view.shape.back(), size = size_of(view.type);
  const auto* const data = reinterpret_cast<const std::uint8_t*>(view.data);
  Bytes bytes;
  for (std::int64_t i = 0; i < rows; ++i)
    bytes.insert(bytes.end(), data + i * width * size, data + (i * width + columns) * size);
  return bytes;
}

Bytes all_of(const TensorView& view) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < view.shape.size(); ++i) rows *= view.shape[i];
  return corner(view, rows, view.shape.back());
}

/// F32 or F64 numbers, exact.
std::vector<double> numbers(const TensorView& view) {
  const Bytes bytes = all_of(view);
  if (view.type != DType::f64) return oracle::values(bytes, view.type);
  std::vector<double> result(bytes.size() / 8);
  std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

oracle::Stored stored_weight(const Json& c, const std::string& prefix) {
  const std::string file = c.at("file");
  oracle::Stored s;
  s.spec = make_spec(parse_mode(c.at("mode").get<std::string>()), c.at("bits").get<int>(),
                     c.at("group_size").get<int>());
  const TensorView &w = tensor(file, prefix + ".w"), &scales = tensor(file, prefix + ".scales");
  s.rows = w.shape[0];
  s.columns = w.shape[1] * 32 / s.spec.bits;
  s.w = all_of(w);
  s.scales = all_of(scales);
  s.type = s.spec.mode == Mode::affine ? scales.type : DType::f32;
  if (has_tensor(c, prefix + ".biases")) s.biases = all_of(tensor(file, prefix + ".biases"));
  if (c.contains("tensor_scale")) s.tensor_scale = c.at("tensor_scale").get<float>() / 2688.0f;
  return s;
}

/// The problem of a case; x stays to be filled in.
Operands operands(const Json& c, const std::string& prefix) {
  Operands o;
  o.op = c.at("transpose").get<bool>() ? KernelOp::qmm : KernelOp::qmmn;
  o.w = stored_weight(c, prefix);
  o.format = {true, o.w.spec, type_of(c.at("x_dtype")), o.w.type, type_of(c.at("out_dtype"))};
  o.n = c.at("n");
  o.k = c.at("k");
  return o;
}

std::vector<Json> cases(const std::string& file) {
  const std::string path = ops_file(file);
  if (path.empty()) return {};
  const Json all = read_json(path);
  return {all.begin(), all.end()};
}

bool serves(const Kernel& row, const Operands& o) {
  return row.is.op == o.op && accepts(row, o.format) && o.n % row.fields.n_multiple == 0 &&
         o.k % row.fields.k_multiple == 0;
}

class EachGolden : public EachRow {
 protected:
  void SetUp() override {
    EachRow::SetUp();
    if (ops_file("qmm.json").empty()) GTEST_SKIP() << "golden/ops is neither here nor shared";
  }
};

class EachPackedGolden : public EachGolden {};

TEST_P(EachPackedGolden, Products) {
  std::int64_t served = 0;
  for (const Json& c : cases("qmm.json")) {
    const std::string name = c.at("name");
    Operands o = operands(c, name);
    if (!serves(row(), o)) continue;
    ++served;
    SCOPED_TRACE(name + ", " + o.format.text());
    o.m = 64;
    o.x = corner(tensor(c.at("x_file"), c.at("x")), o.m, o.k);
    oracle::Matrix ref(o.m, o.n);
    ref.data = numbers(tensor(c.at("file"), c.at("y")));
    const Bytes y = run_matmul(row(), o);
    for (const std::int64_t m : c.at("m")) {
      if (m < row().fields.rows.least) continue;
      // By row invariance the first m rows are those of the whole run; each third case runs them.
      if (served % 3 == m % 3) {
        EXPECT_EQ(run_matmul(row(), o.rows(0, m)), rows_of(y, o.m, 0, m));
      }
      oracle::Matrix want = ref;
      want.rows = m;
      want.data.resize(static_cast<std::size_t>(m * o.n));
      const oracle::Matrix got = matrix_of(rows_of(y, o.m, 0, m), o.format.y_type, m);
      const double expected = c.at("w_norm").get<double>() * std::sqrt(static_cast<double>(m));
      EXPECT_LE(oracle::error_share(got, want, o.format.y_type, expected), 1) << "m " << m;
    }
  }
  // A row for prompts wants more outputs than the fixture has, one for x in pieces other types; the
  // bound of both is roll_call_test's.
  const Order order = row().fields.order;
  if (served == 0 && (order == Order::wgmma_rounded || order == Order::mma_pieces))
    GTEST_SKIP() << row().name << ": no case of the fixture has its sizes and types";
  EXPECT_GT(served, 0) << "no case of the fixture is legal for this row";
}

/// x = identity(k): the decoded weights, rounded once.
void check_one_hot(const Kernel& row, const Json& c, Operands o) {
  oracle::Matrix identity(o.k, o.k);
  for (std::int64_t i = 0; i < o.k; ++i) identity.at(i, i) = 1;
  o.m = o.k;
  o.x = oracle::bytes(identity.data, o.format.x_type);
  const std::vector<double> want = numbers(tensor(c.at("file"), c.at("y")));
  const oracle::Matrix got = matrix_of(run_matmul(row, o), o.format.y_type, o.m);
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(got.data[i], oracle::rounded(want[i], o.format.y_type)) << "element " << i;
}

/// |y - ref| <= rounding |ref| + terms T + floor; where ref rounds to infinity, y is that infinity.
void check_elementwise(const Kernel& row, const Json& c, Operands o) {
  const std::string file = c.at("file");
  o.m = c.at("m");
  o.x = all_of(tensor(file, c.at("x")));
  const std::vector<double> ref = numbers(tensor(file, c.at("y"))),
                            terms = numbers(tensor(file, c.at("terms")));
  const oracle::Matrix y = matrix_of(run_matmul(row, o), o.format.y_type, o.m);
  const Json& allowed = c.at("elementwise");
  const std::vector<std::int64_t> wild = c.value("nonfinite_rows", std::vector<std::int64_t>{});
  for (std::int64_t i = 0; i < o.m; ++i)
    for (std::int64_t j = 0; j < o.n; ++j) {
      const auto at = static_cast<std::size_t>(i * o.n + j);
      if (std::ranges::find(wild, i) != wild.end()) {
        EXPECT_TRUE(i == 3 ? std::isnan(y.at(i, j)) : !std::isfinite(y.at(i, j))) << i << ", " << j;
        continue;
      }
      if (std::isinf(oracle::rounded(ref[at], o.format.y_type))) {
        EXPECT_EQ(y.at(i, j), oracle::rounded(ref[at], o.format.y_type));
        continue;
      }
      const double most = allowed.at("rounding").get<double>() * std::fabs(ref[at]) +
                          allowed.at("terms").get<double>() * terms[at] +
                          allowed.at("floor").get<double>();
      EXPECT_LE(std::fabs(y.at(i, j) - ref[at]), most) << i << ", " << j;
    }
}

TEST_P(EachPackedGolden, OneHotMagnitudesAndNonFiniteRows) {
  for (const Json& c : cases("special.json")) {
    const Operands o = operands(c, c.at("w"));
    if (!serves(row(), o)) continue;
    SCOPED_TRACE(c.at("name").get<std::string>());
    if (c.value("exact", false))
      check_one_hot(row(), c, o);
    else
      check_elementwise(row(), c, o);
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachPackedGolden,
                         ::testing::ValuesIn(exact_rows({KernelOp::qmm, KernelOp::qmmn})),
                         row_name);

class EachDenseGolden : public EachGolden {};

/// inner(a, b) = a · bᵀ: a dense weight.
TEST_P(EachDenseGolden, InnerProductsOfMatrices) {
  for (const Json& c : cases("dot.json")) {
    if (c.at("op") != "inner") continue;
    const std::string name = c.at("name");
    const TensorView &a = tensor("dot.safetensors", name + ".a"),
                     &b = tensor("dot.safetensors", name + ".b");
    const DType type = type_of(c.at("dtype"));
    Operands o;
    o.op = KernelOp::mm;
    o.format = {false, {}, type, type, type};
    o.k = a.shape.back();
    o.x = all_of(a);
    o.w.packed = false;
    o.w.type = type;
    o.w.w = all_of(b);
    o.w.columns = o.k;
    const std::int64_t row_bytes = o.k * size_of(type);
    o.m = static_cast<std::int64_t>(o.x.size()) / row_bytes;
    o.n = o.w.rows = static_cast<std::int64_t>(o.w.w.size()) / row_bytes;
    if (!serves(row(), o)) continue;
    oracle::Matrix ref(o.m, o.n);
    ref.data = numbers(tensor("dot.safetensors", name + ".y"));
    const oracle::Matrix got = matrix_of(run_matmul(row(), o), type, o.m);
    EXPECT_LE(oracle::error_share(got, ref, type, c.at("expected_norm").get<double>()), 1) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    RollCall, EachDenseGolden,
    ::testing::ValuesIn(exact_rows({KernelOp::qmm, KernelOp::qmmn, KernelOp::mm})), row_name);

class EachDotGolden : public EachRow {};

TEST_P(EachDotGolden, InnerProducts) {
  const std::vector<Json> all = cases("dot.json");
  if (all.empty()) GTEST_SKIP() << "golden/ops is neither here nor shared";
  for (const Json& c : all) {
    if (c.at("op") != "dot") continue;
    const DType type = type_of(c.at("dtype"));
    if (row().is.act && *row().is.act != type) continue;
    SCOPED_TRACE(c.at("name").get<std::string>());
    const auto pool = [&](const char* side) {
      const TensorView& view = tensor("dot.safetensors", c.at(side));
      const std::string prefix = side;
      return StridedVector{all_of(view), c.at(prefix + "_offset"), c.at(prefix + "_stride")};
    };
    const DotProblem p{type, c.at("k"), pool("a"), pool("b")};
    const std::complex<double> y = dot_value(run_dot(row(), p, false), type);
    const bool pair = type == DType::complex64;
    const double want[2] = {pair ? c.at("y")[0].get<double>() : c.at("y").get<double>(),
                            pair ? c.at("y")[1].get<double>() : 0};
    const double terms = c.at("terms").get<double>() * c.at("sum_abs").get<double>();
    const double rounding = c.at("rounding").get<double>();
    EXPECT_LE(std::fabs(y.real() - want[0]), rounding * std::fabs(want[0]) + terms);
    EXPECT_LE(std::fabs(y.imag() - want[1]), rounding * std::fabs(want[1]) + terms);
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachDotGolden, ::testing::ValuesIn(built_rows({KernelOp::dot})),
                         row_name);

class EachEmbedGolden : public EachRow {};

// .dequantized is s*q+b in float64, so the oracle has the same number; the row rounds it once.
TEST_P(EachEmbedGolden, DecodedWeights) {
  const std::vector<Json> all = cases("quantize.json");
  if (all.empty()) GTEST_SKIP() << "golden/ops is neither here nor shared";
  for (const Json& c : all) {
    const std::string name = c.at("name");
    const oracle::Stored table = stored_weight(c, name);
    if (!accepts(row(), {true, table.spec, DType::f32, table.type, DType::f32})) continue;
    SCOPED_TRACE(name);
    const std::vector<double> want = numbers(tensor(c.at("file"), name + ".dequantized"));
    ASSERT_EQ(static_cast<std::int64_t>(want.size()), table.rows * table.columns);
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < table.rows; ++i) ids.push_back(static_cast<std::int32_t>(i));
    const bool once_more = c.contains("tensor_scale");  // the block scale was rounded to float32
    const std::vector<double> got =
        oracle::values(run_embed(row(), table, ids, DType::f32), DType::f32);
    for (std::size_t i = 0; i < want.size(); ++i) {
      const double slack = once_more ? 2e-7 * std::fabs(want[i]) : 0;
      ASSERT_NEAR(got[i], oracle::rounded(want[i], DType::f32), slack) << "element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachEmbedGolden,
                         ::testing::ValuesIn(built_rows({KernelOp::embed})), row_name);

TEST(Oracle, DecodesTheFixtures) {
  const std::vector<Json> all = cases("quantize.json");
  if (all.empty()) GTEST_SKIP() << "golden/ops is neither here nor shared";
  for (const Json& c : all) {
    const std::string name = c.at("name");
    const oracle::Stored stored = stored_weight(c, name);
    const std::vector<double> want = numbers(tensor(c.at("file"), name + ".dequantized"));
    const oracle::Matrix got = oracle::decode(stored);
    for (std::size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(got.data[i], want[i], c.contains("tensor_scale") ? 2e-7 * std::fabs(want[i]) : 0)
          << name << ", element " << i;
  }
}

}  // namespace
}  // namespace stepless::test
