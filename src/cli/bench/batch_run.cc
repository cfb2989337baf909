#include "cli/bench/batch_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/cli.hpp"

namespace stepless::cli {
namespace {

/// Steps until the last of the batch draws its first token, when no prompt is found in the cache.
std::int64_t most_stagger(const BatchCase& asked, std::int64_t rows) {
  return (asked.batch * asked.prompt + rows - 1) / rows + 2;
}

std::int64_t longest(const BatchCase& asked, std::int64_t rows) {
  return asked.prompt + asked.gen + most_stagger(asked, rows) + 1;
}

[[noreturn]] void no_room(const BatchCase& asked, const std::string& why) {
  throw ExitError(Exit::memory, ErrorCode::exhausted,
                  fmt::format("{} sequences of {} tokens: {}; fewer at once, shorter ones, or "
                              "--kv-bits",
                              asked.batch, asked.prompt + asked.gen, why));
}

std::vector<Ask> prompts_of(const BatchCase& asked, std::int64_t vocabulary, std::uint64_t seed) {
  std::vector<Ask> asks;
  for (std::int64_t i = 0; i < asked.batch; ++i) {
    const std::uint64_t own = asked.shared ? 0 : static_cast<std::uint64_t>(i);
    asks.push_back({random_tokens(asked.prompt, vocabulary, seed * 1000003 + own), 1});
  }
  return asks;
}

/// From the moment at which every sequence has its first token until each has `gen` more; none if
/// one has ended before: memory holds fewer at once.
std::optional<double> together_s(const BatchCase& asked, const std::vector<Told>& told) {
  double from = 0, to = 0;
  for (const Told& each : told) from = std::max(from, each.at.at(0));
  for (const Told& each : told) {
    const auto drawn = std::ranges::upper_bound(each.at, from) - each.at.begin();
    const auto last = static_cast<std::size_t>(drawn - 1 + asked.gen);
    if (last >= each.at.size()) return std::nullopt;
    to = std::max(to, each.at[last]);
  }
  return to - from;
}

}  // namespace

EngineOptions batch_options(const BatchCase& asked, std::int64_t rows) {
  EngineOptions options;
  options.context = longest(asked, rows);
  options.sequences = asked.batch;
  options.prefill_rows = rows;
  return options;
}

void check_batch(const BatchCase& asked, const EngineRun& engine, std::int64_t rows) {
  const EngineStats stats = engine.stats();
  const std::int64_t each = (longest(asked, rows) + kKvPageTokens - 1) / kKvPageTokens;
  if (stats.kv_packed_pages == 0 && stats.kv_pages < asked.batch * each)
    no_room(asked, fmt::format("{} pages of {} positions, {} needed", stats.kv_pages, kKvPageTokens,
                               asked.batch * each));
}

BatchTimes time_batch(EngineRun& engine, const Model& model, const BatchCase& asked,
                      std::int64_t rows, std::uint64_t seed) {
  std::vector<Ask> asks = prompts_of(asked, model.info().vocab, seed);
  BatchTimes times;
  const std::vector<Told> prompts = engine.run(asked.shared ? std::vector<Ask>{asks[0]} : asks);
  for (const Told& each : prompts) times.prompt_s = std::max(times.prompt_s, each.at.at(0));
  // The prompts again, which the cache has, if this model's prompts are reused: all draw soon.
  const bool reused = engine.run({asks[0]})[0].cached > 0;
  BatchCase left = asked;
  if (reused) left.prompt = std::min(asked.prompt, kKvPageTokens);
  for (Ask& ask : asks) ask.draws = asked.gen + most_stagger(left, rows) + 1;
  const std::optional<double> seconds = together_s(asked, engine.run(asks));
  if (!seconds) no_room(asked, "they did not run together");
  times.gen_s = *seconds;
  return times;
}

StepFloor prompt_floor_of(const Model& model, const BatchCase& asked, std::int64_t rows,
                          const Ceilings& ceilings) {
  return prompt_floor(model, asked.shared ? 1 : asked.batch, 0, asked.prompt, rows, ceilings);
}

StepFloor gen_floor_of(const Model& model, const BatchCase& asked, const Ceilings& ceilings) {
  return decode_floor(model, asked.batch, asked.prompt, asked.gen, ceilings);
}

}  // namespace stepless::cli
