// Operations that one launch serves together (ops/joins.hpp says which may be). Which kernels run
// is planned for each operation as ever; this only asks whether the kernel planned can take its
// neighbours along (CudaJoined), which changes no bit.
#pragma once
#include <optional>
#include <vector>

#include "ops/cuda/launch.hpp"
#include "ops/joins.hpp"

namespace stepless {

class JoinedLaunches {
 public:
  explicit JoinedLaunches(const Program& program) : joins_(joins_of(program)) {}
  /// Runs node `at` and what joins it in one launch, and returns how many nodes that was; 0:
  /// nothing was run, for no kernel planned for this many rows can.
  std::size_t run(const DeviceRun& run, const Step& step, std::size_t at) const;
  /// The products that run() may launch from a node, as if they had one weight; none: it is no such
  /// node. For the sizes of workspaces.
  static std::optional<BoundCall> widest(const Step& step, const Node& node);

 private:
  std::size_t run_products(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_norm_sum(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_normed_products(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_feed_forward(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_taken_product(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_turned_put(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_turned_attention(const DeviceRun& run, const Step& step, std::size_t at) const;
  std::size_t run_attended(const DeviceRun& run, const Step& step, std::size_t at) const;

  std::vector<Join> joins_;  // by the first node
};

}  // namespace stepless
