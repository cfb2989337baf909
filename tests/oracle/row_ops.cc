#include "tests/oracle/row_ops.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stepless::oracle {
namespace {
double& at(std::vector<double>& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }
double at(const std::vector<double>& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }
}  // namespace

std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& weight,
                             double offset, double epsilon) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double rms = std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  std::vector<double> y;
  for (std::size_t i = 0; i < x.size(); ++i)
    y.push_back(x[i] / rms * (weight.empty() ? 1 : weight[i] + offset));
  return y;
}

std::vector<double> rope(const std::vector<double>& x, std::int64_t position,
                         const std::vector<double>& inv_freq, bool interleaved, double scale) {
  std::vector<double> y = x;
  const auto pairs = static_cast<std::int64_t>(inv_freq.size());
  for (std::int64_t i = 0; i < pairs; ++i) {
    const std::int64_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + pairs;
    const double angle = static_cast<double>(position) * at(inv_freq, i);
    const double c = std::cos(angle) * scale, s = std::sin(angle) * scale;
    at(y, a) = at(x, a) * c - at(x, b) * s;
    at(y, b) = at(x, a) * s + at(x, b) * c;
  }
  return y;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }

double gelu_tanh(double x) {
  // 1 + tanh(u) = 2 / (1 + e^-2u): the same number without cancellation.
  const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * u));
}

double swish(double x, double alpha) { return x / (1 + std::exp(-alpha * x)); }

double clamped(double x, double limit) {
  return std::isnan(x) ? x : std::max(-limit, std::min(x, limit));
}

std::vector<double> attention(const AttentionHead& head) {
  const auto last = static_cast<std::int64_t>(head.k.size()) - 1;
  const std::int64_t first =
      head.window > 0 ? std::max<std::int64_t>(0, last - head.window + 1) : 0;
  std::vector<double> scores;
  double top = head.sink.value_or(-std::numeric_limits<double>::infinity());
  for (std::int64_t p = first; p <= last; ++p) {
    const auto& k = head.k[static_cast<std::size_t>(p)];
    double score = 0;
    for (std::size_t i = 0; i < head.q.size(); ++i) score += head.q[i] * k[i];
    score *= head.scale;
    if (head.softcap != 0) score = head.softcap * std::tanh(score / head.softcap);
    scores.push_back(score);
    top = std::max(top, score);
  }
  double total = head.sink ? std::exp(*head.sink - top) : 0;
  std::vector<double> y(head.v[0].size());
  for (std::int64_t p = first; p <= last; ++p) {
    const double weight = std::exp(at(scores, p - first) - top);
    total += weight;
    for (std::size_t i = 0; i < y.size(); ++i)
      y[i] += weight * head.v[static_cast<std::size_t>(p)][i];
  }
  for (double& v : y) v /= total;
  return y;
}

}  // namespace stepless::oracle
