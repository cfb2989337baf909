// The no-step report: does a row more cost more than the machine must charge for it?
#include <algorithm>

#include "base/measure.hpp"
#include "stepless/bench.hpp"

namespace stepless {
namespace {

constexpr double kAllowed = 1.10;  // conventions.md, section 3: times the floor's own rise

/// b over a, round by round: what slowed a whole round slowed both.
Summary ratio_of(const ProductRow& a, const ProductRow& b) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < std::min(a.us.size(), b.us.size()); ++round)
    ratios.push_back(b.us[round] / a.us[round]);
  return summary_of(std::move(ratios));
}

}  // namespace

StepVerdict judge_steps(const std::vector<ProductRow>& rows) {
  StepVerdict verdict;
  if (rows.empty()) return verdict;
  verdict.least_m = verdict.flat_to = verdict.flat_most_m = rows[0].m;
  bool flat = true;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const double over_first = ratio_of(rows[0], rows[i]).median;
    flat = flat && over_first <= kAllowed;
    if (flat) verdict.flat_to = rows[i].m;
    if (flat && over_first > verdict.flat_most)
      verdict.flat_most = over_first, verdict.flat_most_m = rows[i].m;
    if (rows[i].m != rows[i - 1].m + 1) continue;
    ++verdict.pairs;
    const Summary rise = ratio_of(rows[i - 1], rows[i]);
    const double floor_rise =
        rows[i - 1].floor_us > 0 ? rows[i].floor_us / rows[i - 1].floor_us : 1;
    if (rise.q1 > kAllowed * std::max(floor_rise, 1.0))
      verdict.steps.push_back({rows[i - 1].m, rise.median, floor_rise});
  }
  return verdict;
}

}  // namespace stepless
