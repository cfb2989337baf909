// explain --measure: the times that stand beside its predictions.
#pragma once
#include "cli/flags.hpp"
#include "stepless/bench.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {

/// Samples of the kernel that the planner chooses, or the one that --kernel wishes for, on cold
/// weights. Throws Error: what bench_products() throws.
std::vector<double> measure_problem(const ProblemSpec& spec, const OutputFlags& output);

struct StepsToMeasure {
  std::int64_t batch = 1, context = 512;
  std::int64_t prompt = 0;  // rows of the prefill step; 0: none
  bool decode = true;
  bool whole = true;  // the steps as the engine runs them, too
};
/// Every product by itself, as bench qmm does, and whole steps by the engine. Throws Error:
/// unsupported (a GPU's products), cancelled, what the engine throws.
MeasuredModel measure_model(const Model& model, const ModelFlags& flags,
                            const StepsToMeasure& steps, const OutputFlags& output);

}  // namespace stepless::cli
