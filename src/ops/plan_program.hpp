// Chooses a kernel for every weight, operation and row bucket, once, at load. `explain` prints what
// is stored here.
#pragma once
#include "dispatch/select.hpp"
#include "ops/program.hpp"

namespace stepless {

/// Fills Node::plans for steps of up to program.max_rows rows. Equal problems share one Plan.
void plan_program(Program& program, const Machine& machine, const Overrides& overrides);

/// The plan of a part for m rows.
const Plan& plan_for(const Program& program, const Node& node, std::size_t part, std::int64_t m,
                     Role role = Role::decode);

/// Whether prompt rows are computed in another order than the others.
bool has_prompt_plans(const Program& program);

/// Bytes of prepared x that the program's largest operation needs.
std::int64_t workspace_bytes(const Program& program);

}  // namespace stepless
