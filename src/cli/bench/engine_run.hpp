// Requests of random tokens on an engine, and when their tokens came: what the benches of a model
// are made of. Through the public API, as any user of it would.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "stepless/bench.hpp"
#include "stepless/engine.hpp"

namespace stepless::cli {

/// A prompt and how many tokens to draw behind it, the best one each; no token ends it early.
struct Ask {
  std::vector<std::int32_t> tokens;
  std::int64_t draws = 1;
};
/// Seconds since the first request of the run was sent: when this one was, and when each token
/// came. The first token comes with the step that ends the prompt.
struct Told {
  double sent = 0;
  std::vector<double> at;
  std::int64_t cached = 0;  // prompt tokens that were not computed again
};

class EngineRun {
 public:
  EngineRun(const Model& model, const EngineOptions& options) : engine_(model, options) {}
  /// Sends them in order, so many at once (0: all), and returns when all have ended. Throws Error:
  /// cancelled (a signal), internal (one failed, with its reason), what Engine::submit() throws.
  std::vector<Told> run(const std::vector<Ask>& asks, std::int64_t at_once = 0);
  EngineStats stats() const { return engine_.stats(); }

 private:
  void take(std::size_t index, const Event& event);
  void send_up_to(std::int64_t most, const std::vector<Ask>& asks);
  void cancel_all();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Told> told_;
  std::vector<std::int64_t> ids_;
  std::int64_t finished_ = 0;
  std::string error_;
  double start_ = 0;
  Engine engine_;  // last: its thread is gone before what it writes to
};

/// The same for the same seed; every id of the vocabulary is as likely.
std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocabulary,
                                        std::uint64_t seed);

/// Prompts as the engine computes them: `rows` tokens at a time, one prompt after another, short
/// ones together; a token is drawn from the last row of each.
StepFloor prompt_floor(const Model& model, std::int64_t sequences, std::int64_t position,
                       std::int64_t tokens, std::int64_t rows, const Ceilings& ceilings);
/// `draws` steps with one row of each sequence; the first row at this position.
StepFloor decode_floor(const Model& model, std::int64_t sequences, std::int64_t position,
                       std::int64_t draws, const Ceilings& ceilings);

/// Peak of resident memory since the last call of reset_peak(). Where the system does not let it
/// be reset, since the process began.
void reset_peak();

}  // namespace stepless::cli
