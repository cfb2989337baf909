// A batch of equal prompts, then equal answers: the two phases apart, each with all sequences in
// it.
#pragma once
#include "cli/bench/engine_run.hpp"

namespace stepless::cli {

struct BatchCase {
  std::int64_t prompt = 512, gen = 128, batch = 1;
  bool shared = false;  // one prompt for all
  /// Positions in the cache at the end.
  std::int64_t positions() const { return (shared ? prompt : batch * prompt) + batch * gen; }
  std::int64_t prompt_tokens() const { return shared ? prompt : batch * prompt; }
};
struct BatchTimes {
  double prompt_s = 0, gen_s = 0;
};

/// Engine options with room for the whole batch at once, prompts cut at `rows`.
EngineOptions batch_options(const BatchCase& asked, std::int64_t rows);
/// Throws Error (memory) when the engine's pages do not hold the batch at once. Quantized pages are
/// seen only by time_batch().
void check_batch(const BatchCase& asked, const EngineRun& engine, std::int64_t rows);
/// Prompts from sending to the last one's first token; answers from the step where all sequences
/// draw, so many steps on. Throws Error as EngineRun::run(), and (memory) when they did not run
/// together.
BatchTimes time_batch(EngineRun& engine, const Model& model, const BatchCase& asked,
                      std::int64_t rows, std::uint64_t seed);
StepFloor prompt_floor_of(const Model& model, const BatchCase& asked, std::int64_t rows,
                          const Ceilings& ceilings);
StepFloor gen_floor_of(const Model& model, const BatchCase& asked, const Ceilings& ceilings);

}  // namespace stepless::cli
