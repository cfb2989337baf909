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

/// What the build has, then what the driver shows.
std::string cuda() {
  if (cuda_version().empty()) return "not built";
  std::string text = fmt::format("{}, {}", cuda_version(), fmt::join(cuda_architectures(), " "));
  for (const GpuName& gpu : gpus()) text += "; " + gpu.name;
  return gpus().empty() ? text + "; " + why_no_gpu_here() : text;
}

OrderedJson cuda_json() {
  if (cuda_version().empty()) return nullptr;
  OrderedJson names = OrderedJson::array();
  for (const GpuName& gpu : gpus()) names.push_back(gpu.name);
  return {{"version", cuda_version()},
          {"architectures", cuda_architectures()},
          {"gpus", std::move(names)}};
}

}  // namespace

std::string program_version() { return STEPLESS_VERSION; }

std::string version_text() {
  return fmt::format(
      "stepless {} ({}, {}, {})\ncpu: {} (in use)\ncuda: {}\nwith: nccl -, mpi -, grammar -",
      STEPLESS_VERSION, STEPLESS_COMMIT, compiler(), STEPLESS_BUILD_TYPE,
      fmt::join(usable_isas(), " "), cuda());
}

OrderedJson version_json() {
  return {{"version", STEPLESS_VERSION},
          {"commit", STEPLESS_COMMIT},
          {"compiler", compiler()},
          {"build", STEPLESS_BUILD_TYPE},
          {"isas", usable_isas()},
          {"cuda", cuda_json()},
          {"nccl", nullptr},
          {"mpi", nullptr},
          {"grammar", nullptr}};
}

}  // namespace stepless::cli
