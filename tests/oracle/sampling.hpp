// The distribution a row is sampled from, by sorting everything in float64: written from the order
// in samplers.json and sharing nothing with the library.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

namespace stepless::oracle {

struct SamplingOptions {
  double temperature = 0, top_p = 1, min_p = 0, xtc_threshold = 0.1;
  bool xtc = false;
  std::int64_t top_k = 0, min_tokens_to_keep = 1;
  std::vector<std::int32_t> xtc_exempt;
  double repetition = 0, presence = 0, frequency = 0;  // 0: off
  std::int64_t repetition_context = 20, presence_context = 20, frequency_context = 20;
  std::map<std::int32_t, double> bias;
  std::vector<std::int32_t> history;
};

struct Distribution {
  std::vector<std::int32_t> kept;     // by id
  std::vector<double> probabilities;  // of the kept ones
};

/// The logits after bias and penalties.
std::vector<double> penalised(const std::vector<float>& logits, const SamplingOptions& options);
/// Filters and temperature on penalised logits; temperature 0: the best token alone.
Distribution distribution(const std::vector<double>& logits, const SamplingOptions& options);
/// log-softmax.
std::vector<double> logprobs(const std::vector<double>& logits);

}  // namespace stepless::oracle
