// The one executor of CPU kernels called on their own: prepare over rows of x, then run over units,
// then finish. How units fall to threads never shows in the bits: a kernel computes each output
// whole inside one unit.
#pragma once
#include <cstdint>

#include "base/thread_team.hpp"
#include "kernels/kernel.hpp"

namespace stepless {

/// One operation with its arguments filled in. `args` is the Args struct of the kernel's op and
/// outlives the call.
struct KernelCall {
  const Kernel& kernel;
  const void* args;
  std::int64_t prepare_rows = 0;  // rows of x; 0 when the kernel prepares nothing
  std::int64_t units = 0;  // along kernel.fields.unit: outputs, rows, rows * heads, dot blocks
  /// What a unit reads and writes, m times its weights in a matmul: keeps threads out of work that
  /// is over before they wake.
  std::int64_t unit_bytes = 0;
};

/// Outputs are cut at multiples of the tile, so that no tile is shared. Throws Error (unsupported)
/// when this build has no code for the kernel.
void run_kernel(ThreadTeam& team, const KernelCall& call);

}  // namespace stepless
