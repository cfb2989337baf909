#include "tests/oracle/recurrence.hpp"

#include <cmath>

namespace stepless::oracle {
namespace {

std::vector<double> of_length_one(const std::vector<double>& x, double epsilon) {
  double squares = epsilon;
  for (const double v : x) squares += v * v;
  std::vector<double> y;
  for (const double v : x) y.push_back(v / std::sqrt(squares));
  return y;
}

}  // namespace

double CausalConv::step(double x) {
  seen_.push_back(x);
  double sum = 0;
  for (std::size_t back = 0; back < weight_.size() && back < seen_.size(); ++back)
    sum += weight_[weight_.size() - 1 - back] * seen_[seen_.size() - 1 - back];
  return sum / (1 + std::exp(-sum));
}

std::vector<double> DeltaHead::step(const std::vector<double>& q, const std::vector<double>& k,
                                    const std::vector<double>& v, double a, double b) {
  if (state_.empty()) state_.assign(k.size(), std::vector<double>(v.size(), 0.0));
  const std::vector<double> query = of_length_one(q, epsilon_), key = of_length_one(k, epsilon_);
  const double softplus =
      std::log1p(std::exp(-std::abs(a + dt_bias_))) + std::fmax(a + dt_bias_, 0);
  const double decay = std::exp(-std::exp(a_log_) * softplus), rate = 1 / (1 + std::exp(-b));
  std::vector<double> y(v.size(), 0.0);
  for (std::size_t j = 0; j < v.size(); ++j) {
    double held = 0;
    for (std::size_t i = 0; i < key.size(); ++i) held += key[i] * decay * state_[i][j];
    for (std::size_t i = 0; i < key.size(); ++i) {
      state_[i][j] = decay * state_[i][j] + key[i] * rate * (v[j] - held);
      y[j] += query[i] * state_[i][j] / std::sqrt(static_cast<double>(key.size()));
    }
  }
  return y;
}

}  // namespace stepless::oracle
