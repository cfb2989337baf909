// The order comes from a stated list rather than from predicted cost: cost depends on thread count
// and bandwidth, and is measured again and again, while bits may change with neither (contract.md,
// section 5).
#include "dispatch/order.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "dispatch/explain.hpp"
#include "dispatch/legal.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

// Widest arithmetic first; the least exact before all, for whoever asked for it. `none` is last: an
// op whose rows sum nothing has rows of no other order.
constexpr Order kPreference[] = {
    Order::int8_groups, Order::avx512_bf16,   Order::avx512_i16, Order::avx512_f32,
    Order::avx2_i16,    Order::avx2_f32,      Order::neon_i16,   Order::neon_f32,
    Order::lanes_f32,   Order::wgmma_rounded, Order::mma_k512,   Order::mma_pieces,
    Order::mma_units,   Order::wgmma_pages,   Order::mma_pages,  Order::mma_packed,
    Order::fma_lanes,   Order::cuda_f64,      Order::none};

/// Orders that only prompt rows have: what they win is lost where rows are few.
bool is_for_prompts(Order order) {
  return order == Order::wgmma_rounded || order == Order::wgmma_pages;
}

/// Intel's processors have VDPBF16PS at half the rate of plain fma: there it is not the wider
/// arithmetic. The rates of a machine are numbers of its line, which nothing measures anew.
bool is_wide(Order order, const Machine& machine) {
  return order != Order::avx512_bf16 || machine.bf16_gflops >= machine.f32_gflops;
}

/// Whether the ranges leave no m >= 1 unserved.
bool serves_every_m(std::vector<RowRange> ranges) {
  std::ranges::sort(ranges, {}, &RowRange::least);
  std::int64_t served = 0;
  for (const RowRange& range : ranges) {
    if (range.least > served + 1) return false;
    if (range.most == kAnyRows) return true;
    served = std::max(served, range.most);
  }
  return false;
}

}  // namespace

std::span<const Order> order_preference() { return kPreference; }

Order choose_order(const Problem& problem, const Machine& machine, Precision precision) {
  for (const Order order : kPreference) {
    if (is_for_prompts(order) && problem.role != Role::prompt) continue;
    if (!is_wide(order, machine)) continue;
    if (order == Order::int8_groups && precision == Precision::exact) continue;
    std::vector<RowRange> ranges;
    for (const Kernel& kernel : roll_call())
      if (kernel.fields.order == order && why_not_any_m(kernel, problem, machine).empty())
        ranges.push_back(kernel.fields.rows);
    if (serves_every_m(std::move(ranges))) return order;
  }
  fail(ErrorCode::unsupported, "{}: no kernel of the roll call serves it on {}; see explain",
       problem_text(problem), machine.name);
}

}  // namespace stepless
