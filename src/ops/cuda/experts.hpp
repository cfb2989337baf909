// A mixture's matrix products on a GPU: which expert serves which rows comes to the host, rows are
// sorted by expert, then each expert's rows run as one small matmul. Rows keep their bits: an order
// of summation never depends on m.
#pragma once
#include "ops/cuda/launch.hpp"
#include "ops/expert_groups.hpp"

namespace stepless {

class DeviceExperts {
 public:
  /// Room for the largest step of the program; nothing when it has no mixture.
  explicit DeviceExperts(const Program& program);
  static std::int64_t bytes(const Program& program);
  bool any() const { return pairs_ > 0; }
  /// Runs a node that holds an ExpertsOp. Waits for the stream once.
  void run(const DeviceRun& run, const Step& step, const Node& node);

 private:
  /// Uploads the order of pairs and its inverse.
  void sort(const DeviceRun& run, const Step& step, const ExpertsOp& op);

  std::int64_t pairs_ = 0;
  PinnedMemory host_;    // ids, then both orders
  DeviceMemory device_;  // both orders: (pairs) each
  ExpertGroups groups_;
};

}  // namespace stepless
