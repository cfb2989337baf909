#include "cli/version.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

}  // namespace

std::string program_version() { return STEPLESS_VERSION; }

std::string version_text() {
  return fmt::format(
      "stepless {} ({}, {}, {})\ncpu: {} (in use)\ncuda: not built\nwith: nccl -, mpi -, grammar -",
      STEPLESS_VERSION, STEPLESS_COMMIT, compiler(), STEPLESS_BUILD_TYPE,
      fmt::join(usable_isas(), " "));
}

OrderedJson version_json() {
  return {{"version", STEPLESS_VERSION},
          {"commit", STEPLESS_COMMIT},
          {"compiler", compiler()},
          {"build", STEPLESS_BUILD_TYPE},
          {"isas", usable_isas()},
          {"cuda", nullptr},
          {"nccl", nullptr},
          {"mpi", nullptr},
          {"grammar", nullptr}};
}

}  // namespace stepless::cli
