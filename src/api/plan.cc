#include "stepless/plan.hpp"

#include <algorithm>

#include "api/device.hpp"
#include "api/problem_of.hpp"
#include "base/cpus.hpp"
#include "base/error.hpp"
#include "dispatch/explain.hpp"
#include "dispatch/machine.hpp"
#include "dispatch/select.hpp"
#include "format/dtype.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {

Problem problem_of(const ProblemSpec& spec) {
  if (spec.m < 1 || spec.n < 1 || spec.k < 1)
    fail(ErrorCode::invalid_argument, "m {}, n {}, k {}; at least 1 each", spec.m, spec.n, spec.k);
  Problem p;
  p.m = spec.m, p.n = spec.n, p.k = spec.k;
  p.x_type = p.w_type = p.y_type = parse_float_dtype(spec.dtype, "dtype");
  if (spec.bits && (*spec.bits == 16 || *spec.bits == 32)) {
    if (!spec.transpose)
      fail(ErrorCode::unsupported, "a dense weight without transpose: transpose it once instead");
    p.op = KernelOp::mm;
    p.packed = false;
    if (size_of(p.w_type) * 8 != *spec.bits)
      fail(ErrorCode::invalid_argument, "bits {} of a {} weight; {}", *spec.bits, spec.dtype,
           size_of(p.w_type) * 8);
    return p;
  }
  p.op = spec.transpose ? KernelOp::qmm : KernelOp::qmmn;
  p.quant = make_spec(parse_mode(spec.mode), spec.bits, spec.group_size);
  const std::int64_t grouped = spec.transpose ? p.k : p.n;
  if (grouped % p.quant.group_size != 0)
    fail(ErrorCode::invalid_argument, "{} {} is no multiple of the group size {}",
         spec.transpose ? "k" : "n", grouped, p.quant.group_size);
  if (p.quant.mode != Mode::affine) p.w_type = DType::u8;
  return p;
}

std::string explain_problem(const ProblemSpec& spec, bool json,
                            const std::vector<double>& measured_us) {
  const Problem problem = problem_of(spec);
  Machine machine;
  if (spec.machine.empty()) {
    machine = this_machine(spec.threads > 0 ? spec.threads : physical_cores());
  } else {
    machine = open_machine(spec.machine);
    if (spec.threads > 0) machine = with_threads(machine, spec.threads);
  }
  Overrides overrides;
  if (!spec.max_isa.empty()) overrides.max_isa = parse_isa(spec.max_isa);
  overrides.kernel = spec.kernel;
  overrides.fast_int8 = spec.fast_int8;
  const Plan plan = select(problem, machine, overrides);
  return json ? explain_json(problem, machine, plan, measured_us).dump()
              : explain_text(problem, machine, plan, measured_us);
}

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const Kernel& row : roll_call()) {
    const std::string name(to_string(row.is.isa));
    if (row.entry != nullptr && std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
  }
  return names;
}

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  const std::vector<std::string> built = built_isas();
  for (const Isa isa : probe_isas()) {
    const std::string name(to_string(isa));
    if (std::find(built.begin(), built.end(), name) != built.end()) names.push_back(name);
  }
  return names;
}

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  for (const Machine& machine : known_machines()) names.push_back(machine.name);
  return names;
}

std::vector<GpuName> gpus() {
  std::vector<GpuName> names;
  for (const Gpu& gpu : find_gpus()) names.push_back({gpu.name, gpu.unusable, gpu.memory_bytes});
  return names;
}
std::string why_no_gpu_here() { return why_no_gpu(); }
void check_device(const std::string& device) {
  ModelOptions options;
  options.device = device;
  choose_gpu(options);
}
std::string cuda_version() { return cuda_toolkit(); }
std::vector<std::string> cuda_architectures() { return gpu_architectures(); }

std::string cpu_name() { return probe_cpu_name(); }
int usable_cores() { return physical_cores(); }
int usable_cpus() { return available_cpus(); }

}  // namespace stepless
