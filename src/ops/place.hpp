// Gives every value its bytes in the step arena: first fit over the values alive at the same time,
// at the largest step. Pure. An operation's outputs never share bytes with its inputs, so kernels
// need not think about aliasing.
#pragma once
#include "ops/program.hpp"

namespace stepless {

Program place(Program program, std::int64_t max_rows, std::int64_t max_sampled);

}  // namespace stepless
