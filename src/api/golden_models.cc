#include "api/golden_models.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "api/device.hpp"
#include "api/model_state.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "format/dtype.hpp"
#include "format/safetensors.hpp"
#include "runtime/forward.hpp"
#include "stepless/evaluate.hpp"

namespace stepless {
namespace {

std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
  const TensorView* view = file.find(name);
  if (view == nullptr) fail(ErrorCode::corrupt, "{}: no tensor {}", file.path(), name);
  std::vector<float> values(static_cast<std::size_t>(count_of(view->shape, name)));
  to_f32(view->data, view->type, values.data(), static_cast<std::int64_t>(values.size()));
  return values;
}

std::vector<std::int32_t> ids_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView* view = file.find(name);
  if (view == nullptr || view->type != DType::i32)
    fail(ErrorCode::corrupt, "{}: no int32 tensor {}", file.path(), name);
  std::vector<std::int32_t> values(static_cast<std::size_t>(count_of(view->shape, name)));
  std::memcpy(values.data(), view->data, values.size() * sizeof(std::int32_t));
  return values;
}

/// Norm of the difference over norm of the reference; NaN anywhere makes it NaN.
double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size())
    fail(ErrorCode::corrupt, "{} logits; the reference has {}", got.size(), want.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    difference += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), 1e-300);
}

std::string judge(double error, double tolerance) {
  if (error <= tolerance) return "";  // false for NaN as well
  return fmt::format("relative error {:.3g}; tolerance {:.3g}", error, tolerance);
}

std::int64_t argmax(const float* row, std::int64_t count) {
  return std::max_element(row, row + count) - row;
}

struct ActType {
  const char* name;
  const char* tolerance;  // key in the fixture's tolerance block
};
constexpr ActType kActTypes[] = {{"float32", "float32_rel"}, {"bfloat16", "bf16_rel"}};

Model open_as(const std::string& folder, const ModelOptions& options, const char* act) {
  ModelOptions own = options;
  own.act_dtype = act;
  return Model::open(folder, own);
}

Forward forward_of(const Model& model, std::int64_t context) {
  return Forward(model.state()->loaded, make_backend(*model.state()), context);
}

/// Prefill, then single tokens through the cache, against the saved rows of one sequence.
std::string check_family_sequence(const Model& model, const SafetensorsFile& reference,
                                  const std::string& s, std::int64_t prefill, double tolerance) {
  const std::vector<std::int32_t> ids = ids_of(reference, s + ".ids");
  std::vector<float> want = floats(reference, s + ".prefill_last");
  const std::int64_t vocab = model.info().vocab;
  if (prefill < 1 || prefill > static_cast<std::int64_t>(ids.size()))
    fail(ErrorCode::corrupt, "prefill is {}; the sequence has {} tokens", prefill, ids.size());
  Forward forward = forward_of(model, static_cast<std::int64_t>(ids.size()));
  const std::span all(ids);
  std::vector<float> got = forward.append(all.first(static_cast<std::size_t>(prefill)),
                                          static_cast<std::int64_t>(want.size()) / vocab);
  for (std::size_t i = static_cast<std::size_t>(prefill); i < ids.size(); ++i) {
    const std::vector<float> one = forward.append(all.subspan(i, 1), 1);
    got.insert(got.end(), one.begin(), one.end());
  }
  const std::vector<float> decode = floats(reference, s + ".decode");
  want.insert(want.end(), decode.begin(), decode.end());
  return judge(relative_error(got, want), tolerance);
}

/// Greedy tokens equal to the reference up to the first whose margin is below `least_margin`.
std::string check_greedy(const Model& model, const Json& prompt, double least_margin) {
  const auto ids = prompt.at("ids").get<std::vector<std::int32_t>>();
  const auto want = prompt.at("greedy").get<std::vector<std::int32_t>>();
  const auto margin = prompt.at("margin").get<std::vector<double>>();
  if (margin.size() != want.size())
    fail(ErrorCode::corrupt, "{} margins for {} greedy tokens", margin.size(), want.size());
  Forward forward = forward_of(model, static_cast<std::int64_t>(ids.size() + want.size()));
  std::vector<float> logits = forward.append(ids, 1);
  for (std::size_t i = 0; i < want.size(); ++i) {
    const auto token = static_cast<std::int32_t>(argmax(logits.data(), model.info().vocab));
    if (token != want[i] && margin[i] < least_margin) return "";
    if (token != want[i])
      return fmt::format("greedy token {} is {}; expected {} (margin {:.3g})", i, token, want[i],
                         margin[i]);
    if (i + 1 < want.size()) logits = forward.append(std::span(&token, 1), 1);
  }
  return "";
}

std::string check_prompt(const Model& model, const Json& prompt, const SafetensorsFile& tensors,
                         int index, double tolerance, double least_margin) {
  const std::string p = "p" + std::to_string(index);
  const auto ids = ids_of(tensors, p + ".ids");
  Forward forward = forward_of(model, static_cast<std::int64_t>(ids.size()));
  const std::vector<float> last = forward.append(ids, 1);
  const std::string error =
      judge(relative_error(last, floats(tensors, p + ".last_logits")), tolerance);
  return error.empty() ? check_greedy(model, prompt, least_margin) : error;
}

/// Perplexity over the fixture's windows, within the share of the reference that it states.
std::string check_perplexity(const Model& model, const Json& reference, const std::string& dir,
                             Windows wanted) {
  const SafetensorsFile file(dir + "/" + reference.at("ids_file").get<std::string>());
  const auto name = reference.at("ids").get<std::string>();
  const std::vector<std::int32_t> ids = ids_of(file, name);
  const Shape& shape = file.find(name)->shape;  // (windows, tokens)
  if (shape.size() != 2) fail(ErrorCode::corrupt, "{}: {} is no matrix", file.path(), name);
  const Json& few = reference.at("bf16_activations");
  const std::int64_t count =
      wanted == Windows::all ? shape[0] : few.at("windows").get<std::int64_t>();
  if (count < 1 || count > shape[0])
    fail(ErrorCode::corrupt, "{} windows; {} holds {}", count, file.path(), shape[0]);
  std::vector<Window> windows;
  for (std::int64_t w = 0; w < count; ++w)
    windows.emplace_back(ids.begin() + w * shape[1], ids.begin() + (w + 1) * shape[1]);
  const double got = evaluate(model, windows).perplexity;
  const double want =
      std::exp((wanted == Windows::all ? reference.at("mean_nll") : few.at("float64_same_windows"))
                   .get<double>());
  const double most = reference.at("relative").get<double>();
  if (std::abs(got - want) <= most * want) return "";  // false for NaN as well
  return fmt::format("perplexity {:.6f}; expected {:.6f} within {:.3g} of it", got, want, most);
}

/// Runs `body` with the opened model; a family that is not there yet skips all of its cases.
template <class F>
void with_model(GoldenReport& report, const std::string& what, const std::string& folder,
                const ModelOptions& options, const char* act, int cases, F&& body) {
  try {
    body(open_as(folder, options, act));
  } catch (const Error& error) {
    const std::string line = what + ": " + error.what();
    for (int i = 0; i < cases; ++i) {
      if (error.code() == ErrorCode::unsupported)
        report.skip(line);
      else
        report.failure(line);
    }
  }
}

}  // namespace

GoldenReport run_golden_families(const std::string& dir, const ModelOptions& options) {
  GoldenReport report;
  for (const Json& entry : read_json(dir + "/index.json")) {
    const auto name = entry.at("name").get<std::string>();
    const auto sequences = static_cast<int>(entry.at("sequences").size());
    for (const ActType& act : kActTypes) {
      if (!entry.at("tolerance").contains(act.tolerance)) continue;
      const double tolerance = entry.at("tolerance").at(act.tolerance).get<double>();
      const std::string what = "families/" + name + " " + act.name;
      with_model(
          report, what, dir + "/" + entry.at("checkpoint").get<std::string>(), options, act.name,
          sequences, [&](const Model& model) {
            const SafetensorsFile reference(dir + "/" + entry.at("tensors").get<std::string>());
            for (int s = 0; s < sequences; ++s)
              report.run(what + " s" + std::to_string(s), [&] {
                return check_family_sequence(model, reference, "s" + std::to_string(s),
                                             entry.at("prefill").get<std::int64_t>(), tolerance);
              });
          });
    }
  }
  return report;
}

GoldenReport run_golden_models(const std::string& dir, const ModelOptions& options,
                               Windows windows) {
  GoldenReport report;
  for (const Json& entry : read_json(dir + "/index.json")) {
    const auto name = entry.at("name").get<std::string>();
    const Json reference = read_json(dir + "/" + entry.at("reference").get<std::string>());
    const Json& tolerance = reference.at("tolerance");
    const auto prompts = static_cast<int>(reference.at("prompts").size());
    const bool perplexity = reference.contains("perplexity");
    for (const ActType& act : kActTypes) {
      if (!tolerance.contains(act.tolerance)) continue;
      const bool exact = std::string(act.name) == "float32";
      const double margin = exact ? 0 : tolerance.at("bf16_margin").get<double>();
      const std::string what = "models/" + name + " " + act.name;
      with_model(
          report, what, dir + "/" + entry.at("checkpoint").get<std::string>(), options, act.name,
          prompts + (perplexity ? 1 : 0), [&](const Model& model) {
            const SafetensorsFile tensors(dir + "/" + reference.at("tensors").get<std::string>());
            for (int p = 0; p < prompts; ++p)
              report.run(what + " p" + std::to_string(p), [&] {
                return check_prompt(model, reference.at("prompts").at(static_cast<std::size_t>(p)),
                                    tensors, p, tolerance.at(act.tolerance).get<double>(), margin);
              });
            if (perplexity)
              report.run(what + " perplexity", [&] {
                return check_perplexity(model, reference.at("perplexity"), dir, windows);
              });
          });
    }
  }
  return report;
}

}  // namespace stepless
