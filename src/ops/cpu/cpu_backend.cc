#include "ops/cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"
#include "base/large_buffer.hpp"
#include "base/memory.hpp"
#include "format/dtype.hpp"
#include "kernels/args.hpp"
#include "ops/cpu/step_walk.hpp"
#include "ops/kv_memory.hpp"
#include "ops/plan_program.hpp"
#include "ops/step.hpp"

namespace stepless {
namespace {

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(std::shared_ptr<ThreadTeam> team, std::int64_t least_part_bytes)
      : team_(std::move(team)), walk_({team_->size(), least_part_bytes}) {}

  std::int64_t free_bytes() const override { return available_memory_bytes(); }
  void prepare(std::shared_ptr<const Program> program) override;
  void allocate_kv(const KvShape& shape, const KvPages& pages) override;
  void allocate_state(const StateShape& shape, std::int64_t slots) override;
  void copy_pages(std::span<const PageCopy> copies) override;
  PageBytes read_pages(int layer, std::span<const std::int32_t> pages) const override;
  void write_pages(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
                   const std::byte* values) override;
  Ticket launch(const RowGroup& group) override;
  Sampled collect(Ticket ticket) override;

 private:
  std::shared_ptr<ThreadTeam> team_;
  std::shared_ptr<const Program> program_;
  LargeBuffer arena_, workspace_, kv_memory_, state_memory_;
  std::vector<kernels::KvLayer> kv_;
  std::vector<kernels::StateLayer> state_;
  std::vector<std::int64_t> positions_;
  StepWalk walk_;
  Sampled results_;
  Ticket last_ = 0;
};

/// Else a program planned for another device would call what is not there.
void check_runs_here(const Program& program) {
  for (const Node& node : program.nodes)
    for (const auto& plans : node.plans)
      for (const PlanPtr& plan : plans)
        if (plan->kernel->entry == nullptr)
          fail(ErrorCode::unsupported, "{}: planned as {}, which no CPU of this build runs",
               node.name, plan->kernel->name);
}

void CpuBackend::prepare(std::shared_ptr<const Program> program) {
  check_runs_here(*program);
  program_ = std::move(program);
  const std::int64_t sample_bytes = checked_mul(
      program_->max_sampled, kernels::sample_workspace_bytes(program_->vocab), "sampler");
  arena_ = LargeBuffer(program_->arena_bytes, "activations of the largest step");
  workspace_ =
      LargeBuffer(std::max(workspace_bytes(*program_), sample_bytes), "prepared activations");
  positions_.reserve(static_cast<std::size_t>(program_->max_rows));
  walk_.reserve(*program_);
}

void CpuBackend::allocate_kv(const KvShape& shape, const KvPages& pages) {
  kv_memory_ = LargeBuffer(kv_memory_bytes(shape, pages), "KV cache", Pages::huge);
  kv_ = kv_layers_at(kv_memory_.as<std::uint8_t>(), shape, pages);
}

void CpuBackend::allocate_state(const StateShape& shape, std::int64_t slots) {
  state_memory_ =
      LargeBuffer(checked_mul(shape.slot_bytes(), slots, "recurrent state"), "recurrent state");
  state_ = state_layers_at(state_memory_.as<float>(), shape, slots);
}

void CpuBackend::copy_pages(std::span<const PageCopy> copies) {
  for (const kernels::KvLayer& layer : kv_) {
    const std::int64_t k_bytes = page_key_bytes(layer), v_bytes = page_value_bytes(layer);
    for (const PageCopy& copy : copies) {
      copy_bytes(layer.k + copy.to * k_bytes, layer.k + copy.from * k_bytes, k_bytes);
      copy_bytes(layer.v + copy.to * v_bytes, layer.v + copy.from * v_bytes, v_bytes);
    }
  }
}

PageBytes CpuBackend::read_pages(int index, std::span<const std::int32_t> pages) const {
  const kernels::KvLayer& layer = kv_[static_cast<std::size_t>(index)];
  const std::int64_t k_bytes = page_key_bytes(layer), v_bytes = page_value_bytes(layer);
  PageBytes bytes{std::vector<std::byte>(pages.size() * static_cast<std::size_t>(k_bytes)),
                  std::vector<std::byte>(pages.size() * static_cast<std::size_t>(v_bytes))};
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    copy_bytes(bytes.keys.data() + at * k_bytes, layer.k + pages[i] * k_bytes, k_bytes);
    copy_bytes(bytes.values.data() + at * v_bytes, layer.v + pages[i] * v_bytes, v_bytes);
  }
  return bytes;
}

void CpuBackend::write_pages(int index, std::span<const std::int32_t> pages, const std::byte* keys,
                             const std::byte* values) {
  const kernels::KvLayer& layer = kv_[static_cast<std::size_t>(index)];
  const std::int64_t k_bytes = page_key_bytes(layer), v_bytes = page_value_bytes(layer);
  for (const std::int32_t page : pages) {
    copy_bytes(layer.k + page * k_bytes, keys, k_bytes);
    copy_bytes(layer.v + page * v_bytes, values, v_bytes);
    keys += k_bytes;
    values += v_bytes;
  }
}

Ticket CpuBackend::launch(const RowGroup& group) {
  Step step;
  step.program = program_.get();
  step.rows = static_cast<std::int64_t>(group.tokens.size());
  step.sampled = static_cast<std::int64_t>(group.sampled.size());
  if (step.rows > program_->max_rows || step.sampled > program_->max_sampled)
    fail(ErrorCode::internal, "a step of {} rows, {} sampled; the arena holds {} and {}", step.rows,
         step.sampled, program_->max_rows, program_->max_sampled);
  step.arena = arena_.as<std::uint8_t>();
  step.workspace = workspace_.as<std::uint8_t>();
  positions_.clear();
  for (const kernels::SeqRow& row : group.seq) {
    positions_.push_back(row.position);
    step.packs = step.packs || row.pack >= 0;
  }
  step.positions = positions_.data();
  step.kv = &kv_;
  step.state = &state_;
  const auto wanted = static_cast<std::size_t>(step.sampled * group.top_logprobs);
  results_.tokens.assign(group.sampled.size(), -1);
  results_.logprobs.assign(group.sampled.size(), 0);
  results_.top_ids.assign(wanted, -1);
  results_.top_logprobs.assign(wanted, 0);
  step.tokens = group.tokens.data();
  step.seq = group.seq.data();
  step.taken = group.sampled.data();
  step.draws = group.sampling.data();
  step.token = results_.tokens.data();
  step.logprob = results_.logprobs.data();
  step.top_logprobs = group.top_logprobs;
  step.top_ids = wanted == 0 ? nullptr : results_.top_ids.data();
  step.top_values = wanted == 0 ? nullptr : results_.top_logprobs.data();
  walk_.begin(step);
  team_->walk(walk_);
  if (group.logits != nullptr && step.sampled > 0) {
    const auto& sample = std::get<SampleOp>(program_->nodes.back().op);
    const Value& logits = program_->values[static_cast<std::size_t>(sample.logits)];
    std::memcpy(group.logits, step.arena + logits.offset,
                static_cast<std::size_t>(step.sampled * program_->vocab) * sizeof(float));
  }
  return ++last_;
}

Sampled CpuBackend::collect(Ticket ticket) {
  if (ticket != last_) fail(ErrorCode::internal, "collect({}) after launch {}", ticket, last_);
  return std::move(results_);
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  if (threads < 1) fail(ErrorCode::invalid_argument, "threads: {}; at least 1", threads);
  return make_cpu_backend(std::make_shared<ThreadTeam>(threads));
}

std::unique_ptr<Backend> make_cpu_backend(std::shared_ptr<ThreadTeam> team,
                                          std::int64_t least_part_bytes) {
  return std::make_unique<CpuBackend>(std::move(team), least_part_bytes);
}

}  // namespace stepless
