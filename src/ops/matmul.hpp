// How the doors of stepless/matmul.hpp run one matrix after their checks. For ops that check by
// themselves.
#pragma once
#include <cstdint>

#include "kernels/args.hpp"
#include "ops/context.hpp"
#include "stepless/matmul.hpp"

namespace stepless {

/// Plans and runs y = x · wᵀ (qmm, mm) or x · w (qmmn) on the context's team. `args` is complete
/// save for the workspace, its pointers have their types' alignment; m, n > 0.
void run_matmul(Context& context, KernelOp op, kernels::MatmulArgs args);

/// An uninitialised-to-zero result. Throws Error (exhausted) with its size when there is no memory.
Tensor make_tensor(Shape shape, DType type, const char* name);

/// `data` when it lies at a multiple of its type's size, else a copy in the scratch buffer.
const std::byte* aligned_input(Context& context, const TensorView& view, Scratch which);

}  // namespace stepless
