#include "runtime/sampling.hpp"

#include <cmath>

#include "base/error.hpp"

namespace stepless {
namespace {

void in_range(const char* name, double value, double least, double most) {
  if (!std::isfinite(value) || value < least || value > most)
    fail(ErrorCode::invalid_argument, "{}: {}; from {} to {}", name, value, least, most);
}

constexpr double kAny = 1e6;

}  // namespace

void check_sampling(const SamplingParams& p, std::int64_t vocab) {
  in_range("temperature", p.temperature, 0, kAny);
  in_range("top_p", p.top_p, 0, 1);
  in_range("min_p", p.min_p, 0, 1);
  in_range("xtc_probability", p.xtc_probability, 0, 1);
  in_range("xtc_threshold", p.xtc_threshold, 0, 0.5);
  in_range("top_k", p.top_k, 0, static_cast<double>(vocab));
  in_range("min_tokens_to_keep", p.min_tokens_to_keep, 1, static_cast<double>(vocab));
  in_range("repetition_penalty", p.repetition_penalty, 0, kAny);
  in_range("presence_penalty", p.presence_penalty, -kAny, kAny);
  in_range("frequency_penalty", p.frequency_penalty, -kAny, kAny);
  in_range("repetition_context_size", p.repetition_context, 0, kAny);
  in_range("presence_context_size", p.presence_context, 0, kAny);
  in_range("frequency_context_size", p.frequency_context, 0, kAny);
  for (const auto& [id, bias] : p.logit_bias) {
    in_range("logit_bias id", id, 0, static_cast<double>(vocab - 1));
    in_range("logit_bias", bias, -kAny, kAny);
  }
}

kernels::SampleRow sample_row(const SamplingParams& p, const SamplingArrays& arrays,
                              std::span<const std::int32_t> history, std::int64_t position,
                              std::int32_t logprobs) {
  kernels::SampleRow row{};
  row.temperature = p.temperature;
  row.top_p = p.top_p;
  row.min_p = p.min_p;
  row.xtc_probability = p.xtc_probability;
  row.xtc_threshold = p.xtc_threshold;
  row.top_k = p.top_k;
  row.min_tokens_to_keep = p.min_tokens_to_keep;
  row.repetition_penalty = p.repetition_penalty;
  row.presence_penalty = p.presence_penalty;
  row.frequency_penalty = p.frequency_penalty;
  row.repetition_context = p.repetition_context;
  row.presence_context = p.presence_context;
  row.frequency_context = p.frequency_context;
  row.seed = p.seed;
  row.position = position;
  row.history = history.data();
  row.history_size = static_cast<std::int64_t>(history.size());
  row.bias_ids = arrays.bias_ids.data();
  row.bias_values = arrays.bias_values.data();
  row.bias_count = static_cast<std::int64_t>(arrays.bias_ids.size());
  row.xtc_exempt = arrays.xtc_exempt.data();
  row.xtc_exempt_count = static_cast<std::int64_t>(arrays.xtc_exempt.size());
  row.logprobs = logprobs;
  return row;
}

}  // namespace stepless
