// Steps as CUDA graphs, one per size of step: kernels cost about 1 us each in a graph, several when
// the host enqueues them.
#pragma once
#include <functional>
#include <map>
#include <tuple>

#include "ops/cuda/device.hpp"
#include "ops/step.hpp"

namespace stepless {

/// What `enqueue` puts on the stream, as a graph that is not run: whoever asked for it destroys it.
cudaGraph_t record(cudaStream_t stream, const std::function<void()>& enqueue);

class StepGraphs {
 public:
  StepGraphs() = default;
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;
  ~StepGraphs();
  /// Runs what `enqueue` puts on the stream. A size that comes again is captured, then replayed:
  /// capturing takes some milliseconds, more than a step that comes once could win back.
  void run(const Step& step, cudaStream_t stream, const std::function<void()>& enqueue);

 private:
  /// All that the arguments of a step's kernels follow from, beside addresses that never change.
  using Key =
      std::tuple<std::int64_t, std::int64_t, std::int32_t, bool, const void*, const void*, Role>;
  struct Entry {
    cudaGraphExec_t graph = nullptr;
    bool seen = false;
  };
  void clear();

  std::map<Key, Entry> entries_;
};

}  // namespace stepless
