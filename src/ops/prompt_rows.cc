#include "ops/prompt_rows.hpp"

namespace stepless {

SplitStep split_prompt_rows(const RowGroup& group) {
  SplitStep split;
  std::vector<std::int32_t> places;  // of each row, in its part
  for (std::size_t i = 0; i < group.tokens.size(); ++i) {
    RowGroup& part = group.prompt[i] != 0 ? split.prompt : split.rest;
    places.push_back(static_cast<std::int32_t>(part.tokens.size()));
    part.tokens.push_back(group.tokens[i]);
    part.seq.push_back(group.seq[i]);
  }
  for (std::size_t i = 0; i < group.sampled.size(); ++i) {
    const auto row = static_cast<std::size_t>(group.sampled[i]);
    const bool prompt = group.prompt[row] != 0;
    RowGroup& part = prompt ? split.prompt : split.rest;
    split.in_prompt.push_back(prompt ? 1 : 0);
    part.sampled.push_back(places[row]);
    part.sampling.push_back(group.sampling[i]);
  }
  split.prompt.top_logprobs = split.rest.top_logprobs = group.top_logprobs;
  return split;
}

Sampled merge_sampled(const SplitStep& split, const Sampled& prompt, const Sampled& rest) {
  Sampled all;
  std::size_t taken[2] = {};
  for (const std::uint8_t in_prompt : split.in_prompt) {
    const Sampled& from = in_prompt != 0 ? prompt : rest;
    const std::size_t at = taken[in_prompt]++, tops = from.top_ids.size() / from.tokens.size();
    const auto begin = static_cast<std::ptrdiff_t>(at * tops);
    const auto end = begin + static_cast<std::ptrdiff_t>(tops);
    all.tokens.push_back(from.tokens[at]);
    all.logprobs.push_back(from.logprobs[at]);
    all.top_ids.insert(all.top_ids.end(), from.top_ids.begin() + begin, from.top_ids.begin() + end);
    all.top_logprobs.insert(all.top_logprobs.end(), from.top_logprobs.begin() + begin,
                            from.top_logprobs.begin() + end);
  }
  return all;
}

}  // namespace stepless
