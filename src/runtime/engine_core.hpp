// The engine without its thread: commands in, steps computed, events out. One caller. Where the
// backend can, the next step is launched before the host has seen what this one draws.
#pragma once
#include <chrono>
#include <deque>
#include <list>
#include <map>

#include "ops/backend.hpp"
#include "runtime/kv_pool.hpp"
#include "runtime/prefix_index.hpp"
#include "runtime/prompt_cache.hpp"
#include "runtime/sequence.hpp"
#include "runtime/speculate.hpp"

namespace stepless {

class EngineCore {
 public:
  /// Allocates the step and the KV pages. Throws Error: exhausted, invalid_argument.
  EngineCore(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
             const EngineOptions& options, DraftModel draft = {});

  std::int64_t context() const { return context_; }
  /// What a request is checked against.
  KvRoom room() const;
  const LoadedModel& model() const { return *model_; }

  void add(Sequence sequence);
  void cancel(std::int64_t id);
  void cancel_all();
  bool idle() const { return sequences_.empty(); }
  /// Plans, launches, collects, commits and publishes one step; launches the one behind it before
  /// it collects, where that depends on nothing the host must see. A failure that concerns one
  /// sequence ends that one; a failure of the device ends all, as events.
  void step();
  EngineStats stats() const;

  /// See Engine. Between steps.
  void load_prompt_cache(const PromptCacheFile& file);
  void save_prompt_cache(std::span<const std::int32_t> tokens, const std::string& path) const;

 private:
  using Clock = std::chrono::steady_clock;
  using Place = std::list<Sequence>::iterator;
  /// A step that was launched. Sequences may end before it lands: their rows are then discarded.
  struct Flight {
    struct Rider {  // one for each item of the plan
      Place sequence;
      bool left = false;
    };
    std::int64_t number = 0;
    StepPlan plan;
    std::vector<Rider> riders;
    RowGroup group;
    double draft_floor_us = 0;
    Clock::time_point start;
    Ticket ticket = 0;
  };

  void allocate_state(const EngineOptions& options, std::int64_t& free_bytes);
  void allocate_pages(const EngineOptions& options, std::int64_t free_bytes);
  StepPlan plan();
  void admit(const StepPlan& plan);
  /// Pages from the free ones, and from those that only the index holds; all or none.
  std::vector<std::int32_t> take_pages(std::int64_t count);
  /// Throws Error (invalid_argument) when there is no prefix reuse, with the reason.
  void check_reuses(const std::string& path) const;
  /// Makes the whole pages of a sequence known to others.
  void remember(const Sequence& sequence);
  double draft(StepPlan& plan);
  /// The most positions of a decoding sequence that wait for what they draw.
  std::int64_t decode_rows() const;
  /// Whether any step may be launched behind this one, and whether this plan may.
  bool may_follow(const Flight& flight) const;
  bool goes_behind(const Flight& flight, const StepPlan& plan) const;
  /// Plans a step and launches it; behind one in flight only if that needs nothing from it but the
  /// tokens. False: there is none.
  bool take_off();
  void fill_group(Flight& flight);
  void add_draws(Flight& flight, const StepItem& item, Sequence& sequence);
  /// Collects the first step in flight, commits and publishes it.
  void land();
  void commit(const Flight& flight, const Sampled& sampled);
  void commit_draws(Place sequence, const std::vector<std::int32_t>& guesses, const Flight& flight,
                    const Sampled& sampled, std::size_t row);
  void count_step(const Flight& flight);
  void finish(Place sequence, FinishReason reason, const std::string& error);
  void fail_all(const std::string& error);
  void drop_cancelled();

  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Drafter> drafter_;  // null: no drafts
  KvShape kv_;
  KvLayout layout_;
  KvPool pool_{1}, packed_pool_{1};
  StateShape state_;
  KvPool slots_{1};                    // of recurrent state; none when the model has none
  std::int64_t slots_each_ = 0;        // that a sequence takes
  std::optional<PrefixIndex> prefix_;  // none: every sequence computes its whole prompt
  std::int64_t context_ = 0, prefill_rows_ = 0, most_drafts_ = 0, turns_ = 0;
  std::list<Sequence> sequences_;  // in order of arrival
  std::vector<Place> order_;       // of the views that the newest plan was made for
  std::deque<Flight> flights_;     // launched, not collected: at most two, and between steps one
  std::int64_t last_flight_ = 0;
  Clock::time_point landed_;  // when the last one was collected
  EngineStats stats_;
  double decode_floor_us_ = 0;  // of the steps that hold no prompt rows,
  std::int64_t decoded_ = 0;    // which drew so many tokens
};

}  // namespace stepless
