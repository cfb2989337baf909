// Loops that say what the machine can do at best, as arms between the arms of a bench.
#pragma once
#include <array>
#include <vector>

#include "base/large_buffer.hpp"
#include "base/measure.hpp"
#include "base/thread_team.hpp"
#include "dispatch/machine.hpp"
#include "kernels/ceilings.hpp"
#include "stepless/bench.hpp"

namespace stepless {

enum class Probe : std::uint8_t { read, read_all, f32, bf16, int16, int8, region };

/// The team outlives it. Reads go over cold memory of its own.
class CeilingProbes {
 public:
  /// Finds the fastest loop of each kind among the instruction sets of `machine`.
  CeilingProbes(ThreadTeam& team, const Machine& machine);
  /// One arm of each kind there is, behind those in `arms`.
  void add_to(std::vector<Arm>& arms);
  /// The rates of all arms added; `times` is of the whole list.
  Ceilings ceilings(const std::vector<ArmTimes>& times) const;

 private:
  struct Place {
    Probe probe;
    std::size_t arm;
  };
  struct Loop {
    std::int64_t (*run)(std::int64_t steps) = nullptr;
    std::string isa;
    std::int64_t operations = 0;
  };
  void choose_read(const Machine& machine);
  Loop fastest(const Machine& machine,
               std::int64_t (*kernels::CeilingEntry::*loop)(std::int64_t steps)) const;
  const Loop& loop_of(Probe probe) const;
  const std::uint8_t* next(std::int64_t bytes);
  void read_on_all();

  ThreadTeam& team_;
  LargeBuffer memory_;
  std::int64_t at_ = 0;
  void (*read_)(const std::uint8_t* at, std::int64_t bytes) = nullptr;
  std::array<Loop, 4> loops_;  // f32, bf16, int16, int8
  std::vector<Place> places_;
};

/// Arms of a bench with looks at the ceilings between them.
class ProbedArms {
 public:
  /// The team outlives it.
  ProbedArms(ThreadTeam& team, const Machine& machine) : probes_(team, machine) {}
  void add(Arm arm);
  /// Samples of the arms added, in their order. Once.
  std::vector<ArmTimes> measure(const MeasureOptions& options);
  /// Of all looks; after measure().
  const Ceilings& ceilings() const { return ceilings_; }

 private:
  CeilingProbes probes_;
  std::vector<Arm> arms_;
  std::vector<std::size_t> places_;  // of the arms added, among all
  Ceilings ceilings_;
};

/// `machine` with the medians of what was measured in place of its rates.
Machine with_ceilings(Machine machine, const Ceilings& ceilings);

}  // namespace stepless
