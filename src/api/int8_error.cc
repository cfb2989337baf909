#include "api/int8_error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "format/dtype.hpp"
#include "ops/context.hpp"
#include "stepless/matmul.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kRows = 4, kMostOutputs = 64;

/// Sums of four uniforms from a fixed stream: the same figure in every run.
Tensor random_rows(std::int64_t k) {
  Tensor x{std::vector<std::byte>(static_cast<std::size_t>(kRows * k) * sizeof(float)),
           DType::f32,
           {kRows, k}};
  std::uint64_t state = 20261128;
  std::vector<float> values(static_cast<std::size_t>(kRows * k));
  for (float& value : values)
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      value += static_cast<float>(state >> 40) / 16777216.0f - 0.5f;
    }
  from_f32(values.data(), DType::f32, x.data.data(), kRows * k);
  return x;
}

/// The first outputs of a weight, of its first expert where there are several.
QuantizedView first_outputs(const Matrix& w) {
  const std::int64_t count = std::min(w.n, kMostOutputs);
  const auto rows = [&](TensorView view) {
    if (view.data != nullptr) view.shape = {count, view.shape.back()};
    return view;
  };
  return {w.spec, rows(w.w), rows(w.scales), rows(w.biases), {}};
}

double relative_error(Context& exact, Context& fast, const Matrix& w) {
  const Tensor x = random_rows(w.k);
  const QuantizedView view = first_outputs(w);
  const Tensor want = quantized_matmul(exact, x.view(), view);
  const Tensor got = quantized_matmul(fast, x.view(), view);
  std::vector<float> a(static_cast<std::size_t>(kRows * view.packed.shape[0])), b = a;
  to_f32(want.data.data(), want.type, a.data(), std::ssize(a));
  to_f32(got.data.data(), got.type, b.data(), std::ssize(b));
  double off = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    off += (b[i] - a[i]) * (b[i] - a[i]);
    norm += a[i] * a[i];
  }
  return norm == 0 ? 0 : std::sqrt(off / norm);
}

/// The weights of a model's products by how x is taken.
struct Weights {
  std::map<std::tuple<Mode, int, int, DType, std::int64_t>, const Matrix*> rounded;  // one a kind
  std::set<std::string> exact;
};

Weights weights_of(const Program& program) {
  Weights found;
  for (const Node& node : program.nodes) {
    const std::vector<LinearPart>* parts = nullptr;
    if (const auto* linear = std::get_if<LinearOp>(&node.op)) parts = &linear->parts;
    if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) parts = &experts->parts;
    for (std::size_t part = 0; parts != nullptr && part < parts->size(); ++part) {
      const Matrix& w = program.matrices[static_cast<std::size_t>((*parts)[part].weight)];
      if (node.plans[part].front()->precision() == Precision::int8)
        found.rounded.try_emplace({w.spec.mode, w.spec.bits, w.spec.group_size, w.type, w.k}, &w);
      else
        found.exact.insert(w.name);
    }
  }
  return found;
}

std::string exact_text(const std::set<std::string>& names) {
  if (names.empty()) return "no weight stays exact";
  const std::string more = names.size() == 1 ? "" : fmt::format(" and {} more", names.size() - 1);
  return fmt::format("{}{} stay exact, as no kernel has 8-bit activations for them here",
                     *names.begin(), more);
}

}  // namespace

std::string measure_int8(const LoadedModel& model, const Overrides& overrides) {
  const Weights weights = weights_of(*model.program);
  if (weights.rounded.empty()) return "fast-int8: " + exact_text(weights.exact);
  Overrides plain = overrides;
  plain.fast_int8 = false;
  plain.kernel.clear();
  Overrides wish = plain;
  wish.fast_int8 = true;
  Context exact(1, plain), fast(1, wish);
  double most = 0;
  for (const auto& [kind, w] : weights.rounded)
    most = std::max(most, relative_error(exact, fast, *w));
  return fmt::format(
      "fast-int8: activations are rounded to 8 bits; error of products {:.1e}, the largest of {} "
      "measured on random x; {}",
      most, weights.rounded.size(), exact_text(weights.exact));
}

}  // namespace stepless
