#include "api/device.hpp"

#include <charconv>

#include "base/error.hpp"
#include "ops/cpu/cpu_backend.hpp"

namespace stepless {
namespace {

/// The index in "cuda" or "cuda:i".
int gpu_index(const std::string& device) {
  const std::string_view digits =
      std::string_view(device).substr(device.starts_with("cuda") ? 4 : 0);
  if (device == "cuda") return 0;
  int index = 0;
  const auto [end, error] =
      std::from_chars(digits.data() + 1, digits.data() + digits.size(), index);
  if (!device.starts_with("cuda:") || error != std::errc() || digits.size() < 2 ||
      end != digits.data() + digits.size() || index < 0)
    fail(ErrorCode::invalid_argument,
         "device: \"{}\"; expected cpu, cuda:0 (or another index) or auto", device);
  return index;
}

}  // namespace

std::optional<Gpu> choose_gpu(const ModelOptions& options) {
  if (options.device == "cpu") return {};
  if (options.device == "auto") {
    if (!options.max_isa.empty() || !options.kernel.empty() || options.fast_int8) return {};
    for (Gpu& gpu : find_gpus())
      if (gpu.unusable.empty()) return std::move(gpu);
    return {};
  }
  const int index = gpu_index(options.device);
  for (Gpu& gpu : find_gpus()) {
    if (gpu.index != index) continue;
    if (gpu.unusable.empty()) return std::move(gpu);
    fail(ErrorCode::unsupported, "device: cuda:{} ({}): {}", index, gpu.name, gpu.unusable);
  }
  const std::string none = why_no_gpu();
  if (!none.empty())
    fail(ErrorCode::unsupported, "device: {}: {}; cpu or auto", options.device, none);
  fail(ErrorCode::unsupported, "device: cuda:{}: no such GPU; there are {}, counted from 0", index,
       find_gpus().size());
}

std::unique_ptr<Backend> make_backend(const Model::State& state,
                                      const std::shared_ptr<ThreadTeam>& team) {
  return state.gpu ? make_gpu_backend(*state.gpu, state.uploading) : make_cpu_backend(team);
}

std::unique_ptr<Backend> make_backend(const Model::State& state) {
  return state.gpu ? make_gpu_backend(*state.gpu, state.uploading)
                   : make_cpu_backend(state.threads);
}

}  // namespace stepless
