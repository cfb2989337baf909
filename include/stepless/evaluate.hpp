// How well a model predicts a text, and how far it is from another model: perplexity by mlx-lm's
// protocol, KL divergence, agreement. Logits are looked at row by row, in float64.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "stepless/model.hpp"

namespace stepless {

/// Token ids of one window. Each is read from an empty cache; every token but the first is
/// predicted.
using Window = std::vector<std::int32_t>;

struct WindowOptions {
  std::int64_t length = 512;   // tokens of a window; at least 2
  std::int64_t samples = 256;  // how many windows; 0 or less: all there are
  std::uint32_t seed = 123;    // order of the documents: NumPy's permutation, as mlx-lm draws it
  /// For conversations: further variables of the chat template (a JSON object, or ""); without the
  /// template they are refused.
  std::string template_variables;
  bool use_template = true;
};

/// Windows of a file. `F.jsonl` holds a document per line: {"text": …}, {"messages": […], "tools":
/// […]} or {"prompt": …, "completion": …}, the latter two through the chat template. `F.txt` is one
/// document, which no seed reorders. Texts are encoded with the tokenizer's frame and end with EOS;
/// documents are concatenated, what is left behind the last whole window is dropped. Fewer than
/// `samples` windows are returned when the file holds no more. Throws Error: not_found,
/// invalid_argument (the line, or how many tokens there are), unsupported (no tokenizer, no
/// template).
std::vector<Window> read_windows(const Model& model, const std::string& path,
                                 const WindowOptions& options = {});

/// How the distributions of the evaluated model (q) lie to those of a reference (p).
struct Divergence {
  double kl_mean = 0, kl_p99 = 0;  // KL(p ‖ q) per prediction, nats
  double top1_agreement = 0;       // share of predictions whose likeliest tokens are equal
};

struct Evaluation {
  std::int64_t windows = 0, tokens = 0, predictions = 0;
  double mean_nll = 0;          // nats per prediction
  double perplexity = 0;        // exp(mean_nll)
  double perplexity_error = 0;  // standard error, to first order; NaN for a single prediction
  double seconds = 0;
  std::optional<Divergence> divergence;  // with a reference
};

struct EvaluateOptions {
  std::int64_t batch = 8;            // windows computed together; no result depends on it
  const Model* reference = nullptr;  // compare with this model: same vocabulary
  /// Called after each step with predictions done and wanted; false ends it: Error (cancelled).
  std::function<bool(std::int64_t done, std::int64_t total)> progress;
};

/// Memory: KV for `batch` windows and a few rows of logits, per model. Throws Error:
/// invalid_argument (no windows, one too short or beyond the context, ids or vocabularies that do
/// not fit), exhausted, corrupt (logits that are not finite, weights cut meanwhile), cancelled.
Evaluation evaluate(const Model& model, const std::vector<Window>& windows,
                    const EvaluateOptions& options = {});

}  // namespace stepless
