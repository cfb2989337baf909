// What a machine can do, as plain numbers with sources. Nothing is timed at start-up.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "kernels/kernel.hpp"

namespace stepless {

struct Machine {
  std::string name;       // a line of machines.inc, or the CPU's own
  std::string profile;    // the line of machines.inc whose numbers these are
  std::vector<Isa> isas;  // a computer has cpu, a GPU cuda and no cpu
  int threads = 1;
  double read_gbps = 10;      // DRAM read of one thread (CPU) or the device
  double read_gbps_all = 10;  // of all threads
  double f32_gflops = 20;     // per thread; mul and add count as two
  double bf16_gflops = 0;     // VDPBF16PS or tensor cores; 0: none
  double int16_gops = 0;      // VPMADDWD and the add behind it; 0: no kernel counts on it
  double int8_gops = 0;
  double fixed_us = 0.5;  // per op: a parallel region, or a graph node
  std::string source;     // the bench result or page the numbers come from
  bool has(Isa isa) const;
};

/// The machines of machines.inc: golden routes and `explain --machine NAME`.
std::span<const Machine> known_machines();
/// Throws Error (not_found) that lists the names.
const Machine& find_machine(std::string_view name);
/// A line of machines.inc, or a profile file when the word has a '/' or ends in .json: the object
/// that machine_json() writes. Throws Error: not_found, corrupt (a field missing, unknown or out of
/// range, by name).
Machine open_machine(const std::string& name_or_file);
/// name, profile, isas, threads, read_gbps, read_gbps_all, f32_gflops, bf16_gflops, int16_gops,
/// int8_gops, fixed_us, source.
OrderedJson machine_json(const Machine& machine);
/// This computer, classed by its ISA set; `threads` as the caller will run. Lists only instruction
/// sets that this build has kernels for, so that what select() chooses can run.
Machine this_machine(int threads);
/// A profile for `threads` threads: what all of them read together grows with them up to the
/// profile's own limit.
Machine with_threads(Machine machine, int threads);
/// The instruction sets of this CPU that the operating system lets programs use, Isa::cpu first;
/// built or not.
std::vector<Isa> probe_isas();
/// Who made it, e.g. "AuthenticAMD"; "" when it does not tell.
std::string probe_cpu_vendor();
/// The CPU's own name, e.g. "AMD EPYC 9R14"; "" when it does not tell.
std::string probe_cpu_name();
/// The token of an instruction set, as --max-isa takes it. Throws Error (invalid_argument) naming
/// all.
Isa parse_isa(std::string_view name);

}  // namespace stepless
