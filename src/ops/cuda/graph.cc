#include "ops/cuda/graph.hpp"

namespace stepless {
namespace {

constexpr std::size_t kMostSizes = 256;  // a graph of 400 kernels holds about 1 MB of the device

cudaGraphExec_t capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  cudaGraph_t graph = record(stream, enqueue);
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(error, "a step as a graph");
  return executable;
}

}  // namespace

/// Ends the capture whatever happens: a stream left capturing accepts nothing else.
cudaGraph_t record(cudaStream_t stream, const std::function<void()>& enqueue) {
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a step");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    cudaGraphDestroy(graph);
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing a step");
  return graph;
}

StepGraphs::~StepGraphs() { clear(); }

void StepGraphs::clear() {
  for (const auto& [key, entry] : entries_)
    if (entry.graph != nullptr) cudaGraphExecDestroy(entry.graph);
  entries_.clear();
}

void StepGraphs::run(const Step& step, cudaStream_t stream, const std::function<void()>& enqueue) {
  const Key key{step.rows,    step.sampled, step.top_logprobs, step.packs,
                step.top_ids, step.tokens,  step.role};
  if (entries_.size() == kMostSizes && !entries_.contains(key)) clear();
  Entry& entry = entries_[key];
  if (!entry.seen) {
    entry.seen = true;
    return enqueue();
  }
  if (entry.graph == nullptr) entry.graph = capture(stream, enqueue);
  check_cuda(cudaGraphLaunch(entry.graph, stream), "a step as a graph");
}

}  // namespace stepless
