#include "tests/oracle/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace stepless::oracle {
namespace {

constexpr double kGone = -std::numeric_limits<double>::infinity();

std::vector<std::int32_t> last(const std::vector<std::int32_t>& history, std::int64_t n) {
  const auto size = static_cast<std::int64_t>(history.size());
  return {history.end() - (n <= 0 || n > size ? size : n), history.end()};
}

double& at(std::vector<double>& z, std::int32_t id) { return z[static_cast<std::size_t>(id)]; }

/// Token ids from the best down, equal ones by id.
std::vector<std::size_t> order(const std::vector<double>& x) {
  std::vector<std::size_t> ids(x.size());
  std::iota(ids.begin(), ids.end(), std::size_t{0});
  std::ranges::stable_sort(ids, [&](std::size_t a, std::size_t b) { return x[a] > x[b]; });
  return ids;
}

std::vector<double> softmax(const std::vector<double>& x) {
  const double top = *std::ranges::max_element(x);
  std::vector<double> p;
  for (const double v : x) p.push_back(std::exp(v - top));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= total;
  return p;
}

void top_p(std::vector<double>& x, double share) {
  const std::vector<double> p = softmax(x);
  double before = 0, border = kGone;
  for (const std::size_t id : order(x)) {
    if (before >= share) break;
    border = x[id];
    before += p[id];
  }
  for (double& v : x)
    if (v < border) v = kGone;
}

void min_p(std::vector<double>& x, double share, std::int64_t least) {
  const double border = *std::ranges::max_element(x) + std::log(share);
  std::vector<bool> keep;
  for (const double v : x) keep.push_back(v >= border);
  const std::vector<std::size_t> best = order(x);
  if (least > 1)
    for (std::size_t i = 0; i < std::min(x.size(), static_cast<std::size_t>(least)); ++i)
      keep[best[i]] = true;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!keep[i]) x[i] = kGone;
}

void xtc(std::vector<double>& x, const SamplingOptions& options) {
  const std::vector<double> p = softmax(x);
  double least = std::numeric_limits<double>::infinity();
  for (const double v : p)
    if (v > options.xtc_threshold) least = std::min(least, v);
  const auto& exempt = options.xtc_exempt;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (p[i] > least && std::ranges::find(exempt, static_cast<std::int32_t>(i)) == exempt.end())
      x[i] = kGone;
}

}  // namespace

std::vector<double> penalised(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<double> z(logits.begin(), logits.end());
  for (const auto& [id, value] : options.bias) at(z, id) += value;
  const auto& history = options.history;
  if (options.repetition != 0) {
    const auto tokens = last(history, options.repetition_context);
    for (const std::int32_t id : std::set<std::int32_t>(tokens.begin(), tokens.end()))
      at(z, id) *= at(z, id) < 0 ? options.repetition : 1 / options.repetition;
  }
  if (options.presence != 0) {
    const auto tokens = last(history, options.presence_context);
    for (const std::int32_t id : std::set<std::int32_t>(tokens.begin(), tokens.end()))
      at(z, id) -= options.presence;
  }
  if (options.frequency != 0)
    for (const std::int32_t id : last(history, options.frequency_context))
      at(z, id) -= options.frequency;
  return z;
}

Distribution distribution(const std::vector<double>& logits, const SamplingOptions& options) {
  std::vector<double> x = logits;
  if (options.temperature == 0) {
    const auto best = static_cast<std::int32_t>(std::ranges::max_element(x) - x.begin());
    return {{best}, {1.0}};
  }
  if (options.top_p > 0 && options.top_p < 1) top_p(x, options.top_p);
  if (options.min_p > 0) min_p(x, options.min_p, options.min_tokens_to_keep);
  if (options.xtc) xtc(x, options);
  if (options.top_k > 0) {
    const std::vector<std::size_t> best = order(x);
    for (std::size_t i = static_cast<std::size_t>(options.top_k); i < x.size(); ++i)
      x[best[i]] = kGone;
  }
  for (double& v : x) v /= options.temperature;
  const std::vector<double> p = softmax(x);
  Distribution result;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (x[i] == kGone) continue;
    result.kept.push_back(static_cast<std::int32_t>(i));
    result.probabilities.push_back(p[i]);
  }
  return result;
}

std::vector<double> logprobs(const std::vector<double>& logits) {
  const double top = *std::ranges::max_element(logits);
  double total = 0;
  for (const double v : logits) total += std::exp(v - top);
  std::vector<double> result;
  for (const double v : logits) result.push_back(v - top - std::log(total));
  return result;
}

}  // namespace stepless::oracle
