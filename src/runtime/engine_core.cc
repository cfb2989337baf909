#include "runtime/engine_core.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "ops/plan_program.hpp"
#include "runtime/admission.hpp"
#include "runtime/floor.hpp"

namespace stepless {
namespace {

/// What was drawn at a row, and the `wanted` best beside it; rows hold room for `width`.
TokenLogprobs logprobs_at(const Sampled& sampled, std::size_t row, std::int32_t wanted,
                          std::int32_t width) {
  TokenLogprobs logprobs;
  logprobs.chosen = sampled.logprobs[row];
  const std::size_t first = row * static_cast<std::size_t>(width);
  for (std::size_t at = first; at < first + static_cast<std::size_t>(wanted); ++at)
    logprobs.top.emplace_back(sampled.top_ids[at], sampled.top_logprobs[at]);
  return logprobs;
}

}  // namespace

EngineCore::EngineCore(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
                       const EngineOptions& options, DraftModel draft)
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
  drafter_ = make_drafter(model_, options, std::move(draft));
  most_drafts_ = drafter_ ? options.draft_tokens : 0;
  std::int64_t left = backend_->free_bytes();
  allocate_state(options, left);
  allocate_pages(options, left);
  backend_->load_kernels();
  // A recurrent state is kept of the last position only: what was computed cannot be skipped. A
  // draft model keeps its own keys and values beside the pages, and would have none of a shared
  // prefix. The index knows one form of pages, which must stay.
  if (options.prefix_reuse && state_.layers.empty() && !options.draft_model && layout_.keeps_all())
    prefix_.emplace(kv_.page_tokens);
}

/// Recurrent state of the sequences expected, as far as it fits beside their KV pages; what it
/// takes is taken off `free_bytes`.
void EngineCore::allocate_state(const EngineOptions& options, std::int64_t& free_bytes) {
  state_.layers = model_->program->state_layers;
  if (state_.layers.empty()) return;
  slots_each_ = 1 + most_drafts_;
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

void EngineCore::finish(Place s, FinishReason reason, const std::string& error) {
  for (Flight& flight : flights_)
    for (Flight::Rider& rider : flight.riders)
      if (!rider.left && rider.sequence == s) rider.left = true;
  s->pages.close(pool_, packed_pool_);
  slots_.release(s->state.ids());
  if (drafter_) drafter_->forget(*s);
  Event event;
  event.kind = Event::Kind::finished;
  event.reason = reason;
  event.error = error;
  event.cached_tokens = s->cached;
  event.drafted = s->drafted;
  event.accepted = s->accepted;
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
    if (s->last_in_flight()) continue;
    views.push_back(s->view(most_drafts_));
    views.back().slots = slots_each_;
    order_.push_back(s);
  }
  const Program& program = *model_->program;
  std::int64_t pages = pool_.free_pages();
  if (prefix_ && wanted_pages(sequences_) > pages) pages += prefix_->evictable(idle_in(pool_));
  StepPlan plan = plan_step(views, {program.max_rows, program.max_sampled, prefill_rows_, pages,
                                    slots_.free_pages(), packed_pool_.free_pages()});
  if (!flights_.empty() && !goes_behind(flights_.back(), plan)) return {};
  admit(plan);
  return plan;
}

/// Has the planned drafts guessed; what is not guessed leaves the plan. Returns their floor. Drafts
/// that fail are a note: the requests go on without.
double EngineCore::draft(StepPlan& plan) {
  std::vector<DraftTask> tasks;
  for (const StepItem& item : plan.items)
    if (item.drafts > 0) tasks.push_back({&*order_[item.sequence], item.drafts});
  if (tasks.empty()) return 0;
  double floor_us = 0;
  try {
    floor_us = drafter_->draft(tasks);
    stats_.draft_note = drafter_->note();
  } catch (const std::exception& error) {
    stats_.draft_note = error.what();
    for (const DraftTask& task : tasks) take_guesses(*task.sequence);
    drafter_.reset();
    most_drafts_ = 0;
  }
  for (StepItem& item : plan.items) {
    const std::int64_t missing = item.drafts - order_[item.sequence]->guessed;
    item.drafts -= missing, item.count -= missing;
    plan.rows -= missing, plan.sampled -= missing;
  }
  return floor_us;
}

std::int64_t EngineCore::decode_rows() const {
  return std::max<std::int64_t>(1 + most_drafts_, backend_->flies() ? 2 : 1);
}

/// What draws the next step's guesses is the host's business, and so is who joins the answers that
/// a step of prompts begins. Pages that a prompt leaves behind are given back when its step lands.
bool EngineCore::may_follow(const Flight& flight) const {
  if (!backend_->flies() || drafter_) return false;
  if (flight.plan.prompt_rows == 0) return true;
  return flight.plan.sampled == 0 && layout_.keeps_all() && state_.layers.empty();
}

/// Behind answers go their next rows, behind prompts the prompts' next rows, which need nothing
/// that is drawn: an H200 stood still for 0.4 ms between them. Who starts waits until nothing is in
/// flight.
bool EngineCore::goes_behind(const Flight& flight, const StepPlan& plan) const {
  return plan.admitted.empty() && plan.prompt_rows == (flight.plan.prompt_rows > 0 ? plan.rows : 0);
}

/// The rows that draw of an item whose rows are the group's last. Each draws after the tokens
/// before it, guesses included; of a row behind a step in flight the last of these is not known
/// yet.
void EngineCore::add_draws(Flight& flight, const StepItem& item, Sequence& s) {
  RowGroup& group = flight.group;
  if (item.drafts == 0) {
    s.flight = flight.number;
    s.flight_row = std::ssize(group.sampled);
  }
  const std::int64_t end = item.first + item.count, rows = std::ssize(group.tokens);
  for (std::int64_t known = end - item.drafts; known <= end; ++known) {
    group.sampled.push_back(static_cast<std::int32_t>(rows - 1 - (end - known)));
    const std::span history(s.tokens.data(),
                            std::min(static_cast<std::size_t>(known), s.tokens.size()));
    group.sampling.push_back(
        sample_row(s.request.sampling, s.arrays, history, known, s.request.logprobs));
  }
  group.top_logprobs = std::max(group.top_logprobs, s.request.logprobs);
}

void EngineCore::fill_group(Flight& flight) {
  RowGroup& group = flight.group;
  for (const StepItem& item : flight.plan.items) {
    const Place place = order_[item.sequence];
    Sequence& s = *place;
    flight.riders.push_back({place});
    s.last_turn = ++turns_;
    s.underway += item.count;
    s.pages.make_ready(layout_, item.first, item.count);
    for (std::int64_t p = item.first; p < item.first + item.count; ++p) {
      group.tokens.push_back(p < std::ssize(s.tokens)
                                 ? s.tokens[static_cast<std::size_t>(p)]
                                 : -1 - static_cast<std::int32_t>(s.flight_row));
      group.seq.push_back(s.pages.row(layout_, p));
      group.prompt.push_back((p / kv_.page_tokens + 1) * kv_.page_tokens <= s.prompt ? 1 : 0);
      s.state.bind(group.seq.back(), item.first, p - item.first,
                   item.drafts > 0 ? RowsAre::drafts : RowsAre::certain);
    }
    if (item.samples) add_draws(flight, item, s);
  }
}

bool EngineCore::take_off() {
  Flight flight;
  flight.plan = plan();
  if (flight.plan.items.empty()) return false;
  flight.start = Clock::now();
  flight.draft_floor_us = draft(flight.plan);
  flight.number = ++last_flight_;
  fill_group(flight);
  flight.ticket = backend_->launch(flight.group);
  flights_.push_back(std::move(flight));
  return true;
}

void EngineCore::commit(const Flight& flight, const Sampled& sampled) {
  std::size_t row = 0;
  for (std::size_t i = 0; i < flight.riders.size(); ++i) {
    const StepItem& item = flight.plan.items[i];
    const std::size_t first = row;
    if (item.samples) row += 1 + static_cast<std::size_t>(item.drafts);
    if (flight.riders[i].left) continue;
    const Place s = flight.riders[i].sequence;
    const std::vector<std::int32_t> guesses = take_guesses(*s);
    if (s->flight == flight.number) s->flight = 0;
    s->computed = item.first + item.count - item.drafts;
    s->underway -= item.count;
    s->pages.retire(layout_, s->computed);
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
    // A step of an answer is shorter than one of a prompt: what that needed more goes back.
    s->pages.shrink(layout_.need(s->prompt + s->limit, decode_rows()), pool_, packed_pool_);
    commit_draws(s, guesses, flight, sampled, first);
  }
}

/// The token drawn at `row` and, as far as the guesses were right, those drawn after them. Rows
/// after a wrong guess are forgotten; their positions are written again.
void EngineCore::commit_draws(Place s, const std::vector<std::int32_t>& guesses,
                              const Flight& flight, const Sampled& sampled, std::size_t row) {
  const std::size_t right = static_cast<std::size_t>(
      std::mismatch(guesses.begin(), guesses.end(),
                    sampled.tokens.begin() + static_cast<std::ptrdiff_t>(row))
          .first -
      guesses.begin());
  s->computed += static_cast<std::int64_t>(right);
  s->pages.retire(layout_, s->computed);
  s->state.keep(1 + static_cast<std::int64_t>(right));
  s->drafted += static_cast<std::int64_t>(guesses.size());
  stats_.drafted += static_cast<std::int64_t>(guesses.size());
  for (std::size_t i = 0; i < guesses.size(); ++i) ++stats_.drafted_at[i];
  for (std::size_t i = 0; i <= right; ++i) {
    const std::int32_t token = sampled.tokens[row + i];
    if (token < 0)
      return finish(s, FinishReason::failed, "the logits are not finite: no token can be drawn");
    if (i < right) ++stats_.accepted, ++stats_.accepted_at[i], ++s->accepted;
    ++stats_.generated_tokens;
    const FinishReason reason =
        accept_token(*model_, *s, token,
                     logprobs_at(sampled, row + i, s->request.logprobs, flight.group.top_logprobs));
    if (reason != FinishReason::none) return finish(s, reason, "");
  }
}

/// Times a step, from the end of the one before if it was launched earlier, and sets it against
/// what it cannot be faster than.
void EngineCore::count_step(const Flight& flight) {
  const Clock::time_point now = Clock::now();
  const double seconds =
      std::chrono::duration<double>(now - std::max(flight.start, landed_)).count();
  landed_ = now;
  const StepPlan& plan = flight.plan;
  (plan.prompt_rows > 0 ? stats_.prefill_seconds : stats_.decode_seconds) += seconds;
  ++stats_.steps;
  if (plan.prompt_rows > 0) return;
  double kv_bytes = 0;
  for (const kernels::SeqRow& row : flight.group.seq)
    kv_bytes += layout_.read_bytes(kv_, row.position);
  decode_floor_us_ += flight.draft_floor_us + floor_us(*model_, plan.rows, kv_bytes);
}

void EngineCore::land() {
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();
  const Sampled sampled = backend_->collect(flight.ticket);
  model_->tensors.check();  // weights cut under us would have computed nonsense
  count_step(flight);
  const std::int64_t before = stats_.generated_tokens;
  commit(flight, sampled);
  if (flight.plan.prompt_rows > 0) return;
  decoded_ += stats_.generated_tokens - before;
  stats_.floor_us_per_token =
      decode_floor_us_ / static_cast<double>(std::max<std::int64_t>(decoded_, 1));
}

/// What is still in flight lands unseen.
void EngineCore::fail_all(const std::string& error) {
  while (!sequences_.empty()) finish(sequences_.begin(), FinishReason::failed, error);
  for (; !flights_.empty(); flights_.pop_front()) {
    try {
      backend_->collect(flights_.front().ticket);
    } catch (const std::exception&) {  // what failed has been told
    }
  }
}

void EngineCore::step() {
  drop_cancelled();
  try {
    if (flights_.empty() && !take_off()) return;
    if (may_follow(flights_.front())) take_off();
    land();
  } catch (const std::exception& error) {
    fail_all(std::string(error.what()));
  }
}

EngineStats EngineCore::stats() const {
  EngineStats stats = stats_;
  if (prefix_) stats.kv_pages_cached = prefix_->idle_pages(idle_in(pool_));
  stats.kv_pages_used = pool_.size() - pool_.free_pages() - stats.kv_pages_cached;
  stats.kv_packed_pages_used = packed_pool_.size() - packed_pool_.free_pages();
  stats.state_slots_used = slots_.size() - slots_.free_pages();
  return stats;
}

}  // namespace stepless
