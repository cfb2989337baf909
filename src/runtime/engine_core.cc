#include "runtime/engine_core.hpp"

#include <algorithm>
#include <chrono>

#include "base/checked.hpp"
#include "ops/plan_program.hpp"
#include "runtime/admission.hpp"

namespace stepless {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Pages for the sequences expected, or what the bytes hold; at most 90 % of what is free.
std::int64_t pages_to_allocate(const KvShape& kv, const EngineOptions& options,
                               std::int64_t context, std::int64_t free_bytes) {
  const std::int64_t each = std::max<std::int64_t>(kv.page_bytes(), 1);
  const std::int64_t per_sequence = divide_up(context, kv.page_tokens);
  const std::int64_t most = free_bytes / 10 * 9 / each;
  std::int64_t pages =
      checked_mul(std::max<std::int64_t>(options.sequences, 1), per_sequence, "KV pages");
  if (options.kv_bytes > 0) {
    pages = options.kv_bytes / each;
    if (pages > most)
      fail(ErrorCode::exhausted, "KV cache: {} bytes asked for; {} are free", options.kv_bytes,
           free_bytes);
  }
  pages = std::min(pages, most);
  if (pages < 1)
    fail(
        ErrorCode::exhausted, "KV cache: one page of {} positions takes {} bytes; {}",
        kv.page_tokens, each,
        options.kv_bytes > 0 ? "give --kv-cache-bytes more" : "the memory that is free holds less");
  return pages + 1;  // page 0 belongs to nobody
}

/// What a decode step of m rows at this context cannot be faster than, as planned.
double floor_us(const LoadedModel& model, const KvShape& kv, std::int64_t m, double context_rows) {
  double us = 0;
  for (const Node& node : model.program->nodes)
    for (std::size_t part = 0; part < node.plans.size(); ++part)
      if (std::holds_alternative<LinearOp>(node.op))
        us += plan_for(*model.program, node, part, m).floor_us;
  const double kv_bytes = static_cast<double>(kv.token_bytes()) * context_rows;
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
  kv_.layers = program.kv_layers;
  kv_.type = program.act;
  std::int64_t left = backend_->free_bytes();
  allocate_state(options, left);
  const std::int64_t pages = pages_to_allocate(kv_, options, context_, left);
  backend_->allocate_kv(kv_, pages);
  pool_ = KvPool(pages);
  // A recurrent state is kept of the last position only: what was computed cannot be skipped.
  if (options.prefix_reuse && state_.layers.empty()) prefix_.emplace(kv_.page_tokens);
  stats_.kv_pages = pool_.size();
  stats_.kv_bytes = pages * kv_.page_bytes();
}

/// Recurrent state of the sequences expected, as far as it fits beside their KV pages; what it
/// takes is taken off `free_bytes`.
void EngineCore::allocate_state(const EngineOptions& options, std::int64_t& free_bytes) {
  state_.layers = model_->program->state_layers;
  if (state_.layers.empty()) return;
  slots_each_ = 1;  // and one more for each draft that a step may hold
  const std::int64_t state_bytes = checked_mul(slots_each_, state_.slot_bytes(), "recurrent state");
  const std::int64_t least = checked_add(state_bytes, kv_.page_bytes(), "a sequence");
  if (least > free_bytes / 10 * 9)
    fail(ErrorCode::exhausted,
         "recurrent state: {} bytes a sequence and {} of its first KV page are {}; {} are free, "
         "of which 90 % may be used",
         state_bytes, kv_.page_bytes(), least, free_bytes);
  const std::int64_t pages =
      checked_mul(divide_up(context_, kv_.page_tokens), kv_.page_bytes(), "KV pages of a sequence");
  const std::int64_t each =
      options.kv_bytes > 0 ? state_bytes : checked_add(state_bytes, pages, "a sequence");
  const std::int64_t room = free_bytes / 10 * 9 - std::min(options.kv_bytes, free_bytes);
  const std::int64_t at_once =
      std::clamp<std::int64_t>(room / each, 1, std::max<std::int64_t>(options.sequences, 1));
  const std::int64_t slots = at_once * slots_each_;
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
  pool_.release(s->pages);
  slots_.release(s->state.ids());
  Event event;
  event.kind = Event::Kind::finished;
  event.reason = reason;
  event.error = error;
  event.cached_tokens = s->cached;
  if (s->detokenizer && reason != FinishReason::failed) event.text = s->detokenizer->finish();
  const auto listener = std::move(s->listener);
  sequences_.erase(s);
  listener(event);
}

StepPlan EngineCore::plan() {
  if (prefix_) find_shared_pages(sequences_, *prefix_, pool_, prefill_rows_);
  std::vector<SequenceView> views;
  order_.clear();
  for (auto s = sequences_.begin(); s != sequences_.end(); ++s) {
    views.push_back(s->view());
    views.back().slots = slots_each_;
    order_.push_back(s);
  }
  const Program& program = *model_->program;
  std::int64_t pages = pool_.free_pages();
  if (prefix_ && wanted_pages(sequences_) > pages) pages += prefix_->evictable(idle_in(pool_));
  StepPlan plan = plan_step(
      views, {program.max_rows, program.max_sampled, prefill_rows_, pages, slots_.free_pages()});
  admit(plan);
  return plan;
}

void EngineCore::fill_group(const StepPlan& plan) {
  group_.tokens.clear();
  group_.seq.clear();
  group_.sampled.clear();
  group_.sampling.clear();
  group_.top_logprobs = 0;
  for (const StepItem& item : plan.items) {
    const Sequence& s = *order_[item.sequence];
    for (std::int64_t p = item.first; p < item.first + item.count; ++p) {
      group_.tokens.push_back(s.tokens[static_cast<std::size_t>(p)]);
      group_.seq.push_back({s.pages.data(), p});
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
    s->last_turn = ++turns_;
    if (item.first / kv_.page_tokens != s->computed / kv_.page_tokens) remember(*s);
    if (item.first < s->prompt) {
      stats_.prompt_tokens += item.count;
      Event event;
      event.kind = Event::Kind::prefill;
      event.prompt_done = s->computed;
      event.prompt_total = s->prompt;
      event.cached_tokens = s->cached;
      s->listener(event);
    }
    if (!item.samples) continue;
    s->phase = Phase::decode;
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
      double context = 0;
      for (const kernels::SeqRow& row : group_.seq)
        context += static_cast<double>(row.position + 1);
      stats_.floor_us_per_token =
          floor_us(*model_, kv_, plan.rows, context) / static_cast<double>(plan.rows);
    }
    commit(plan, sampled);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    while (!sequences_.empty()) finish(sequences_.begin(), FinishReason::failed, message);
  }
}

EngineStats EngineCore::stats() const {
  EngineStats stats = stats_;
  if (prefix_) stats.kv_pages_cached = prefix_->idle_pages(idle_in(pool_));
  stats.kv_pages_used = pool_.size() - pool_.free_pages() - stats.kv_pages_cached;
  stats.state_slots_used = slots_.size() - slots_.free_pages();
  return stats;
}

}  // namespace stepless
