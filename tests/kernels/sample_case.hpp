// One sampled row for the tests: the oracle's options as the kernel's parameters, and the kernel's
// filters as the oracle's distribution.
#pragma once
#include <cmath>
#include <span>
#include <vector>

#include "kernels/cpu/any/sampler_steps.hpp"
#include "tests/oracle/sampling.hpp"

namespace stepless::test {

/// Owns what a SampleRow points to; stays where it is.
class SampleCase {
 public:
  explicit SampleCase(const oracle::SamplingOptions& options) : options_(options) {
    for (const auto& [id, value] : options_.bias) {
      bias_ids_.push_back(id);
      bias_values_.push_back(static_cast<float>(value));
    }
  }
  SampleCase(const SampleCase&) = delete;
  SampleCase& operator=(const SampleCase&) = delete;

  kernels::SampleRow row() const {
    const auto f = [](double value) { return static_cast<float>(value); };
    const auto n = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
    kernels::SampleRow row = {};
    row.temperature = f(options_.temperature);
    row.top_p = f(options_.top_p);
    row.min_p = f(options_.min_p);
    row.xtc_probability = options_.xtc ? 1.0f : 0.0f;
    row.xtc_threshold = f(options_.xtc_threshold);
    row.top_k = n(options_.top_k);
    row.min_tokens_to_keep = n(options_.min_tokens_to_keep);
    row.repetition_penalty = f(options_.repetition);
    row.presence_penalty = f(options_.presence);
    row.frequency_penalty = f(options_.frequency);
    row.repetition_context = n(options_.repetition_context);
    row.presence_context = n(options_.presence_context);
    row.frequency_context = n(options_.frequency_context);
    row.history = options_.history.data();
    row.history_size = std::ssize(options_.history);
    row.bias_ids = bias_ids_.data();
    row.bias_values = bias_values_.data();
    row.bias_count = std::ssize(bias_ids_);
    row.xtc_exempt = options_.xtc_exempt.data();
    row.xtc_exempt_count = std::ssize(options_.xtc_exempt);
    return row;
  }

 private:
  oracle::SamplingOptions options_;
  std::vector<std::int32_t> bias_ids_;
  std::vector<float> bias_values_;
};

/// What the kernel's steps leave of a row, xtc's coin at 0.
inline oracle::Distribution filtered(const kernels::SampleRow& params,
                                     const std::vector<float>& logits) {
  namespace k = kernels;
  const auto vocab = static_cast<std::int64_t>(logits.size());
  std::vector<float> z(logits.size());
  std::vector<std::uint32_t> marks(logits.size() / 32 + 1);
  k::penalise(params, logits.data(), vocab, z.data(), marks.data());
  const k::Logits row = k::survey(z.data(), vocab);
  if (row.best < 0) return {};
  if (!(params.temperature > 0)) return {{row.best}, {1.0}};
  std::vector<std::int32_t> ids(logits.size());
  const k::Kept kept = k::filter(params, row, 0.0, ids.data());
  oracle::Distribution result;
  double total = 0;
  for (std::int64_t i = 0; i < kept.count; ++i) {
    const std::int32_t id = k::id_at(kept, i);
    const double exponent =
        (static_cast<double>(z[static_cast<std::size_t>(id)]) - static_cast<double>(row.top)) /
        static_cast<double>(params.temperature);
    result.kept.push_back(id);
    result.probabilities.push_back(std::exp(exponent));
    total += result.probabilities.back();
  }
  for (double& p : result.probabilities) p /= total;
  return result;
}

}  // namespace stepless::test
