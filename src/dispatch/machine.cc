#include "dispatch/machine.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "kernels/parse_name.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

template <class... Isas>
std::vector<Isa> isa_list(Isas... isas) {
  return {isas...};
}

std::vector<Machine> read_machines() {
  // The tokens of machines.inc stand for themselves.
  using enum Isa;
  std::vector<Machine> machines;
#define MACHINE(line, isas, read, read_all, f32, bf16, int16, int8, fixed, source) \
  machines.push_back(                                                              \
      {#line, #line, isa_list isas, 1, read, read_all, f32, bf16, int16, int8, fixed, source});
#include "dispatch/machines.inc"
#undef MACHINE
  return machines;
}

/// An instruction set is usable here when the rows it has in the roll call were built.
bool is_built(Isa isa) {
  return std::ranges::none_of(
      roll_call(), [&](const Kernel& kernel) { return kernel.is.isa == isa && !kernel.built(); });
}

/// The line of machines.inc for an instruction set; the nearest below for sets without numbers of
/// their own.
std::string_view class_of(const std::vector<Isa>& isas, std::string_view vendor) {
  const auto has = [&](Isa isa) { return std::ranges::find(isas, isa) != isas.end(); };
  if (has(Isa::amx)) return "xeon_amx";
  if (has(Isa::avx512bf16))
    return vendor == "GenuineIntel" ? "xeon_avx512bf16" : "server_avx512bf16";
  if (has(Isa::avx512)) return "server_avx512vnni";
  if (has(Isa::avxvnni)) return "desktop_avxvnni";
  if (has(Isa::avx2)) return "desktop_avx2";
  if (has(Isa::neonbf16)) return "aarch64_i8mm";
  if (has(Isa::neondot)) return "aarch64";
  if (has(Isa::neon)) return "aarch64_base";
  return "portable";
}

}  // namespace

Isa parse_isa(std::string_view name) {
  std::string names;
  for (const auto& token : kIsaTokens) {
    if (token.text == name) return token.value;
    names += (names.empty() ? "" : ", ") + std::string(token.text);
  }
  fail(ErrorCode::invalid_argument, "max-isa: \"{}\" is unknown; expected one of {}", name, names);
}

bool Machine::has(Isa isa) const { return std::ranges::find(isas, isa) != isas.end(); }

std::span<const Machine> known_machines() {
  static const std::vector<Machine> machines = read_machines();
  return machines;
}

const Machine& find_machine(std::string_view name) {
  std::string names;
  for (const Machine& machine : known_machines()) {
    if (machine.name == name) return machine;
    names += (names.empty() ? "" : ", ") + machine.name;
  }
  fail(ErrorCode::not_found, "machine: \"{}\" is unknown; expected {}", name, names);
}

Machine with_threads(Machine machine, int threads) {
  if (threads < 1) fail(ErrorCode::invalid_argument, "threads: {}; expected 1 or more", threads);
  machine.threads = threads;
  machine.read_gbps_all =
      std::min(machine.read_gbps * threads, std::max(machine.read_gbps_all, machine.read_gbps));
  return machine;
}

Machine this_machine(int threads) {
  std::vector<Isa> isas = probe_isas();
  Machine machine = with_threads(find_machine(class_of(isas, probe_cpu_vendor())), threads);
  const std::string name = probe_cpu_name();
  if (!name.empty()) machine.name = name;
  std::erase_if(isas, [](Isa isa) { return isa != Isa::cpu && !is_built(isa); });
  machine.isas = std::move(isas);
  return machine;
}

}  // namespace stepless
