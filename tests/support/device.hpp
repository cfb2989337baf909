// The CUDA rows of the roll call under test. tests/support/none answers where there is no nvcc.
#pragma once
#include "kernels/kernel.hpp"
#include "tests/support/dot_case.hpp"
#include "tests/support/matmul_case.hpp"

namespace stepless::test {

/// Whether a GPU is there that can run this target's code.
bool device_runs(Isa isa);
/// y of one matmul on the device, (m, n) contiguous. The output is poisoned, what surrounds it and
/// the rows of x is checked, and the workspace's tickets must be zero again.
Bytes run_on_device(const Kernel& kernel, const Operands& operands);
/// The same for one inner product.
Bytes run_on_device(const Kernel& kernel, const DotProblem& problem);

}  // namespace stepless::test
