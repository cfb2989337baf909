#include "ops/golden_ops.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "base/error.hpp"
#include "base/json.hpp"
#include "format/dequantize.hpp"
#include "format/dtype.hpp"
#include "format/quantize.hpp"
#include "format/safetensors.hpp"
#include "stepless/matmul.hpp"

namespace stepless {
namespace {
namespace fs = std::filesystem;

/// Tensors of the folder's files, opened once.
class Files {
 public:
  explicit Files(std::string dir) : dir_(std::move(dir)) {}

  const TensorView* find(const std::string& file, const std::string& name) {
    // A case names files of its own folder, nothing else.
    if (file.empty() || file.find('/') != std::string::npos)
      fail(ErrorCode::corrupt, "file: '{}' is no name in the folder", file);
    auto& open = files_[file];
    if (open == nullptr) open = std::make_unique<SafetensorsFile>(dir_ + "/" + file);
    return open->find(name);
  }
  const TensorView& at(const std::string& file, const std::string& name) {
    const TensorView* view = find(file, name);
    if (view == nullptr) fail(ErrorCode::corrupt, "{}: no tensor '{}'", file, name);
    return *view;
  }

 private:
  std::string dir_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;
};

struct Runner {
  Context& context;
  Files files;
};

[[noreturn]] void differs(const std::string& what) { throw Error(ErrorCode::internal, what); }

std::string text(const Json& c, const char* key) { return c.at(key).get<std::string>(); }

DType type_of(const std::string& token) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::complex64})
    if (token == to_string(type)) return type;
  if (token == "c64") return DType::complex64;
  fail(ErrorCode::unsupported, "dtype: '{}'; expected f32, f16, bf16 or c64", token);
}

Shape shape_of(const Json& array) { return array.get<Shape>(); }

/// Any real tensor as numbers.
std::vector<double> numbers(const TensorView& view) {
  const std::int64_t count = count_of(view.shape, "reference");
  std::vector<double> values(static_cast<std::size_t>(count));
  if (view.type == DType::f64) {
    std::memcpy(values.data(), view.data, values.size() * sizeof(double));
    return values;
  }
  std::vector<float> narrow(values.size());
  to_f32(view.data, view.type, narrow.data(), count);
  std::ranges::copy(narrow, values.begin());
  return values;
}

/// A real number rounded once to `type`. Exact for float64 references: they are float32 values or
/// are rounded by hand.
double rounded(double value, DType type) {
  if (type == DType::f32) return static_cast<double>(static_cast<float>(value));
  if (!std::isfinite(value) || value == 0) return value;
  // By hand, since float64 to float32 to f16 would round twice: nearest even at the type's own
  // step.
  const int digits = type == DType::f16 ? 11 : 8, least = type == DType::f16 ? -24 : -133;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int step = std::max(exponent - digits, least);
  const double result = std::ldexp(std::nearbyint(std::ldexp(value, -step)), step);
  const double most = type == DType::f16 ? 65504.0 : 0x1.fep127;
  return std::fabs(result) > most ? std::copysign(HUGE_VAL, value) : result;
}

/// `|y - ref| <= |round(ref) - ref| + c * max(|ref|, expected)` in Frobenius norms (contract.md,
/// section 5).
void expect_close(const Tensor& y, const double* ref, DType type, double beyond, double expected,
                  const std::string& where) {
  const std::vector<double> got = numbers(y.view());
  double off = 0, rounding = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    off += (got[i] - ref[i]) * (got[i] - ref[i]);
    const double r = rounded(ref[i], type) - ref[i];
    rounding += r * r;
    norm += ref[i] * ref[i];
  }
  const double allowed = std::sqrt(rounding) + beyond * std::max(std::sqrt(norm), expected);
  if (!(std::sqrt(off) <= allowed))
    differs(fmt::format("{}: |y - ref| = {:.3g}, allowed {:.3g}", where, std::sqrt(off), allowed));
}

void expect_shape(const Tensor& y, const Shape& shape, DType type) {
  if (y.shape != shape || y.type != type)
    differs(fmt::format("result is {}{}, expected {}{}", to_string(y.type), shape_text(y.shape),
                        to_string(type), shape_text(shape)));
}

QuantizedView weight_of(Runner& run, const Json& c, const std::string& name) {
  const std::string file = text(c, "file");
  QuantizedView w;
  w.spec = make_spec(parse_mode(text(c, "mode")), c.at("bits").get<int>(),
                     c.at("group_size").get<int>());
  w.packed = run.files.at(file, name + ".w");
  w.scales = run.files.at(file, name + ".scales");
  if (const TensorView* biases = run.files.find(file, name + ".biases")) w.biases = *biases;
  if (const TensorView* scale = run.files.find(file, name + ".global_scale"))
    w.tensor_scale = *scale;
  return w;
}

Transpose transpose_of(const Json& c) {
  return c.at("transpose").get<bool>() ? Transpose::yes : Transpose::no;
}

/// The first m rows and k columns of a matrix.
Tensor corner(const TensorView& x, std::int64_t m, std::int64_t k) {
  if (x.shape.size() != 2 || x.shape[0] < m || x.shape[1] < k)
    fail(ErrorCode::corrupt, "x: shape {} has no corner of {} x {}", shape_text(x.shape), m, k);
  const std::int64_t size = size_of(x.type);
  Tensor tensor{std::vector<std::byte>(static_cast<std::size_t>(m * k * size)), x.type, {m, k}};
  for (std::int64_t i = 0; i < m; ++i)
    std::memcpy(tensor.data.data() + i * k * size, x.data + i * x.shape[1] * size,
                static_cast<std::size_t>(k * size));
  return tensor;
}

void run_qmm(Runner& run, const Json& c) {
  const QuantizedView w = weight_of(run, c, text(c, "name"));
  const TensorView& x = run.files.at(text(c, "x_file"), text(c, "x"));
  const auto rows = c.at("m").get<std::vector<std::int64_t>>();
  const std::int64_t k = c.at("k").get<std::int64_t>(), n = c.at("n").get<std::int64_t>();
  const DType type = type_of(text(c, "out_dtype"));
  const std::vector<double> ref = numbers(run.files.at(text(c, "file"), text(c, "y")));
  const std::int64_t most = *std::ranges::max_element(rows);
  if (static_cast<std::int64_t>(ref.size()) < most * n)
    fail(ErrorCode::corrupt, "y: {} references for {} rows of {}", ref.size(), most, n);
  const Tensor all = quantized_matmul(run.context, corner(x, most, k).view(), w, transpose_of(c));
  for (const std::int64_t m : rows) {
    const Tensor y = quantized_matmul(run.context, corner(x, m, k).view(), w, transpose_of(c));
    expect_shape(y, {m, n}, type);
    expect_close(y, ref.data(), type, c.at("beyond_rounding").get<double>(),
                 c.at("w_norm").get<double>() * std::sqrt(static_cast<double>(m)),
                 fmt::format("m = {}", m));
    if (std::memcmp(y.data.data(), all.data.data(), y.data.size()) != 0)
      differs(fmt::format("m = {}: a row has other bits than at m = {}", m, most));
  }
}

void run_batch(Runner& run, const Json& c) {
  const std::string name = text(c, "name"), file = text(c, "file");
  const Tensor y = quantized_matmul(run.context, run.files.at(file, name + ".x"),
                                    weight_of(run, c, name), transpose_of(c));
  const DType type = type_of(text(c, "out_dtype"));
  expect_shape(y, shape_of(c.at("y_shape")), type);
  if (y.data.empty()) return;
  expect_close(y, numbers(run.files.at(file, name + ".y")).data(), type,
               c.at("beyond_rounding").get<double>(), c.at("expected_norm").get<double>(), "y");
}

void run_gather(Runner& run, const Json& c) {
  const std::string name = text(c, "name"), file = text(c, "file");
  GatherIndices indices;
  if (c.at("lhs").get<bool>()) indices.lhs = run.files.at(file, name + ".lhs");
  if (c.at("rhs").get<bool>()) indices.rhs = run.files.at(file, name + ".rhs");
  indices.sorted = c.at("sorted").get<bool>();
  const TensorView& x = run.files.at(file, name + ".x");
  const QuantizedView w = weight_of(run, c, name);
  const Tensor y = gather_qmm(run.context, x, w, indices, transpose_of(c));
  const DType type = type_of(text(c, "out_dtype"));
  expect_shape(y, shape_of(c.at("y_shape")), type);
  if (y.data.empty()) return;
  expect_close(y, numbers(run.files.at(file, name + ".y")).data(), type,
               c.at("beyond_rounding").get<double>(), c.at("expected_norm").get<double>(), "y");
  indices.sorted = !indices.sorted;  // a hint never changes the result
  if (gather_qmm(run.context, x, w, indices, transpose_of(c)).data != y.data)
    differs("the sorted hint changes bits");
}

/// x = identity(k): y is every decoded weight, rounded once.
void run_one_hot(Runner& run, const Json& c) {
  const std::int64_t k = c.at("k").get<std::int64_t>();
  const DType x_type = type_of(text(c, "x_dtype")), type = type_of(text(c, "out_dtype"));
  std::vector<float> identity(static_cast<std::size_t>(k * k), 0.0f);
  for (std::int64_t i = 0; i < k; ++i) identity[static_cast<std::size_t>(i * k + i)] = 1;
  Tensor x{std::vector<std::byte>(identity.size() * static_cast<std::size_t>(size_of(x_type))),
           x_type,
           {k, k}};
  from_f32(identity.data(), x_type, x.data.data(), k * k);
  const QuantizedView w = weight_of(run, c, text(c, "w"));
  const Tensor y = quantized_matmul(run.context, x.view(), w, transpose_of(c));
  const std::int64_t n = c.at("n").get<std::int64_t>();
  expect_shape(y, {k, n}, type);
  const std::vector<double> got = numbers(y.view());
  const std::vector<double> ref = numbers(run.files.at(text(c, "file"), text(c, "y")));
  for (std::size_t i = 0; i < got.size(); ++i)
    if (got[i] != rounded(ref.at(i), type))
      differs(fmt::format("input {}, output {}: {}, expected {}", i / static_cast<std::size_t>(n),
                          i % static_cast<std::size_t>(n), got[i], rounded(ref[i], type)));
}

void run_special(Runner& run, const Json& c) {
  if (c.value("exact", false)) return run_one_hot(run, c);
  const std::string file = text(c, "file");
  const QuantizedView w = weight_of(run, c, text(c, "w"));
  const Tensor y =
      quantized_matmul(run.context, run.files.at(file, text(c, "x")), w, transpose_of(c));
  const DType type = type_of(text(c, "out_dtype"));
  const auto n = c.at("n").get<std::size_t>(), m = c.at("m").get<std::size_t>();
  expect_shape(y, {static_cast<std::int64_t>(m), static_cast<std::int64_t>(n)}, type);
  const std::vector<double> got = numbers(y.view());
  const std::vector<double> ref = numbers(run.files.at(file, text(c, "y")));
  const std::vector<double> terms = numbers(run.files.at(file, text(c, "terms")));
  const auto bad = c.value("nonfinite_rows", std::vector<std::size_t>{});
  const Json& e = c.at("elementwise");
  for (std::size_t i = 0; i < m * n; ++i) {
    const std::string where = fmt::format("row {}, output {}", i / n, i % n);
    if (std::ranges::find(bad, i / n) != bad.end()) {
      // The first such row holds a NaN, the others infinities, which may meet as NaN.
      const bool fine = i / n == bad.front() ? std::isnan(got[i]) : !std::isfinite(got[i]);
      if (!fine) differs(fmt::format("{}: {}, expected no finite number", where, got[i]));
    } else if (std::isinf(rounded(ref.at(i), type))) {
      if (got[i] != rounded(ref[i], type))
        differs(fmt::format("{}: {}, expected an infinity", where, got[i]));
    } else {
      const double allowed = e.at("rounding").get<double>() * std::fabs(ref[i]) +
                             e.at("terms").get<double>() * terms.at(i) +
                             e.at("floor").get<double>();
      if (!(std::fabs(got[i] - ref[i]) <= allowed))
        differs(fmt::format("{}: {}, expected {} within {:.3g}", where, got[i], ref[i], allowed));
    }
  }
}

StridedView slice_of(Runner& run, const Json& c, const char* which, DType type) {
  const TensorView& pool = run.files.at("dot.safetensors", text(c, which));
  const std::string prefix = which;
  const auto k = c.at("k").get<std::int64_t>();
  const auto offset = c.at(prefix + "_offset").get<std::int64_t>();
  const auto stride = c.at(prefix + "_stride").get<std::int64_t>();
  const std::int64_t last = offset + (k > 0 ? (k - 1) * stride : 0);
  if (offset < 0 || last < 0 || (k > 0 && std::max(offset, last) >= pool.shape.at(0)))
    fail(ErrorCode::corrupt, "{}: slice {} + i * {} of {} leaves {} elements", which, offset,
         stride, k, pool.shape.at(0));
  return {pool.data + offset * size_of(type), type, {k}, {stride}};
}

void run_inner(Runner& run, const Json& c) {
  const std::string name = text(c, "name");
  const DType type = type_of(text(c, "dtype"));
  const Tensor y = inner(run.context, run.files.at("dot.safetensors", name + ".a"),
                         run.files.at("dot.safetensors", name + ".b"));
  const TensorView& want = run.files.at("dot.safetensors", name + ".y");
  expect_shape(y, want.shape, type);
  expect_close(y, numbers(want).data(), type, c.at("beyond_rounding").get<double>(),
               c.at("expected_norm").get<double>(), "y");
}

void run_dot(Runner& run, const Json& c) {
  if (text(c, "op") == "inner") return run_inner(run, c);
  const DType type = type_of(text(c, "dtype"));
  Tensor y = dot(run.context, slice_of(run, c, "a", type), slice_of(run, c, "b", type));
  expect_shape(y, {}, type);
  std::vector<double> want;
  if (type == DType::complex64) {
    want = c.at("y").get<std::vector<double>>();
    y.type = DType::f32, y.shape = {2};
  } else {
    want = {c.at("y").get<double>()};
  }
  const std::vector<double> got = numbers(y.view());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double allowed = c.at("rounding").get<double>() * std::fabs(want.at(i)) +
                           c.at("terms").get<double>() * c.at("sum_abs").get<double>();
    if (!(std::fabs(got[i] - want[i]) <= allowed))
      differs(fmt::format("{}, expected {} within {:.3g}", got[i], want[i], allowed));
  }
}

void expect_bytes(const TensorView& got, const TensorView& want, const char* what) {
  if (got.type != want.type || got.shape != want.shape)
    differs(fmt::format("{}: {}{}, expected {}{}", what, to_string(got.type), shape_text(got.shape),
                        to_string(want.type), shape_text(want.shape)));
  const std::int64_t bytes = bytes_of(want.shape, want.type, what);
  if (std::memcmp(got.data, want.data, static_cast<std::size_t>(bytes)) != 0)
    differs(fmt::format("{}: other bytes than stated", what));
}

void run_quantize(Runner& run, const Json& c) {
  const std::string name = text(c, "name"), file = text(c, "file");
  const QuantSpec spec = make_spec(parse_mode(text(c, "mode")), c.at("bits").get<int>(),
                                   c.at("group_size").get<int>());
  std::optional<float> tensor_scale;
  if (c.contains("tensor_scale")) tensor_scale = c.at("tensor_scale").get<float>();
  const TensorView& input = run.files.at(file, name + ".input");
  const QuantizedTensors made = quantize(input, spec, tensor_scale);
  expect_bytes(made.packed.view(), run.files.at(file, name + ".w"), "w");
  expect_bytes(made.scales.view(), run.files.at(file, name + ".scales"), "scales");
  if (made.biases)
    expect_bytes(made.biases->view(), run.files.at(file, name + ".biases"), "biases");
  const Tensor decoded = dequantize(made.view(), input.type);
  const std::vector<double> got = numbers(decoded.view());
  const std::vector<double> want = numbers(run.files.at(file, name + ".dequantized"));
  for (std::size_t i = 0; i < got.size(); ++i) {
    // One step of the output type at the reference: `dequantized_ulps`.
    const double at = rounded(want.at(i), input.type);
    const double step = std::max(std::fabs(at) * (input.type == DType::f32   ? 0x1p-23
                                                  : input.type == DType::f16 ? 0x1p-10
                                                                             : 0x1p-7),
                                 input.type == DType::f16   ? 0x1p-24
                                 : input.type == DType::f32 ? 0x1p-149
                                                            : 0x1p-133);
    if (!(std::fabs(got[i] - at) <= c.at("dequantized_ulps").get<double>() * step))
      differs(fmt::format("dequantized {}: {}, expected {}", i, got[i], at));
  }
}

struct Kind {
  const char* file;
  void (*run)(Runner&, const Json&);
};
constexpr Kind kKinds[] = {{"quantize.json", run_quantize}, {"qmm.json", run_qmm},
                           {"batch.json", run_batch},       {"gather.json", run_gather},
                           {"special.json", run_special},   {"dot.json", run_dot}};

void run_case(Runner& run, const Kind& kind, const Json& c, GoldenReport& report) {
  std::string name = "?";
  try {
    name = text(c, "name");
    if (c.contains("x_dtype")) name += " x " + text(c, "x_dtype");
    if (c.value("optional", false)) {
      ++report.skipped;
      report.lines.push_back(fmt::format("skipped {} {}: optional", kind.file, name));
      return;
    }
    kind.run(run, c);
    ++report.passed;
  } catch (const std::exception&
               error) {  // Error, and what a malformed case makes the JSON library throw
    ++report.failed;
    report.lines.push_back(fmt::format("FAILED {} {}: {}", kind.file, name, error.what()));
  }
}

}  // namespace

GoldenReport run_golden_ops(Context& context, const std::string& dir) {
  if (!fs::is_directory(dir)) fail(ErrorCode::not_found, "{}: no such folder", dir);
  GoldenReport report;
  Runner run{context, Files(dir)};
  for (const Kind& kind : kKinds) {
    const std::string path = dir + "/" + kind.file;
    if (!fs::exists(path)) {
      ++report.skipped;
      report.lines.push_back(fmt::format("skipped {}: not in this folder", kind.file));
      continue;
    }
    try {
      for (const Json& c : read_json(path)) run_case(run, kind, c, report);
    } catch (const Error& error) {
      ++report.failed;
      report.lines.push_back(fmt::format("FAILED {}: {}", kind.file, error.what()));
    }
  }
  return report;
}

}  // namespace stepless
