// Into how many parts the threads of a team cut work, and where. Bits never follow from it: every
// output is computed whole inside one unit, wherever the cuts fall.
#pragma once
#include <cstdint>

#include "kernels/args.hpp"
#include "ops/step.hpp"

namespace stepless {

/// About 1 us of one core: what handing a region to another thread costs is lost in two of them.
inline constexpr std::int64_t kLeastPartBytes = 16 * 1024;

struct Cutting {
  int threads = 1;
  std::int64_t least_part_bytes = kLeastPartBytes;
  /// Parts for `work` bytes read or written in at most `pieces` pieces: several for each thread, so
  /// that one that is late leaves them to the others; one where a part would be over before another
  /// thread has heard of it.
  std::int64_t parts(std::int64_t work, std::int64_t pieces) const;
};

/// What stands one after the other and is cut as a whole: `work` in `pieces` equal pieces that
/// begins at `first`.
struct Span {
  std::int64_t first, work, pieces;
};
/// The pieces of `span` in part `index` of `parts` of `total` work. May be empty.
kernels::Slice pieces_in(const Span& span, std::int64_t total, std::int64_t index,
                         std::int64_t parts);

/// Pieces into which a call may be cut: units in multiples of the kernel's tile.
std::int64_t pieces_of(const BoundCall& call);
/// Units of those pieces.
kernels::Slice units_of(const BoundCall& call, kernels::Slice pieces);
/// Bytes that a piece reads and writes, about; a matmul's weights once for every row of x.
/// `seen`: positions that a row of the step attends to, on average.
std::int64_t piece_work(const BoundCall& call, std::int64_t seen);

}  // namespace stepless
