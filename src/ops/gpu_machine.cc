#include "kernels/roll_call.hpp"
#include "ops/gpu.hpp"

namespace stepless {

Machine gpu_machine(const Gpu& gpu) {
  // A card without a line of its own takes the numbers of the class below its capability.
  Machine machine = find_machine(gpu.capability >= 90 ? "h200" : "a100");
  machine.name = gpu.name;
  std::erase_if(machine.isas, [](Isa isa) {
    for (const Kernel& row : roll_call())
      if (row.is.isa == isa && !row.built()) return true;
    return false;
  });
  return machine;
}

}  // namespace stepless
