// A mixture's matrix products on a GPU. Where a kernel of the planned order takes pairs of rows and
// experts as they are (CudaJoined::experts), the host has nothing to wait for. For other formats
// which expert serves which rows comes to the host, rows are sorted by expert, then each expert's
// rows run as one small matmul. Rows keep their bits: an order of summation never depends on m.
#pragma once
#include <optional>
#include <vector>

#include "ops/cuda/launch.hpp"
#include "ops/expert_groups.hpp"

namespace stepless {

/// The products of a node that holds an ExpertsOp, as one launch.
struct ExpertsCall {
  const Kernel* kernel = nullptr;
  std::vector<kernels::MatmulArgs> parts;
  kernels::ExpertPairs pairs = {};
  std::int64_t bytes() const;
  /// `glu` not null: the gate behind the products, of which y alone is set.
  void run(const DeviceRun& run, const kernels::GluArgs* glu) const;
};
/// None when no kernel can.
std::optional<ExpertsCall> experts_call(const Step& step, const Node& node);

class DeviceExperts {
 public:
  /// Room for the largest step of the program; nothing when no mixture is sorted by the host.
  explicit DeviceExperts(const Program& program);
  static std::int64_t bytes(const Program& program);
  /// Whether a step waits for the device, behind which nothing could be launched.
  bool waits() const { return pairs_ > 0; }
  /// Runs node `at`, which holds an ExpertsOp, and returns how many nodes that was: a gate behind
  /// it joins its launch.
  std::size_t run(const DeviceRun& run, const Step& step, std::size_t at);

 private:
  void run_sorted(const DeviceRun& run, const Step& step, const Node& node);
  /// Uploads the order of pairs and its inverse. Waits for the stream once.
  void sort(const DeviceRun& run, const Step& step, const ExpertsOp& op);

  std::vector<bool> gated_;  // by node: whether a gate joins it
  std::int64_t pairs_ = 0;
  PinnedMemory host_;    // ids, then both orders
  DeviceMemory device_;  // both orders: (pairs) each
  ExpertGroups groups_;
};

}  // namespace stepless
