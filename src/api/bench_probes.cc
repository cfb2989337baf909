#include "api/bench_probes.hpp"

#include <algorithm>

#include "api/bench_memory.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kReadBytes = 16 << 20;  // of one thread: about a millisecond
constexpr std::int64_t kSteps = 60000;         // of an arithmetic loop: about 0.1 ms
constexpr int kRegions = 50;
constexpr std::size_t kArmsPerProbe = 12;  // between two looks at the ceilings

double median(const std::vector<double>& samples) { return summary_of(samples).median; }

}  // namespace

CeilingProbes::CeilingProbes(ThreadTeam& team, const Machine& machine) : team_(team) {
  const std::int64_t bytes =
      std::max(kReadBytes * team.size() + kReadBytes, 3 * last_cache_bytes());
  memory_ = LargeBuffer(bytes, "memory that bench reads", Pages::huge);
  fill_random(memory_.as<std::uint8_t>(), bytes, ~std::uint64_t{0}, 0);
  using Entry = kernels::CeilingEntry;
  loops_ = {fastest(machine, &Entry::f32), fastest(machine, &Entry::bf16),
            fastest(machine, &Entry::int16), fastest(machine, &Entry::int8)};
  choose_read(machine);
}

void CeilingProbes::choose_read(const Machine& machine) {
  double least = 0;
  for (const CeilingLoops& loops : ceiling_loops()) {
    if (loops.entry == nullptr || loops.entry->read == nullptr || !machine.has(loops.isa)) continue;
    const Arm arm{[&] { loops.entry->read(next(kReadBytes), kReadBytes); }};
    const double us = median(measure_rounds({&arm, 1}, {.rounds = 3})[0].us);
    if (read_ == nullptr || us < least) least = us, read_ = loops.entry->read;
  }
}

CeilingProbes::Loop CeilingProbes::fastest(
    const Machine& machine,
    std::int64_t (*kernels::CeilingEntry::*loop)(std::int64_t steps)) const {
  Loop best;
  double most = 0;
  for (const CeilingLoops& loops : ceiling_loops()) {
    if (loops.entry == nullptr || loops.entry->*loop == nullptr || !machine.has(loops.isa))
      continue;
    std::int64_t operations = 0;
    const Arm arm{[&] { operations = (loops.entry->*loop)(kSteps); }};
    const double us = summary_of(measure_rounds({&arm, 1}, {.rounds = 5})[0].us).min;
    if (static_cast<double>(operations) / us <= most) continue;
    most = static_cast<double>(operations) / us;
    best = {loops.entry->*loop, std::string(to_string(loops.isa)), operations};
  }
  return best;
}

const CeilingProbes::Loop& CeilingProbes::loop_of(Probe probe) const {
  return loops_[static_cast<std::size_t>(probe) - static_cast<std::size_t>(Probe::f32)];
}

const std::uint8_t* CeilingProbes::next(std::int64_t bytes) {
  if (at_ + bytes > memory_.size()) at_ = 0;
  const std::uint8_t* const here = memory_.as<std::uint8_t>() + at_;
  at_ += bytes;
  return here;
}

void CeilingProbes::read_on_all() {
  const std::uint8_t* const here = next(kReadBytes * team_.size());
  constexpr std::int64_t kParts = 8, kPartBytes = kReadBytes / kParts;  // of a thread
  team_.run(kParts * team_.size(),
            [&](std::int64_t part) { read_(here + part * kPartBytes, kPartBytes); });
}

void CeilingProbes::add_to(std::vector<Arm>& arms) {
  const auto add = [&](Probe probe, std::function<void()> run, std::int64_t calls = 1) {
    places_.push_back({probe, arms.size()});
    arms.push_back({std::move(run), calls});
  };
  add(Probe::read, [this] { read_(next(kReadBytes), kReadBytes); });
  if (team_.size() > 1) {
    add(Probe::read_all, [this] { read_on_all(); });
    add(
        Probe::region, [this] { team_.run(team_.size(), [](std::int64_t) {}); }, kRegions);
  }
  for (const Probe probe : {Probe::f32, Probe::bf16, Probe::int16, Probe::int8})
    if (const auto run = loop_of(probe).run; run != nullptr) add(probe, [run] { run(kSteps); });
}

Ceilings CeilingProbes::ceilings(const std::vector<ArmTimes>& times) const {
  Ceilings c;
  c.threads = team_.size();
  std::vector<double>* const rates[] = {&c.f32_gflop_s, &c.bf16_gflop_s, &c.int16_gop_s,
                                        &c.int8_gop_s};
  std::string* const isas[] = {&c.f32_isa, &c.bf16_isa, &c.int16_isa, &c.int8_isa};
  for (std::size_t i = 0; i < loops_.size(); ++i) *isas[i] = loops_[i].isa;
  for (const Place& place : places_)
    for (const double us : times[place.arm].us) {
      const double read = static_cast<double>(kReadBytes) / us / 1e3;
      switch (place.probe) {
        case Probe::read:
          c.read_gb_s.push_back(read);
          if (team_.size() == 1) c.read_all_gb_s.push_back(read);
          break;
        case Probe::read_all:
          c.read_all_gb_s.push_back(read * team_.size());
          break;
        case Probe::region:
          c.region_us.push_back(us);
          break;
        case Probe::f32:
        case Probe::bf16:
        case Probe::int16:
        case Probe::int8:
          rates[static_cast<std::size_t>(place.probe) - static_cast<std::size_t>(Probe::f32)]
              ->push_back(static_cast<double>(loop_of(place.probe).operations) / us / 1e3);
          break;
      }
    }
  return c;
}

void ProbedArms::add(Arm arm) {
  if (places_.size() % kArmsPerProbe == 0) probes_.add_to(arms_);
  places_.push_back(arms_.size());
  arms_.push_back(std::move(arm));
}

std::vector<ArmTimes> ProbedArms::measure(const MeasureOptions& options) {
  std::vector<ArmTimes> all = measure_rounds(arms_, options), own;
  ceilings_ = probes_.ceilings(all);
  for (const std::size_t place : places_) own.push_back(std::move(all[place]));
  return own;
}

Machine with_ceilings(Machine machine, const Ceilings& c) {
  machine.threads = c.threads;
  machine.read_gbps = median(c.read_gb_s);
  machine.read_gbps_all = median(c.read_all_gb_s);
  machine.f32_gflops = median(c.f32_gflop_s);
  machine.bf16_gflops = median(c.bf16_gflop_s);
  machine.int16_gops = median(c.int16_gop_s);
  machine.int8_gops = median(c.int8_gop_s);
  if (!c.region_us.empty()) machine.fixed_us = median(c.region_us);
  return machine;
}

}  // namespace stepless
