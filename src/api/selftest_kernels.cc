#include "api/selftest_kernels.hpp"

#include <cmath>
#include <span>

#include "base/error.hpp"
#include "dispatch/machine.hpp"
#include "format/dequantize.hpp"
#include "format/dtype.hpp"
#include "format/quantize.hpp"
#include "kernels/roll_call.hpp"
#include "ops/context.hpp"
#include "stepless/matmul.hpp"

namespace stepless {
namespace {

/// Normal-ish numbers from a fixed stream (sums of four uniforms): the same on every machine.
class Numbers {
 public:
  float next() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state_ >> 40) / 16777216.0f - 0.5f;
    }
    return sum * 1.7320508f;
  }

 private:
  std::uint64_t state_ = 20261121;
};

Tensor random_tensor(Numbers& numbers, DType type, Shape shape) {
  const std::int64_t count = count_of(shape, "selftest");
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = numbers.next();
  Tensor t;
  t.type = type;
  t.shape = std::move(shape);
  t.data.resize(static_cast<std::size_t>(count * size_of(type)));
  from_f32(values.data(), type, t.data.data(), count);
  return t;
}

std::vector<double> doubles(const TensorView& view) {
  std::vector<float> floats(static_cast<std::size_t>(count_of(view.shape, "selftest")));
  to_f32(view.data, view.type, floats.data(), std::ssize(floats));
  return {floats.begin(), floats.end()};
}

struct Shape3 {
  std::int64_t m, n, k;
};

/// contract.md, section 5: |y - ref| <= |round(ref) - ref| + c * |ref|; 8-bit activations, which
/// are asked for, may take 2 % of |ref| more.
std::string judge(const Tensor& y, const std::vector<double>& want,
                  Precision precision = Precision::exact) {
  const std::vector<double> got = doubles(y.view());
  std::vector<float> rounded(want.begin(), want.end());
  Tensor once{std::vector<std::byte>(y.data.size()), y.type, y.shape};
  from_f32(rounded.data(), y.type, once.data.data(), std::ssize(rounded));
  const std::vector<double> nearest = doubles(once.view());
  double error = 0, rounding = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    rounding += (nearest[i] - want[i]) * (nearest[i] - want[i]);
    norm += want[i] * want[i];
  }
  const double c = y.type == DType::f32 ? 2e-5 : y.type == DType::f16 ? 1.6e-4 : 9e-4;
  const double more = precision == Precision::int8 ? 2e-2 : 0;
  const double bound = std::sqrt(rounding) + (c + more) * std::sqrt(norm);
  if (std::sqrt(error) <= bound) return "";
  return fmt::format("error {:.3g}; at most {:.3g}", std::sqrt(error), bound);
}

/// w is (rows, columns) decoded: (n, k) when transposed, else (k, n).
std::vector<double> product(const std::vector<double>& x, const std::vector<double>& w,
                            const Shape3& s, bool transposed) {
  std::vector<double> y(static_cast<std::size_t>(s.m * s.n));
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (std::int64_t t = 0; t < s.k; ++t)
        sum += x[static_cast<std::size_t>(i * s.k + t)] *
               w[static_cast<std::size_t>(transposed ? j * s.k + t : t * s.n + j)];
      y[static_cast<std::size_t>(i * s.n + j)] = sum;
    }
  return y;
}

std::string check_packed(Context& context, bool transposed, const QuantSpec& spec, DType x_type,
                         const Shape3& s) {
  Numbers numbers;
  const DType w_type = x_type == DType::f32 ? DType::f32 : x_type;
  const Tensor dense =
      random_tensor(numbers, w_type, transposed ? Shape{s.n, s.k} : Shape{s.k, s.n});
  const QuantizedTensors packed = quantize(dense.view(), spec, {});
  const Tensor x = random_tensor(numbers, x_type, {s.m, s.k});
  const Tensor y = quantized_matmul(context, x.view(), packed.view(),
                                    transposed ? Transpose::yes : Transpose::no);
  const Tensor decoded = dequantize(packed.view(), DType::f32);
  return judge(y, product(doubles(x.view()), doubles(decoded.view()), s, transposed),
               context.overrides().fast_int8 ? Precision::int8 : Precision::exact);
}

std::string check_dense(Context& context, DType x_type, const Shape3& s) {
  Numbers numbers;
  const Tensor w = random_tensor(numbers, x_type, {s.n, s.k}),
               x = random_tensor(numbers, x_type, {s.m, s.k});
  return judge(linear(context, x.view(), w.view()),
               product(doubles(x.view()), doubles(w.view()), s, true));
}

std::string check_dot(Context& context, DType type, std::int64_t k) {
  Numbers numbers;
  const Tensor a = random_tensor(numbers, type, {k}), b = random_tensor(numbers, type, {k});
  const std::vector<double> x = doubles(a.view()), y = doubles(b.view());
  double sum = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i], size += std::abs(x[i] * y[i]);
  const double got = doubles(dot(context, a.view(), b.view()).view())[0];
  const double ulp = type == DType::f32 ? 6e-8 : type == DType::f16 ? 5e-4 : 4e-3;
  if (std::abs(got - sum) <= ulp * std::abs(sum) + 1e-6 * size) return "";
  return fmt::format("{:.9g}; expected {:.9g}", got, sum);
}

constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr QuantSpec kSpecs[] = {
    {Mode::affine, 1, 32}, {Mode::affine, 2, 64},  {Mode::affine, 3, 64}, {Mode::affine, 4, 32},
    {Mode::affine, 4, 64}, {Mode::affine, 4, 128}, {Mode::affine, 5, 64}, {Mode::affine, 6, 64},
    {Mode::affine, 8, 64}, {Mode::mxfp4, 4, 32},   {Mode::mxfp8, 8, 32},  {Mode::nvfp4, 4, 16}};

bool takes(const Kernel& row, const QuantSpec& spec) {
  return (!row.is.mode || *row.is.mode == spec.mode) &&
         (row.is.bits == 0 || row.is.bits == spec.bits);
}

void check_row(const Kernel& row, int threads, bool quick, GoldenReport& report) {
  Overrides wish;
  wish.kernel = std::string(row.name);
  wish.fast_int8 = row.fields.order == Order::int8_groups;
  Context context(threads, wish);
  const std::vector<Shape3> shapes =
      quick ? std::vector<Shape3>{{3, 40, 256}}
            : std::vector<Shape3>{{1, 128, 256}, {3, 130, 384}, {9, 67, 1024}};
  for (const DType type : kTypes) {
    if (row.is.act && *row.is.act != type) continue;
    const std::string name = fmt::format("{} x {}", row.name, to_string(type));
    if (row.is.op == KernelOp::dot) {
      for (const std::int64_t k : {std::int64_t{1}, std::int64_t{1000}, std::int64_t{70001}})
        report.run(fmt::format("{} k {}", name, k), [&] { return check_dot(context, type, k); });
      continue;
    }
    for (Shape3 s : shapes) {
      if (row.is.op == KernelOp::mm) {
        report.run(fmt::format("{} m {}", name, s.m),
                   [&] { return check_dense(context, type, s); });
        continue;
      }
      const bool transposed = row.is.op == KernelOp::qmm;
      if (!transposed) s.n = 128;  // groups run along n
      for (const QuantSpec& spec : kSpecs) {
        if (!takes(row, spec)) continue;
        const std::string what = fmt::format("{} {} {}-bit g{} m {}", name, to_string(spec.mode),
                                             spec.bits, spec.group_size, s.m);
        report.run(what, [&]() -> std::string {
          try {
            return check_packed(context, transposed, spec, type, s);
          } catch (const Error& error) {
            // A row may refuse a scale type or group that its siblings take: not a failure of the
            // row.
            if (error.code() == ErrorCode::invalid_argument) return "";
            throw;
          }
        });
      }
    }
  }
}

}  // namespace

GoldenReport run_selftest_kernels(int threads, bool quick) {
  GoldenReport report;
  const Machine machine = this_machine(threads);
  for (const Kernel& row : roll_call()) {
    const bool matrix = row.is.op == KernelOp::qmm || row.is.op == KernelOp::qmmn ||
                        row.is.op == KernelOp::mm || row.is.op == KernelOp::dot;
    if (!matrix) continue;  // what lies between the products is checked by the demo model's text
    if (row.entry == nullptr || !machine.has(row.is.isa)) {
      report.skip(fmt::format("{}: this {} has no {}", row.name, !row.built() ? "build" : "machine",
                              to_string(row.is.isa)));
      continue;
    }
    check_row(row, threads, quick, report);
  }
  return report;
}

}  // namespace stepless
