#include "runtime/engine_core.hpp"

#include <algorithm>
#include <chrono>

#include "base/checked.hpp"
#include "ops/plan_program.hpp"
#include "runtime/kv_budget.hpp"

namespace stepless {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What a decode step of m rows that read so many bytes of keys and values cannot be faster than,
/// as planned.
double floor_us(const LoadedModel& model, std::int64_t m, double kv_bytes) {
  double us = 0;
  for (const Node& node : model.program->nodes)
    for (std::size_t part = 0; part < node.plans.size(); ++part)
      if (std::holds_alternative<LinearOp>(node.op))
        us += plan_for(*model.program, node, part, m).floor_us;
  return us + kv_bytes / (model.machine.read_gbps_all * 1e3);
}

}  // namespace

EngineCore::EngineCore(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
                       const EngineOptions& options)
    : model_(std::move(model)), backend_(std::move(backend)) {
  context_ = options.context > 0 ? options.context : model_->context;
  if (context_ > model_->context)
    fail(ErrorCode::invalid_argument, "context: {} asked for; {} was trained with {}", context_,
         model_->name, model_->context);
  const Program& program = *model_->program;
  prefill_rows_ = options.prefill_rows > 0 ? std::min(options.prefill_rows, program.max_rows)
                                           : program.max_rows;
  const std::int64_t free_bytes = backend_->free_bytes();
  if (program.arena_bytes + workspace_bytes(program) > free_bytes)
    fail(ErrorCode::exhausted,
         "a step of {} rows takes {} bytes; {} are free; give --prefill-step-size less",
         program.max_rows, program.arena_bytes + workspace_bytes(program), free_bytes);
  backend_->prepare(model_->program);
  kv_ = kv_shape(program);
  layout_ = KvLayout::of(kv_, model_->kv);
  std::int64_t left = backend_->free_bytes();
  allocate_state(options, left);
  KvBudget budget;
  budget.context = context_;
  budget.step_rows = prefill_rows_;
  budget.sequences = std::max<std::int64_t>(options.sequences, 1);
  budget.bytes = options.kv_bytes;
  budget.free_bytes = left;
  const KvPages pages = pages_within(kv_, layout_, budget);
  backend_->allocate_kv(kv_, pages);
  pool_ = KvPool(pages.plain);
  packed_pool_ = KvPool(pages.packed);
  stats_.kv_pages = pool_.size();
  stats_.kv_packed_pages = packed_pool_.size();
  stats_.kv_bytes = pages.plain * kv_.page_bytes() + pages.packed * kv_.packed_page_bytes();
}

KvRoom EngineCore::room() const {
  return {layout_, {pool_.size(), packed_pool_.size()}, prefill_rows_};
}

/// Recurrent state of the sequences expected, as far as it fits beside a KV page of each; what it
/// takes is taken off `free_bytes`.
void EngineCore::allocate_state(const EngineOptions& options, std::int64_t& free_bytes) {
  state_.layers = model_->program->state_layers;
  if (state_.layers.empty()) return;
  slots_each_ = 1;
  const std::int64_t state_bytes = checked_mul(slots_each_, state_.slot_bytes(), "recurrent state");
  const std::int64_t each = checked_add(state_bytes, kv_.page_bytes(), "a sequence");
  const std::int64_t most = free_bytes / 10 * 9 / each;
  if (most < 1)
    fail(ErrorCode::exhausted,
         "recurrent state: {} bytes a sequence and {} of its first KV page are {}; {} are free, "
         "of which 90 % may be used",
         state_bytes, kv_.page_bytes(), each, free_bytes);
  const std::int64_t slots = std::clamp<std::int64_t>(options.sequences, 1, most) * slots_each_;
  backend_->allocate_state(state_, slots);
  slots_ = KvPool(slots + 1);
  stats_.state_slots = slots;
  stats_.state_bytes = slots * state_.slot_bytes();
  free_bytes -= stats_.state_bytes;
}

void EngineCore::add(Sequence sequence) { sequences_.push_back(std::move(sequence)); }

void EngineCore::cancel(std::int64_t id) {
  for (Sequence& s : sequences_)
    if (s.id == id) s.cancelled = true;
}

void EngineCore::cancel_all() {
  for (Sequence& s : sequences_) s.cancelled = true;
  drop_cancelled();
}

void EngineCore::drop_cancelled() {
  for (auto s = sequences_.begin(); s != sequences_.end();) {
    const auto next = std::next(s);
    if (s->cancelled) finish(s, FinishReason::cancelled, "");
    s = next;
  }
}

void EngineCore::finish(std::list<Sequence>::iterator s, FinishReason reason,
                        const std::string& error) {
  s->pages.close(pool_, packed_pool_);
  slots_.release(s->state.ids());
  Event event;
  event.kind = Event::Kind::finished;
  event.reason = reason;
  event.error = error;
  if (s->detokenizer && reason != FinishReason::failed) event.text = s->detokenizer->finish();
  const auto listener = std::move(s->listener);
  sequences_.erase(s);
  listener(event);
}

StepPlan EngineCore::plan() {
  std::vector<SequenceView> views;
  order_.clear();
  for (auto s = sequences_.begin(); s != sequences_.end(); ++s) {
    views.push_back(s->view());
    views.back().slots = slots_each_;
    order_.push_back(s);
  }
  const Program& program = *model_->program;
  const StepPlan plan =
      plan_step(views, {program.max_rows, program.max_sampled, prefill_rows_, pool_.free_pages(),
                        slots_.free_pages(), packed_pool_.free_pages()});
  for (const std::size_t i : plan.admitted) {
    Sequence& s = *order_[i];
    s.pages.open(layout_, s.prompt + s.limit, pool_.allocate(s.pages_needed.plain),
                 packed_pool_.allocate(s.pages_needed.packed));
    s.state = StateSlots(slots_.allocate(slots_each_));
    s.phase = Phase::prefill;
  }
  stats_.kv_pages_peak = std::max(stats_.kv_pages_peak, pool_.size() - pool_.free_pages());
  stats_.kv_packed_pages_peak =
      std::max(stats_.kv_packed_pages_peak, packed_pool_.size() - packed_pool_.free_pages());
  return plan;
}

void EngineCore::fill_group(const StepPlan& plan) {
  group_.tokens.clear();
  group_.seq.clear();
  group_.sampled.clear();
  group_.sampling.clear();
  group_.top_logprobs = 0;
  for (const StepItem& item : plan.items) {
    Sequence& s = *order_[item.sequence];
    s.pages.make_ready(layout_, item.first, item.count);
    for (std::int64_t p = item.first; p < item.first + item.count; ++p) {
      group_.tokens.push_back(s.tokens[static_cast<std::size_t>(p)]);
      group_.seq.push_back(s.pages.row(layout_, p));
      s.state.bind(group_.seq.back(), item.first, p - item.first, RowsAre::certain);
    }
    if (!item.samples) continue;
    group_.sampled.push_back(static_cast<std::int32_t>(group_.tokens.size()) - 1);
    group_.sampling.push_back(sample_row(s.request.sampling, s.arrays, s.tokens,
                                         item.first + item.count, s.request.logprobs));
    group_.top_logprobs = std::max(group_.top_logprobs, s.request.logprobs);
  }
}

void EngineCore::commit(const StepPlan& plan, const Sampled& sampled) {
  std::size_t draw = 0;
  for (const StepItem& item : plan.items) {
    const auto s = order_[item.sequence];
    s->computed = item.first + item.count;
    s->pages.retire(layout_, s->computed);
    s->last_turn = ++turns_;
    if (item.first < s->prompt) {
      stats_.prompt_tokens += item.count;
      Event event;
      event.kind = Event::Kind::prefill;
      event.prompt_done = s->computed;
      event.prompt_total = s->prompt;
      s->listener(event);
    }
    if (!item.samples) continue;
    s->phase = Phase::decode;
    // A step of decoding is shorter than one of a prompt: what that needed more goes back.
    s->pages.shrink(layout_.need(s->prompt + s->limit, 1), pool_, packed_pool_);
    const std::size_t row = draw++;
    if (sampled.tokens[row] < 0) {
      finish(s, FinishReason::failed, "the logits are not finite: no token can be drawn");
      continue;
    }
    TokenLogprobs logprobs;
    logprobs.chosen = sampled.logprobs[row];
    for (std::int32_t j = 0; j < s->request.logprobs; ++j) {
      const std::size_t at =
          row * static_cast<std::size_t>(group_.top_logprobs) + static_cast<std::size_t>(j);
      logprobs.top.emplace_back(sampled.top_ids[at], sampled.top_logprobs[at]);
    }
    ++stats_.generated_tokens;
    const FinishReason reason = accept_token(*model_, *s, sampled.tokens[row], std::move(logprobs));
    if (reason != FinishReason::none) finish(s, reason, "");
  }
}

void EngineCore::step() {
  drop_cancelled();
  const StepPlan plan = this->plan();
  if (plan.items.empty()) return;
  fill_group(plan);
  const Clock::time_point start = Clock::now();
  try {
    const Sampled sampled = backend_->collect(backend_->launch(group_));
    model_->tensors.check();  // weights cut under us would have computed nonsense
    const double seconds = seconds_since(start);
    (plan.prompt_rows > 0 ? stats_.prefill_seconds : stats_.decode_seconds) += seconds;
    ++stats_.steps;
    if (plan.prompt_rows == 0) {
      double kv_bytes = 0;
      for (const kernels::SeqRow& row : group_.seq)
        kv_bytes += layout_.read_bytes(kv_, row.position);
      stats_.floor_us_per_token =
          floor_us(*model_, plan.rows, kv_bytes) / static_cast<double>(plan.rows);
    }
    commit(plan, sampled);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    while (!sequences_.empty()) finish(sequences_.begin(), FinishReason::failed, message);
  }
}

EngineStats EngineCore::stats() const {
  EngineStats stats = stats_;
  stats.kv_pages_used = pool_.size() - pool_.free_pages();
  stats.state_slots_used = slots_.size() - slots_.free_pages();
  stats.kv_packed_pages_used = packed_pool_.size() - packed_pool_.free_pages();
  return stats;
}

}  // namespace stepless
