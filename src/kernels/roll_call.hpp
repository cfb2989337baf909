// Every kernel there is, in the order of kernels.inc.
#pragma once
#include <span>

#include "kernels/kernel.hpp"

namespace stepless {

std::span<const Kernel> roll_call();
/// Null when no kernel has this name.
const Kernel* find_kernel(std::string_view name);

}  // namespace stepless
