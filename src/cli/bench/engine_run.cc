#include "cli/bench/engine_run.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/error.hpp"
#include "cli/terminal.hpp"
#include "stepless/bench.hpp"

namespace stepless::cli {
namespace {

constexpr std::chrono::milliseconds kSignalsSeen(50);

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void add(StepFloor& sum, const StepFloor& step, double times) {
  sum.bytes += step.bytes * times;
  sum.us += step.us * times;
}

}  // namespace

void EngineRun::take(std::size_t index, const Event& event) {
  const std::lock_guard lock(mutex_);
  Told& told = told_[index];
  if (event.kind == Event::Kind::token) told.at.push_back(now_s() - start_);
  if (event.kind != Event::Kind::finished) return;
  told.cached = event.cached_tokens;
  if (event.reason == FinishReason::failed && error_.empty()) error_ = event.error;
  ++finished_;
  changed_.notify_all();
}

/// Together: a step that began between two of them would draw tokens of the first alone.
void EngineRun::send_up_to(std::int64_t most, const std::vector<Ask>& asks) {
  std::vector<Engine::Submission> now;
  for (std::size_t index = ids_.size(); std::cmp_less(index, most); ++index) {
    Request request;
    request.tokens = asks[index].tokens;
    request.max_tokens = asks[index].draws;
    request.ignore_eos = true;
    told_[index].sent = now_s() - start_;
    told_[index].at.reserve(static_cast<std::size_t>(asks[index].draws));
    now.push_back({std::move(request), [this, index](const Event& event) { take(index, event); }});
  }
  std::ranges::copy(engine_.submit(std::move(now)), std::back_inserter(ids_));
}

void EngineRun::cancel_all() {
  for (const std::int64_t id : ids_) engine_.cancel(id);
  engine_.wait_idle();
}

std::vector<Told> EngineRun::run(const std::vector<Ask>& asks, std::int64_t at_once) {
  const std::int64_t all = std::ssize(asks);
  told_.assign(asks.size(), {});
  ids_.clear();
  error_.clear();
  finished_ = 0;
  start_ = now_s();
  std::unique_lock lock(mutex_);
  while (finished_ < all) {
    const std::int64_t most = at_once == 0 ? all : std::min(all, finished_ + at_once);
    lock.unlock();
    send_up_to(most, asks);
    lock.lock();
    changed_.wait_for(lock, kSignalsSeen);
    if (pending_signal() == 0) continue;
    lock.unlock();
    cancel_all();
    fail(ErrorCode::cancelled, "stopped with {} of {} requests done", finished_, all);
  }
  lock.unlock();
  engine_.wait_idle();  // the last step's figures are in once the engine rests
  if (!error_.empty()) fail(ErrorCode::internal, "{}", error_);
  return told_;
}

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocabulary,
                                        std::uint64_t seed) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) {
    seed += 0x9E3779B97F4A7C15u;  // splitmix64
    std::uint64_t word = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    word ^= word >> 31;
    token = static_cast<std::int32_t>(word % static_cast<std::uint64_t>(vocabulary));
  }
  return tokens;
}

StepFloor prompt_floor(const Model& model, std::int64_t sequences, std::int64_t position,
                       std::int64_t tokens, std::int64_t rows, const Ceilings& ceilings) {
  StepFloor sum;
  if (tokens <= rows) {
    const std::int64_t together = std::clamp(rows / tokens, std::int64_t{1}, sequences);
    const StepShape step = {
        .sequences = together, .rows = tokens, .sampled = together, .position = position};
    add(sum, step_floor(model, step, ceilings),
        static_cast<double>(sequences) / static_cast<double>(together));
    return sum;
  }
  for (std::int64_t done = 0; done < tokens; done += rows) {
    const std::int64_t now = std::min(rows, tokens - done);
    const StepShape step = {
        .rows = now, .sampled = done + now == tokens ? 1 : 0, .position = position + done};
    add(sum, step_floor(model, step, ceilings), static_cast<double>(sequences));
  }
  return sum;
}

StepFloor decode_floor(const Model& model, std::int64_t sequences, std::int64_t position,
                       std::int64_t draws, const Ceilings& ceilings) {
  // What a row sees grows evenly: the step in the middle stands for all.
  const StepShape step = {
      .sequences = sequences, .sampled = sequences, .position = position + draws / 2};
  StepFloor sum;
  add(sum, step_floor(model, step, ceilings), static_cast<double>(draws));
  return sum;
}

void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace stepless::cli
