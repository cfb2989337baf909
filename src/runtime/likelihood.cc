#include "runtime/likelihood.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stepless {

double log_sum_exp(std::span<const float> logits) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  float most = -std::numeric_limits<float>::infinity();
  for (const float x : logits) {
    if (std::isnan(x)) return kNan;
    most = std::max(most, x);
  }
  if (!std::isfinite(most)) return kNan;
  const auto base = static_cast<double>(most);
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - base);
  return base + std::log(sum);
}

double kl_divergence(std::span<const float> p, double p_log_sum, std::span<const float> q,
                     double q_log_sum) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double log_p = static_cast<double>(p[i]) - p_log_sum;
    const double share = std::exp(log_p);
    // 0 log 0 is 0; also keeps -inf - -inf, tokens that both exclude, from being NaN.
    if (share > 0) sum += share * (log_p - (static_cast<double>(q[i]) - q_log_sum));
  }
  return sum;
}

std::int64_t best_token(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

double quantile(std::vector<double>& values, double share) {
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double part = at - static_cast<double>(below);
  return values[below] + part * (values[above] - values[below]);
}

void Moments::add(double value) {
  ++count_;
  const double before = value - mean_;
  mean_ += before / static_cast<double>(count_);
  squares_ += before * (value - mean_);
}

double Moments::standard_error() const {
  if (count_ < 2) return std::numeric_limits<double>::quiet_NaN();
  const auto count = static_cast<double>(count_);
  return std::sqrt(squares_ / (count - 1) / count);
}

}  // namespace stepless
