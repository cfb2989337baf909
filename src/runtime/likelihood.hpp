// What a row of logits says of a token, and how far two rows are apart: perplexity and KL in
// float64.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace stepless {

/// log Σ exp(x). NaN when the row holds a NaN or +inf, or nothing but -inf.
double log_sum_exp(std::span<const float> logits);

/// KL(p ‖ q) of the distributions that two rows of equal length stand for. `p_log_sum` and
/// `q_log_sum` are their log_sum_exp.
double kl_divergence(std::span<const float> p, double p_log_sum, std::span<const float> q,
                     double q_log_sum);

/// Index of the largest logit, the lowest among equals.
std::int64_t best_token(std::span<const float> logits);

/// The value below which this share of the values lies, interpolated between neighbours; sorts
/// them. At least one value.
double quantile(std::vector<double>& values, double share);

/// Mean and sample variance, one value at a time (Welford).
class Moments {
 public:
  void add(double value);
  std::int64_t count() const { return count_; }
  double mean() const { return mean_; }
  /// Standard error of the mean; NaN for fewer than two values.
  double standard_error() const;

 private:
  std::int64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

}  // namespace stepless
