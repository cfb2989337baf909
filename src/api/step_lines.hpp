// What one step of a model is made of, operation by operation: bytes, floor, prediction. `explain`
// prints the lines, bench adds them up.
#pragma once
#include <string>
#include <vector>

#include "model/model.hpp"
#include "ops/program.hpp"
#include "stepless/bench.hpp"

namespace stepless {

/// One line of the table: one operation part, over the layers where it is the same.
struct StepLine {
  std::string op, shape, kernel;
  int first_layer = -1, last_layer = -1, count = 0;
  std::int64_t m = 0;
  double bytes = 0, floor_us = 0, predicted_us = 0;
  // Of a matrix product: what it multiplies with, how it is named, products of this shape per
  // layer.
  const Matrix* weight = nullptr;
  DType x_type = DType::bf16;
  std::string format;
  double times = 1;
};

/// The weight of a part of a matrix product; null: the operation is another.
const Matrix* weight_of(const Program& program, const Node& node, std::size_t part);

/// Rows that meet k experts each, as if by chance: how many experts they wake, how many rows each
/// of those gets.
struct Crowd {
  double experts;
  std::int64_t rows;
};
Crowd crowd_of(const ExpertsOp& op, const Matrix& w, std::int64_t rows);

/// Floors are by `machine`, predictions by the one that the model was planned for.
std::vector<StepLine> lines_of(const LoadedModel& model, const Machine& machine,
                               const StepShape& step);

}  // namespace stepless
