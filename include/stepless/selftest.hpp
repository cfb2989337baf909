// Checks of this build on this machine: every kernel against float64, and folders of fixtures.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "stepless/model.hpp"

namespace stepless {

struct SelftestReport {
  int passed = 0, failed = 0, skipped = 0;
  std::vector<std::string> lines;  // one per case that failed or was skipped
};

struct SelftestOptions {
  std::string golden;           // a folder laid out as golden/: ops, models, families, tokenizers,
                                // templates, samplers
  std::string demo;             // the demo model's folder; empty: not checked
  std::string device = "auto";  // that runs models; see ModelOptions
  bool quick = false;           // fewer shapes per kernel
  int threads = 0;              // 0: the physical cores allowed
  std::function<void(const std::string& part, int done, int total)> progress;
};

/// With `golden`: every case of the folder, whatever parts it holds. Else every row of the roll
/// call that this machine can run against float64, and the demo model's digest. Throws Error
/// (not_found): no such folder, or nothing in it.
SelftestReport selftest(const SelftestOptions& options);

}  // namespace stepless
