// stepless::evaluate: windows through one model, or through two in step, a few rows at a time.
#include "stepless/evaluate.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "api/device.hpp"
#include "api/model_state.hpp"
#include "base/error.hpp"
#include "runtime/forward.hpp"
#include "runtime/likelihood.hpp"

namespace stepless {
namespace {

using WindowSpan = std::span<const Window>;

void check_window(const Window& window, std::size_t index, const Model& model) {
  const auto length = static_cast<std::int64_t>(window.size());
  if (length < 2)
    fail(ErrorCode::invalid_argument, "window {}: {} tokens; predictions take at least 2", index,
         length);
  const ModelInfo& info = model.info();
  if (length - 1 > info.context)
    fail(ErrorCode::invalid_argument, "window {}: {} tokens are read; the context of {} is {}",
         index, length - 1, info.name, info.context);
  for (const std::int32_t id : window)
    if (id < 0 || id >= info.vocab)
      fail(ErrorCode::invalid_argument, "window {}: token {}; {} has ids from 0 to {}", index, id,
           info.name, info.vocab - 1);
}

void check(const Model& model, WindowSpan windows, const EvaluateOptions& options) {
  if (windows.empty()) fail(ErrorCode::invalid_argument, "windows: none to evaluate");
  if (options.batch < 1) fail(ErrorCode::invalid_argument, "batch: {}; at least 1", options.batch);
  if (model.state()->foreign || (options.reference && options.reference->state()->foreign))
    fail(ErrorCode::invalid_argument,
         "a model planned for another machine can be explained, not evaluated");
  if (options.reference && options.reference->info().vocab != model.info().vocab)
    fail(ErrorCode::invalid_argument,
         "the vocabulary of {} has {} tokens, that of {} {}; KL takes equal ones",
         model.info().name, model.info().vocab, options.reference->info().name,
         options.reference->info().vocab);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    check_window(windows[i], i, model);
    if (options.reference) check_window(windows[i], i, *options.reference);
  }
}

/// One model's side of the walk: its caches, and the logits of the rows at hand.
class Reader {
 public:
  Reader(const Model& model, std::int64_t context, std::int64_t sequences)
      : name_(model.info().name),
        vocab_(static_cast<std::size_t>(model.info().vocab)),
        forward_(model.state()->loaded, make_backend(*model.state()), context, sequences),
        logits_(static_cast<std::size_t>(forward_.most_rows()) * vocab_) {}

  Forward& forward() { return forward_; }
  void step(std::span<const ForwardRow> rows) { forward_.step(rows, logits_.data()); }
  std::span<const float> row(std::size_t i) const { return {&logits_[i * vocab_], vocab_}; }
  /// log Σ exp of one row. Throws Error (corrupt) when there is none.
  double log_sum(std::size_t i, std::size_t window, std::size_t position) const {
    const double sum = log_sum_exp(row(i));
    if (!std::isfinite(sum))
      fail(ErrorCode::corrupt, "window {}, position {}: the logits of {} are not finite", window,
           position, name_);
    return sum;
  }

 private:
  std::string name_;
  std::size_t vocab_;
  Forward forward_;
  std::vector<float> logits_;  // (most_rows, vocab): all that is ever held
};

/// A prediction that a step makes: which window, after how many of its tokens.
struct Place {
  std::size_t window, position;
};

class Walk {
 public:
  Walk(const Model& model, WindowSpan windows, const EvaluateOptions& options)
      : windows_(windows), options_(options) {
    std::size_t longest = 0;
    for (const Window& window : windows) {
      longest = std::max(longest, window.size());
      total_ += static_cast<std::int64_t>(window.size()) - 1;
    }
    batch_ = std::min(static_cast<std::size_t>(options.batch), windows.size());
    const auto context = static_cast<std::int64_t>(longest) - 1;
    model_.emplace(model, context, static_cast<std::int64_t>(batch_));
    most_rows_ = static_cast<std::size_t>(model_->forward().most_rows());
    if (options.reference == nullptr) return;
    reference_.emplace(*options.reference, context, static_cast<std::int64_t>(batch_));
    most_rows_ = std::min(most_rows_, static_cast<std::size_t>(reference_->forward().most_rows()));
  }

  void run() {
    for (std::size_t first = 0; first < windows_.size(); first += batch_) {
      model_->forward().reset();
      if (reference_) reference_->forward().reset();
      const std::size_t last = std::min(first + batch_, windows_.size());
      for (std::size_t w = first; w < last; ++w)
        for (std::size_t p = 0; p + 1 < windows_[w].size(); ++p) {
          places_.push_back({w, p});
          rows_.push_back({static_cast<std::int64_t>(w - first), windows_[w][p]});
          if (rows_.size() == most_rows_) step();
        }
      step();
    }
  }

  Evaluation result() {
    Evaluation result;
    result.windows = static_cast<std::int64_t>(windows_.size());
    result.predictions = nll_.count();
    result.tokens = result.predictions + result.windows;
    result.mean_nll = nll_.mean();
    result.perplexity = std::exp(nll_.mean());
    result.perplexity_error = result.perplexity * nll_.standard_error();
    if (reference_) {
      Moments mean;
      for (const double value : kl_) mean.add(value);
      result.divergence = {mean.mean(), quantile(kl_, 0.99),
                           static_cast<double>(equal_) / static_cast<double>(kl_.size())};
    }
    return result;
  }

 private:
  /// Computes the rows gathered so far and forgets them.
  void step() {
    if (rows_.empty()) return;
    model_->step(rows_);
    if (reference_) reference_->step(rows_);
    for (std::size_t i = 0; i < rows_.size(); ++i) take(i);
    rows_.clear();
    places_.clear();
    if (options_.progress && !options_.progress(nll_.count(), total_))
      fail(ErrorCode::cancelled, "evaluation: stopped after {} of {} predictions", nll_.count(),
           total_);
  }

  void take(std::size_t i) {
    const auto [window, position] = places_[i];
    const std::int32_t next = windows_[window][position + 1];
    const std::span<const float> q = model_->row(i);
    const double q_sum = model_->log_sum(i, window, position);
    nll_.add(q_sum - static_cast<double>(q[static_cast<std::size_t>(next)]));
    if (!reference_) return;
    const std::span<const float> p = reference_->row(i);
    kl_.push_back(kl_divergence(p, reference_->log_sum(i, window, position), q, q_sum));
    equal_ += best_token(p) == best_token(q) ? 1 : 0;
  }

  WindowSpan windows_;
  const EvaluateOptions& options_;
  std::optional<Reader> model_, reference_;
  std::size_t batch_ = 1, most_rows_ = 1;
  std::vector<ForwardRow> rows_;
  std::vector<Place> places_;
  Moments nll_;
  std::vector<double> kl_;
  std::int64_t equal_ = 0, total_ = 0;
};

}  // namespace

Evaluation evaluate(const Model& model, const std::vector<Window>& windows,
                    const EvaluateOptions& options) {
  check(model, windows, options);
  const auto start = std::chrono::steady_clock::now();
  Walk walk(model, windows, options);
  walk.run();
  Evaluation result = walk.result();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace stepless
