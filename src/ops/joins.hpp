// Operations that a backend may run in one launch: the parts of a linear operation and the gate
// behind them, a sum and its norm, rotary embeddings, the put and attention behind them. Found once
// per program: whether the kernels planned for a step can do it is asked at each
// (ops/cuda/joined.hpp).
//
// Tried on an H200 and given up: the norm in front of a product made by every block of it, and the
// sum behind a product in its last lines. Steps of 1, 8 and 32 rows took 4, 24 and 8 % longer than
// with a launch for sum and norm together, which runs while the next product calls its weights in.
#pragma once
#include <vector>

#include "ops/program.hpp"

namespace stepless {

/// What may join the node that it is found at.
enum class Join : std::uint8_t { none, parts, gate, norm_sum, put_turned, attend_turned };
/// How many nodes join at most, the first included.
std::size_t nodes_of(Join join);

/// By the first node.
std::vector<Join> joins_of(const Program& program);

}  // namespace stepless
