#include "ops/cpu/run_kernel.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace stepless {
namespace {

// About 2 us of one core's bandwidth, ten times what waking the team costs (kernels.md, CPU 1: 0.2
// us a region).
constexpr std::int64_t kLeastBytesPerThread = 64 * 1024;

const kernels::CpuEntry& entry_of(const Kernel& kernel) {
  if (kernel.entry == nullptr)
    fail(ErrorCode::unsupported,
         "kernel {}: this build has no code for {}; plan with this_machine()", kernel.name,
         to_string(kernel.is.isa));
  return *kernel.entry;
}

int threads_worth(const KernelCall& call, int threads) {
  if (call.unit_bytes <= 0) return threads;
  const double bytes = static_cast<double>(call.units) * static_cast<double>(call.unit_bytes);
  return static_cast<int>(std::clamp(bytes / static_cast<double>(kLeastBytesPerThread), 1.0,
                                     static_cast<double>(threads)));
}

void prepare_part(const KernelCall& call, const kernels::CpuEntry& entry, int thread, int threads) {
  const Part rows = part_of(call.prepare_rows, 1, thread, threads);
  if (rows.begin < rows.end) entry.prepare(call.args, {rows.begin, rows.end});
}

void run_part(const KernelCall& call, const kernels::CpuEntry& entry, int thread, int threads) {
  const Part units = units_of(call, thread, threads);
  if (units.begin < units.end) entry.run(call.args, {units.begin, units.end});
}

bool prepares(const KernelCall& call, const kernels::CpuEntry& entry) {
  return entry.prepare != nullptr && call.prepare_rows > 0;
}

}  // namespace

Part units_of(const KernelCall& call, int thread, int threads) {
  const int workers = threads_worth(call, threads);
  if (thread >= workers) return {call.units, call.units};
  const std::int64_t step = call.kernel.fields.unit == Unit::outputs ? call.kernel.is.tile_n : 1;
  return part_of(call.units, step, thread, workers);
}

void run_kernel(ThreadTeam& team, const KernelCall& call) {
  const kernels::CpuEntry& entry = entry_of(call.kernel);
  if (threads_worth(call, team.size()) == 1) {  // a region would only cost
    if (prepares(call, entry)) prepare_part(call, entry, 0, 1);
    run_part(call, entry, 0, 1);
    if (entry.finish != nullptr) entry.finish(call.args);
    return;
  }
  team.run([&](int thread) { run_kernel_in_region(team, thread, call); });
}

void run_kernel_in_region(ThreadTeam& team, int thread, const KernelCall& call) {
  const kernels::CpuEntry& entry = entry_of(call.kernel);
  if (prepares(call, entry)) {
    prepare_part(call, entry, thread, team.size());
    team.barrier().wait();
  }
  run_part(call, entry, thread, team.size());
  team.barrier().wait();
  if (entry.finish == nullptr) return;
  if (thread == 0) entry.finish(call.args);
  team.barrier().wait();
}

}  // namespace stepless
