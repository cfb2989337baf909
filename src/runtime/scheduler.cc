#include "runtime/scheduler.hpp"

#include <algorithm>

namespace stepless {
namespace {

void plan_decode(std::span<const SequenceView> views, const StepLimits& limits, StepPlan& plan) {
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < views.size(); ++i)
    if (views[i].phase == Phase::decode) ready.push_back(i);
  std::stable_sort(ready.begin(), ready.end(), [&](std::size_t a, std::size_t b) {
    return views[a].last_turn < views[b].last_turn;
  });
  for (const std::size_t i : ready) {
    if (plan.rows == limits.rows || plan.sampled == limits.sampled) return;
    plan.items.push_back({i, views[i].computed, 1, true});
    ++plan.rows, ++plan.sampled;
  }
}

/// Gives one prompt what is left of the step.
void plan_prompt(std::size_t index, const SequenceView& view, const StepLimits& limits,
                 StepPlan& plan) {
  const std::int64_t left = view.known - view.computed;
  std::int64_t count =
      std::min({left, limits.rows - plan.rows, limits.prefill_rows - plan.prompt_rows});
  if (count == left && plan.sampled == limits.sampled) --count;  // its last row waits for a place
  if (count <= 0) return;
  plan.items.push_back({index, view.computed, count, count == left});
  plan.rows += count;
  plan.prompt_rows += count;
  if (count == left) ++plan.sampled;
}

}  // namespace

StepPlan plan_step(std::span<const SequenceView> views, const StepLimits& limits) {
  StepPlan plan;
  plan_decode(views, limits, plan);
  for (std::size_t i = 0; i < views.size(); ++i)
    if (views[i].phase == Phase::prefill) plan_prompt(i, views[i], limits, plan);
  std::int64_t free_pages = limits.free_pages, free_slots = limits.free_slots;
  std::int64_t free_packed = limits.free_packed_pages;
  for (std::size_t i = 0; i < views.size(); ++i) {
    const SequenceView& view = views[i];
    if (view.phase != Phase::waiting) continue;
    const bool room = plan.rows < limits.rows && plan.prompt_rows < limits.prefill_rows;
    const bool fits =
        view.pages <= free_pages && view.slots <= free_slots && view.packed_pages <= free_packed;
    if (!room || !fits) break;
    free_pages -= view.pages;
    free_slots -= view.slots;
    free_packed -= view.packed_pages;
    plan.admitted.push_back(i);
    plan_prompt(i, views[i], limits, plan);
  }
  return plan;
}

}  // namespace stepless
