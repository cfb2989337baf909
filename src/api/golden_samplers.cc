#include <cmath>

#include "api/golden_text.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "kernels/cpu/any/sampler_steps.hpp"
#include "runtime/sampling.hpp"

namespace stepless {
namespace {

/// The options a fixture may state; another name would pass unread, so it fails its case.
SamplingParams read_options(const Json& options, std::vector<std::int32_t>& exempt) {
  SamplingParams p;
  for (const auto& [key, value] : options.items()) {
    if (key == "temperature")
      p.temperature = value.get<float>();
    else if (key == "top_p")
      p.top_p = value.get<float>();
    else if (key == "min_p")
      p.min_p = value.get<float>();
    else if (key == "min_tokens_to_keep")
      p.min_tokens_to_keep = value.get<std::int32_t>();
    else if (key == "xtc_probability")
      p.xtc_probability = value.get<float>();
    else if (key == "xtc_threshold")
      p.xtc_threshold = value.get<float>();
    else if (key == "xtc_special_tokens")
      exempt = value.get<std::vector<std::int32_t>>();
    else if (key == "top_k")
      p.top_k = value.get<std::int32_t>();
    else if (key == "repetition_penalty")
      p.repetition_penalty = value.get<float>();
    else if (key == "repetition_context_size")
      p.repetition_context = value.get<std::int32_t>();
    else if (key == "presence_penalty")
      p.presence_penalty = value.get<float>();
    else if (key == "presence_context_size")
      p.presence_context = value.get<std::int32_t>();
    else if (key == "frequency_penalty")
      p.frequency_penalty = value.get<float>();
    else if (key == "frequency_context_size")
      p.frequency_context = value.get<std::int32_t>();
    else if (key == "logit_bias")
      for (const auto& [id, bias] : value.items())
        p.logit_bias.emplace_back(std::stoi(id), bias.get<float>());
    else
      fail(ErrorCode::unsupported, "option {} is not known", key);
  }
  return p;
}

/// Probabilities of the tokens that the filters leave, XTC's coin at 0 (always applied).
std::string check_distribution(const kernels::SampleRow& params, const std::vector<float>& logits,
                               const Json& item) {
  namespace k = kernels;
  const auto vocab = static_cast<std::int64_t>(logits.size());
  std::vector<float> z(logits.size());
  std::vector<std::uint32_t> marks(logits.size() / 32 + 1);
  k::penalise(params, logits.data(), vocab, z.data(), marks.data());
  const k::Logits row = k::survey(z.data(), vocab);
  std::vector<std::int32_t> ids(logits.size()), kept;
  std::vector<double> weights;
  double total = 0;
  if (params.temperature > 0) {
    const k::Kept left = k::filter(params, row, 0.0, ids.data());
    for (std::int64_t i = 0; i < left.count; ++i) {
      kept.push_back(k::id_at(left, i));
      const double logit = static_cast<double>(z[static_cast<std::size_t>(kept.back())]);
      weights.push_back(std::exp((logit - static_cast<double>(row.top)) /
                                 static_cast<double>(params.temperature)));
      total += weights.back();
    }
  } else {
    kept = {row.best};
    weights = {total = 1};
  }
  if (kept != item.at("kept").get<std::vector<std::int32_t>>())
    return fmt::format("{} tokens kept; expected {}, or others", kept.size(),
                       item.at("kept").size());
  const auto want = item.at("probabilities").get<std::vector<double>>();
  for (std::size_t i = 0; i < kept.size(); ++i)
    if (!(std::abs(weights[i] / total - want.at(i)) <= 1e-5))
      return fmt::format("token {}: probability {:.7f}; expected {:.7f}", kept[i],
                         weights[i] / total, want.at(i));
  return "";
}

std::string check_case(const Json& item) {
  SamplingArrays arrays;
  const SamplingParams params = read_options(item.at("options"), arrays.xtc_exempt);
  const auto logits = item.at("logits").get<std::vector<float>>();
  const auto history = item.at("history").get<std::vector<std::int32_t>>();
  for (const auto& [id, bias] : params.logit_bias) {
    arrays.bias_ids.push_back(id);
    arrays.bias_values.push_back(bias);
  }
  check_sampling(params, static_cast<std::int64_t>(logits.size()));
  return check_distribution(sample_row(params, arrays, history, 0, 0), logits, item);
}

}  // namespace

GoldenReport run_golden_samplers(const std::string& dir, const ModelOptions&) {
  GoldenReport report;
  const Json file = read_json(dir + "/samplers.json");
  for (const Json& item : file.at("cases"))
    report.run("samplers/" + item.at("name").get<std::string>(), [&] { return check_case(item); });
  return report;
}

}  // namespace stepless
