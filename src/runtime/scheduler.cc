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
    plan.items.push_back({i, views[i].computed, 1, true, 0});
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
  plan.items.push_back({index, view.computed, count, count == left, 0});
  plan.rows += count;
  plan.prompt_rows += count;
  if (count == left) ++plan.sampled;
}

/// Gives what is left of the step to drafts. A draft costs a row and a place among the sampled.
void plan_drafts(std::span<const SequenceView> views, const StepLimits& limits, StepPlan& plan) {
  for (bool given = true; given;) {
    given = false;
    for (StepItem& item : plan.items) {
      const SequenceView& view = views[item.sequence];
      if (view.phase != Phase::decode || item.drafts >= view.drafts) continue;
      if (plan.rows == limits.rows || plan.sampled == limits.sampled) return;
      ++item.count, ++item.drafts;
      ++plan.rows, ++plan.sampled;
      given = true;
    }
  }
}

}  // namespace

StepPlan plan_step(std::span<const SequenceView> views, const StepLimits& limits) {
  StepPlan plan;
  plan_decode(views, limits, plan);
  std::int64_t free_pages = limits.free_pages, free_slots = limits.free_slots;
  std::int64_t free_packed = limits.free_packed_pages;
  bool admitting = true;
  for (std::size_t i = 0; i < views.size(); ++i) {
    if (views[i].phase == Phase::prefill) plan_prompt(i, views[i], limits, plan);
    if (views[i].phase != Phase::waiting || !admitting) continue;
    const bool room = plan.rows < limits.rows && plan.prompt_rows < limits.prefill_rows;
    admitting = room && views[i].pages <= free_pages && views[i].slots <= free_slots &&
                views[i].packed_pages <= free_packed;
    if (!admitting) continue;
    free_pages -= views[i].pages;
    free_slots -= views[i].slots;
    free_packed -= views[i].packed_pages;
    if (views[i].held_back) continue;
    plan.admitted.push_back(i);
    plan_prompt(i, views[i], limits, plan);
  }
  plan_drafts(views, limits, plan);
  return plan;
}

}  // namespace stepless
