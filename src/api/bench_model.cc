// Which products a model is made of, for bench qmm --model.
#include <algorithm>

#include "api/model_state.hpp"
#include "api/step_lines.hpp"
#include "base/error.hpp"
#include "ops/program.hpp"
#include "stepless/bench.hpp"

namespace stepless {
namespace {

/// The name that ProblemSpec knows a type by.
std::string dtype_name(DType type) {
  return type == DType::f32 ? "float32" : type == DType::f16 ? "float16" : "bfloat16";
}

ProblemSpec spec_of(const Matrix& w, DType x_type) {
  ProblemSpec spec;
  spec.n = w.n, spec.k = w.k;
  spec.dtype = dtype_name(x_type);
  spec.mode = std::string(to_string(w.spec.mode));
  spec.bits = w.packed ? w.spec.bits : static_cast<int>(8 * size_of(w.type));
  if (w.packed) spec.group_size = w.spec.group_size;
  return spec;
}

bool same(const ProblemSpec& a, const ProblemSpec& b) {
  return a.n == b.n && a.k == b.k && a.mode == b.mode && a.bits == b.bits &&
         a.group_size == b.group_size && a.dtype == b.dtype;
}

}  // namespace

std::vector<ProblemSpec> products_of(const Model& model) {
  const Program& program = *model.state()->loaded->program;
  std::vector<ProblemSpec> specs;
  for (const Node& node : program.nodes) {
    const std::vector<LinearPart>* parts = nullptr;
    if (const auto* linear = std::get_if<LinearOp>(&node.op)) parts = &linear->parts;
    if (const auto* experts = std::get_if<ExpertsOp>(&node.op)) parts = &experts->parts;
    if (parts == nullptr) continue;
    for (const LinearPart& part : *parts) {
      const Matrix& w = program.matrices[static_cast<std::size_t>(part.weight)];
      // A dense weight of another type than the activations (a router's, say) is no ProblemSpec.
      const DType x_type =
          program
              .values[static_cast<std::size_t>(std::holds_alternative<LinearOp>(node.op)
                                                   ? std::get<LinearOp>(node.op).x
                                                   : std::get<ExpertsOp>(node.op).x)]
              .type;
      if (!w.packed && w.type != x_type) continue;
      const ProblemSpec spec = spec_of(w, x_type);
      if (std::ranges::none_of(specs, [&](const ProblemSpec& old) { return same(old, spec); }))
        specs.push_back(spec);
    }
  }
  return specs;
}

std::vector<StepProduct> products_of_step(const Model& model, const StepShape& step) {
  const LoadedModel& loaded = *model.state()->loaded;
  std::vector<StepProduct> products;
  for (const StepLine& line : lines_of(loaded, loaded.machine, step)) {
    if (line.weight == nullptr || (!line.weight->packed && line.weight->type != line.x_type))
      continue;
    StepProduct product{spec_of(*line.weight, line.x_type), line.format};
    product.spec.m = std::max<std::int64_t>(line.m, 1);
    if (std::ranges::none_of(products, [&](const StepProduct& old) {
          return same(old.spec, product.spec) && old.spec.m == product.spec.m;
        }))
      products.push_back(std::move(product));
  }
  return products;
}

}  // namespace stepless
