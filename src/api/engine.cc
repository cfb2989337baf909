// stepless::Engine: one thread that owns an EngineCore, and the queue of commands that other
// threads put in.
#include "stepless/engine.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <thread>

#include "api/device.hpp"
#include "api/model_state.hpp"
#include "api/prompt_cache_state.hpp"
#include "base/error.hpp"
#include "runtime/engine_core.hpp"

namespace stepless {

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::failed:
      return "failed";
  }
  return "none";
}

namespace {

std::shared_ptr<const LoadedModel> runnable(const Model& model) {
  const Model::State& state = *model.state();
  if (state.foreign)
    fail(ErrorCode::unsupported, "{}: planned for {}; such a model can only be explained",
         state.info.name, state.loaded->machine.name);
  return state.loaded;
}

/// Null when both models run on a GPU.
std::shared_ptr<ThreadTeam> team_for(const Model& model, const EngineOptions& options) {
  const bool cpu =
      !model.state()->gpu || (options.draft_model && !options.draft_model->state()->gpu);
  return cpu ? std::make_shared<ThreadTeam>(model.state()->threads) : nullptr;
}

DraftModel draft_of(const EngineOptions& options, const std::shared_ptr<ThreadTeam>& team) {
  if (!options.draft_model) return {};
  return {runnable(*options.draft_model), make_backend(*options.draft_model->state(), team)};
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const Model& model, const EngineOptions& options)
      : team_(team_for(model, options)),
        core_(runnable(model), make_backend(*model.state(), team_), options,
              draft_of(options, team_)),
        stats_(core_.stats()),
        thread_([this] { loop(); }) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  std::vector<std::int64_t> submit(std::vector<Submission> together) {
    std::vector<Sequence> sequences;
    for (Submission& each : together) {
      sequences.push_back(
          make_sequence(core_.model(), std::move(each.request), core_.context(), core_.room()));
      sequences.back().listener = std::move(each.listener);
    }
    std::vector<std::int64_t> ids;
    const std::lock_guard lock(mutex_);
    for (Sequence& sequence : sequences) {
      ids.push_back(sequence.id = ++last_id_);
      added_.push_back(std::move(sequence));
      idle_ = false;
    }
    wake_.notify_all();
    return ids;
  }

  void cancel(std::int64_t id) {
    const std::lock_guard lock(mutex_);
    if (id > last_id_) return;  // else it would end a request that comes later
    cancelled_.push_back(id);
    wake_.notify_all();
  }

  void wait_idle() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return idle_; });
  }

  EngineStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  /// Runs `work` on the engine's thread between two steps, waits for it and throws what it threw.
  void between_steps(const std::function<void(EngineCore&)>& work) {
    std::exception_ptr thrown;  // not by the task, which would let go of it behind our back
    std::packaged_task<void()> task([&] {
      try {
        work(core_);
      } catch (...) {
        thrown = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      stats_ = core_.stats();
    });
    std::future<void> done = task.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      wake_.notify_all();
    }
    done.get();
    if (thrown) std::rethrow_exception(thrown);
  }

 private:
  void loop() {
    for (;;) {
      if (!take_commands()) break;
      core_.step();
      const std::lock_guard lock(mutex_);
      stats_ = core_.stats();
    }
    core_.cancel_all();
  }

  /// Moves commands into the core; sleeps while there is nothing to do. False: stop.
  bool take_commands() {
    std::unique_lock lock(mutex_);
    if (core_.idle() && added_.empty()) {
      idle_ = true;
      done_.notify_all();
    }
    wake_.wait(lock,
               [&] { return stopping_ || !core_.idle() || !added_.empty() || !tasks_.empty(); });
    run_tasks(lock);
    std::deque<Sequence> added = std::move(added_);
    added_.clear();
    for (Sequence& sequence : added) core_.add(std::move(sequence));
    for (const std::int64_t id : cancelled_) core_.cancel(id);
    cancelled_.clear();
    return !stopping_;
  }

  /// Without the lock: a task may take as long as a file takes to be written.
  void run_tasks(std::unique_lock<std::mutex>& lock) {
    while (!tasks_.empty()) {
      std::packaged_task<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::shared_ptr<ThreadTeam> team_;  // a model and its draft take turns
  EngineCore core_;
  mutable std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<Sequence> added_;
  std::deque<std::packaged_task<void()>> tasks_;
  std::vector<std::int64_t> cancelled_;
  EngineStats stats_;
  std::int64_t last_id_ = 0;
  bool idle_ = true, stopping_ = false;
  std::thread thread_;  // last: starts when everything else is there
};

Engine::Engine(const Model& model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}
Engine::~Engine() = default;

std::int64_t Engine::submit(Request request, Listener listener) {
  std::vector<Submission> alone;
  alone.push_back({std::move(request), std::move(listener)});
  return impl_->submit(std::move(alone))[0];
}
std::vector<std::int64_t> Engine::submit(std::vector<Submission> together) {
  return impl_->submit(std::move(together));
}
void Engine::cancel(std::int64_t id) { impl_->cancel(id); }
void Engine::wait_idle() { impl_->wait_idle(); }
EngineStats Engine::stats() const { return impl_->stats(); }

void Engine::load_prompt_cache(const PromptCache& cache) {
  impl_->between_steps([&cache](EngineCore& core) {
    if (&core.model() != cache.state()->model.get())
      fail(ErrorCode::invalid_argument, "{}: opened for another model than the engine's",
           cache.state()->file.path());
    core.load_prompt_cache(cache.state()->file);
  });
}
void Engine::save_prompt_cache(const std::vector<std::int32_t>& tokens, const std::string& path) {
  impl_->between_steps([&](EngineCore& core) { core.save_prompt_cache(tokens, path); });
}

}  // namespace stepless
