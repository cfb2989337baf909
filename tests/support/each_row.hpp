// The rows of the roll call that a suite is instantiated for: listed in kernels.inc is tested.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/roll_call.hpp"
#include "tests/support/isa.hpp"

namespace stepless::test {

/// Rows of these ops that this build has.
inline std::vector<const Kernel*> built_rows(std::initializer_list<KernelOp> ops) {
  std::vector<const Kernel*> rows;
  for (const Kernel& row : roll_call())
    if (row.built() && std::ranges::find(ops, row.is.op) != ops.end()) rows.push_back(&row);
  return rows;
}

/// Those without the ones that round x to 8 bits, which fixtures of exact products do not suit.
inline std::vector<const Kernel*> exact_rows(std::initializer_list<KernelOp> ops) {
  std::vector<const Kernel*> rows = built_rows(ops);
  std::erase_if(rows, [](const Kernel* row) { return row->fields.order == Order::int8_groups; });
  return rows;
}

inline std::string row_name(const ::testing::TestParamInfo<const Kernel*>& info) {
  return std::string(info.param->name);
}

/// Ops whose suites carry their operands to a GPU (tests/support/device.hpp). The CUDA rows of the
/// others run in whole models only: api/gpu_test.cc, and selftest's fixtures.
inline bool suite_reaches_gpus(KernelOp op) {
  return op == KernelOp::qmm || op == KernelOp::qmmn || op == KernelOp::mm || op == KernelOp::dot ||
         op == KernelOp::sample;
}

/// A suite with one instance per row; rows this machine cannot run are skipped, by name.
class EachRow : public ::testing::TestWithParam<const Kernel*> {
 protected:
  void SetUp() override {
    if (row().device != nullptr && !suite_reaches_gpus(row().is.op))
      GTEST_SKIP() << row().name << ": this suite does not reach GPUs";
    if (!runs_here(row().is.isa))
      GTEST_SKIP() << row().name << ": this machine has no " << to_string(row().is.isa);
  }
  static const Kernel& row() { return *GetParam(); }
};

}  // namespace stepless::test
