#include "ops/cpu/run_kernel.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "ops/cpu/parts.hpp"

namespace stepless {
namespace {

const kernels::CpuEntry& entry_of(const Kernel& kernel) {
  if (kernel.entry == nullptr)
    fail(ErrorCode::unsupported,
         "kernel {}: this build has no code for {}; plan with this_machine()", kernel.name,
         to_string(kernel.is.isa));
  return *kernel.entry;
}

class KernelRegions final : public Regions {
 public:
  KernelRegions(const KernelCall& call, int threads)
      : call_(call), entry_(entry_of(call.kernel)), cutting_{threads} {}

  std::int64_t open() override {
    if (phase_ == Phase::begin) {
      phase_ = Phase::prepare;
      constexpr std::int64_t kRowsPerPart = 4;
      const std::int64_t rows = call_.prepare_rows;
      if (entry_.prepare != nullptr && rows > 0)
        return parts_ = std::min(divide_up(rows, kRowsPerPart), unit_parts());
    }
    if (phase_ == Phase::prepare) {
      phase_ = Phase::run;
      if (call_.units > 0) return parts_ = unit_parts();
    }
    if (entry_.finish != nullptr) entry_.finish(call_.args);
    return 0;
  }

  void run(std::int64_t index) override {
    const bool prepares = phase_ == Phase::prepare;
    const Part part = prepares ? part_of(call_.prepare_rows, 1, index, parts_)
                               : part_of(call_.units, multiple(), index, parts_);
    (prepares ? entry_.prepare : entry_.run)(call_.args, {part.begin, part.end});
  }

 private:
  enum class Phase : std::uint8_t { begin, prepare, run };

  std::int64_t multiple() const {
    return call_.kernel.fields.unit == Unit::outputs ? call_.kernel.is.tile_n : 1;
  }
  std::int64_t unit_parts() const {
    const double bytes = static_cast<double>(call_.units) * static_cast<double>(call_.unit_bytes);
    constexpr double kMany = 1e15;
    return cutting_.parts(static_cast<std::int64_t>(std::min(bytes, kMany)),
                          divide_up(call_.units, multiple()));
  }

  const KernelCall& call_;
  const kernels::CpuEntry& entry_;
  Cutting cutting_;
  Phase phase_ = Phase::begin;
  std::int64_t parts_ = 0;
};

}  // namespace

void run_kernel(ThreadTeam& team, const KernelCall& call) {
  KernelRegions regions(call, team.size());
  team.walk(regions);
}

}  // namespace stepless
