// The choice of a kernel: order first (never from m), then the cheapest legal kernel of that order.
// Pure.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "dispatch/machine.hpp"
#include "dispatch/problem.hpp"

namespace stepless {

/// Wishes of the user, read at the edge and passed down.
struct Overrides {
  std::optional<Isa> max_isa;
  std::string kernel;      // a name of the roll call; empty: none
  bool fast_int8 = false;  // 8-bit activations; weights without a kernel for them stay exact
};

struct Candidate {
  const Kernel* kernel = nullptr;
  double cost_us = 0;  // meaningful when why is empty or says "slower"
  bool legal = false;
  std::string why;  // "chosen", "slower: …", "another order: …", "not allowed: …"
};

struct Plan {
  const Kernel* kernel = nullptr;
  Order order = Order::none;
  int splits = 1;
  std::int64_t workspace_bytes = 0;
  double cost_us = 0, floor_us = 0;
  std::string warning;  // what a wish costs: "row invariance is off: …"; the edge prints it once
  std::vector<Candidate> candidates;  // every kernel of the op, in the order of the roll call
  /// int8 where x is rounded to 8 bits: against which ceiling the kernel is held.
  Precision precision() const {
    return order == Order::int8_groups ? Precision::int8 : Precision::exact;
  }
};

/// No clock, device, environment or global. Throws Error: invalid_argument for an illegal wish,
/// with the reason; unsupported when no kernel is legal (never for problems of contract.md on a
/// machine that has Isa::cpu).
Plan select(const Problem& problem, const Machine& machine, const Overrides& overrides = {});

/// Throws Error (invalid_argument) for wishes that no problem on this machine can grant: an unknown
/// kernel, an instruction set it lacks, fast_int8 where no kernel has it. select() checks the same.
void check_overrides(const Overrides& overrides, const Machine& machine);

/// Bytes of workspace that this kernel needs for the problem's m. Throws Error (exhausted) when
/// they overflow.
std::int64_t workspace_bytes(const Kernel& kernel, const Problem& problem);

/// May this kernel run this problem on this machine? Empty if so, else the first reason, in words.
std::string why_not(const Kernel& kernel, const Problem& problem, const Machine& machine);

}  // namespace stepless
