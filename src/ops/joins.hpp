// Operations that a backend may run in one launch: the parts of a linear operation and the gate
// behind them, a sum and its norm, rotary embeddings, the put and attention behind them. Found once
// per program: whether the kernels planned for a step can do it is asked at each
// (ops/cuda/joined.hpp).
//
// A norm in front of a product is made by every block of it, which pays up to two rows on an H200:
// a layer of 3 billion weights takes 33.8 us instead of 35.3 at one row, 41.3 instead of 37.3 at
// four, whose room in shared memory attention would have had. Tried and given up: the sum behind a
// product in its last lines, with and without squares for the norm (docs/decisions/0014).
#pragma once
#include <vector>

#include "ops/program.hpp"

namespace stepless {

/// What may join the node that it is found at.
enum class Join : std::uint8_t {
  none,
  parts,
  gate,
  norm_sum,
  norm_product,   // a sum, its norm, the product that alone reads that
  norm_gate,      // the same and the gate behind it
  feed_forward,   // the same and the product that alone reads what the gate gives
  taken_product,  // a sum, the sampled rows of it, their norm and the product that alone reads that
  put_turned,
  attend_turned,
  attended_product  // attention and the product that alone reads it
};
/// How many nodes join at most, the first included.
std::size_t nodes_of(Join join);

/// By the first node.
std::vector<Join> joins_of(const Program& program);

}  // namespace stepless
