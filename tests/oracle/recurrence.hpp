// Layers that remember in a state of fixed size, one channel or head at a time, in float64 loops
// that share nothing with the library.
#pragma once
#include <cstdint>
#include <vector>

namespace stepless::oracle {

/// One channel of a causal convolution over time followed by silu.
class CausalConv {
 public:
  explicit CausalConv(std::vector<double> weight) : weight_(std::move(weight)) {}
  /// The output for the next input; inputs before the first are zero.
  double step(double x);

 private:
  std::vector<double> weight_, seen_;  // weight_.back() meets the newest input
};

/// One head of the gated delta rule.
class DeltaHead {
 public:
  DeltaHead(double a_log, double dt_bias, double epsilon)
      : a_log_(a_log), dt_bias_(dt_bias), epsilon_(epsilon) {}
  /// What the head says to the next row: q and k of any length, gates before their functions.
  std::vector<double> step(const std::vector<double>& q, const std::vector<double>& k,
                           const std::vector<double>& v, double a, double b);

 private:
  double a_log_, dt_bias_, epsilon_;
  std::vector<std::vector<double>> state_;  // state_[k][v]
};

}  // namespace stepless::oracle
