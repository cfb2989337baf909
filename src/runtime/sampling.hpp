// SamplingParams checked at the door and turned into what the sampler kernel reads.
#pragma once
#include <span>

#include "kernels/args.hpp"
#include "stepless/engine.hpp"

namespace stepless {

/// Throws Error (invalid_argument) naming the parameter, its value and the range.
void check_sampling(const SamplingParams& params, std::int64_t vocab);

/// Arrays that a SampleRow points into; they must not move while a step runs.
struct SamplingArrays {
  std::vector<std::int32_t> bias_ids;
  std::vector<float> bias_values;
  std::vector<std::int32_t> xtc_exempt;
};

/// A row for the token at `position`, drawn after `history`.
kernels::SampleRow sample_row(const SamplingParams& params, const SamplingArrays& arrays,
                              std::span<const std::int32_t> history, std::int64_t position,
                              std::int32_t logprobs);

}  // namespace stepless
