#include "api/bench_options.hpp"

#include "base/cpus.hpp"
#include "base/error.hpp"
#include "dispatch/select.hpp"

namespace stepless {

Machine machine_for(const BenchOptions& options) {
  Machine machine = this_machine(options.threads == 0 ? physical_cores() : options.threads);
  if (options.max_isa.empty()) return machine;
  Overrides wish;
  wish.max_isa = parse_isa(options.max_isa);
  check_overrides(wish, machine);
  std::erase_if(machine.isas, [&](Isa isa) { return isa > *wish.max_isa; });
  return machine;
}

MeasureOptions measure_options(const BenchOptions& options) {
  if (options.rounds < 1)
    fail(ErrorCode::invalid_argument, "repeats: {}; 1 or more", options.rounds);
  return {.rounds = options.rounds, .progress = options.progress};
}

}  // namespace stepless
