#include "ops/context.hpp"

#include <algorithm>

#include "base/cpus.hpp"
#include "base/error.hpp"
#include "dispatch/row_buckets.hpp"
#include "kernels/roll_call.hpp"
#include "stepless/matmul.hpp"

namespace stepless {
namespace {

// Enough for every layer of a large model at every bucket; a caller of ever new shapes starts over.
constexpr std::size_t kMostPlans = 8192;

}  // namespace

Context::Context(ThreadTeam& team, Machine machine, Overrides overrides)
    : team_(&team), machine_(std::move(machine)), overrides_(std::move(overrides)) {}

Context::Context(int threads, Overrides overrides)
    : own_team_(std::make_unique<ThreadTeam>(threads)),
      team_(own_team_.get()),
      machine_(this_machine(threads)),
      overrides_(std::move(overrides)) {}

std::byte* Context::scratch(Scratch which, std::int64_t bytes) {
  LargeBuffer& buffer = scratch_[static_cast<std::size_t>(which)];
  if (buffer.size() < bytes) {
    buffer = {};  // gone before the larger one comes
    buffer = LargeBuffer(bytes, "scratch of a matrix product");
  }
  return buffer.data();
}

const Kernel& Context::kernel_for(const Problem& problem) {
  Problem p = problem;
  p.m = bucket_of(std::max<std::int64_t>(p.m, 1));
  const Key key{p.op,     p.quant.mode, p.quant.bits, p.quant.group_size,
                p.packed, p.x_type,     p.w_type,     p.y_type,
                p.m,      p.n,          p.k};
  if (const auto at = kernels_.find(key); at != kernels_.end()) return *at->second;
  Overrides wishes = overrides_;
  if (const Kernel* wish = find_kernel(wishes.kernel); wish != nullptr && wish->is.op != p.op)
    wishes.kernel.clear();
  const Plan plan = select(p, machine_, wishes);
  if (kernels_.size() >= kMostPlans) kernels_.clear();
  kernels_.emplace(key, plan.kernel);
  return *plan.kernel;
}

std::shared_ptr<Context> make_context(const ContextOptions& options) {
  Overrides wishes;
  if (!options.max_isa.empty()) wishes.max_isa = parse_isa(options.max_isa);
  wishes.kernel = options.kernel;
  wishes.fast_int8 = options.fast_int8;
  check_overrides(wishes, this_machine(1));
  return std::make_shared<Context>(options.threads == 0 ? physical_cores() : options.threads,
                                   wishes);
}

}  // namespace stepless
