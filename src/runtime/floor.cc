#include "runtime/floor.hpp"

#include "ops/plan_program.hpp"

namespace stepless {

double floor_us(const LoadedModel& model, std::int64_t rows, double kv_bytes) {
  double us = 0;
  for (const Node& node : model.program->nodes)
    for (std::size_t part = 0; part < node.plans.size(); ++part)
      if (std::holds_alternative<LinearOp>(node.op))
        us += plan_for(*model.program, node, part, rows).floor_us;
  return us + kv_bytes / (model.machine.read_gbps_all * 1e3);
}

}  // namespace stepless
