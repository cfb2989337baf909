// The engine without its thread: commands in, steps computed, events out. One caller.
#pragma once
#include <list>
#include <map>

#include "ops/backend.hpp"
#include "runtime/kv_pool.hpp"
#include "runtime/sequence.hpp"

namespace stepless {

class EngineCore {
 public:
  /// Allocates the step and the KV pages. Throws Error: exhausted, invalid_argument.
  EngineCore(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
             const EngineOptions& options);

  std::int64_t context() const { return context_; }
  /// What a request is checked against.
  KvRoom room() const;
  const LoadedModel& model() const { return *model_; }

  void add(Sequence sequence);
  void cancel(std::int64_t id);
  void cancel_all();
  bool idle() const { return sequences_.empty(); }
  /// Plans, launches, collects, commits and publishes one step. A failure that concerns one
  /// sequence ends that one; a failure of the device ends all, as events.
  void step();
  EngineStats stats() const;

 private:
  void allocate_state(const EngineOptions& options, std::int64_t& free_bytes);
  StepPlan plan();
  void fill_group(const StepPlan& plan);
  void commit(const StepPlan& plan, const Sampled& sampled);
  void finish(std::list<Sequence>::iterator sequence, FinishReason reason,
              const std::string& error);
  void drop_cancelled();

  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<Backend> backend_;
  KvShape kv_;
  KvLayout layout_;
  KvPool pool_{1}, packed_pool_{1};
  StateShape state_;
  KvPool slots_{1};              // of recurrent state; none when the model has none
  std::int64_t slots_each_ = 0;  // that a sequence takes
  std::int64_t context_ = 0, prefill_rows_ = 0, turns_ = 0;
  std::list<Sequence> sequences_;  // in order of arrival
  std::vector<std::list<Sequence>::iterator> order_;
  RowGroup group_;
  EngineStats stats_;
};

}  // namespace stepless
