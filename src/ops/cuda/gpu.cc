#include "ops/gpu.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace stepless {

std::vector<Gpu> find_gpus() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return {};
  std::vector<Gpu> gpus;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    Gpu gpu{i, properties.name, properties.major * 10 + properties.minor,
            static_cast<std::int64_t>(properties.totalGlobalMem), ""};
    // The fat binary holds machine code of 8.0, 8.9 and 9.0a, and nothing to compile for others.
    if (gpu.capability < 80 || gpu.capability > 90)
      gpu.unusable = fmt::format("compute capability {}.{}; this build has code for 8.0 to 9.0",
                                 properties.major, properties.minor);
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::string why_no_gpu() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice)
    return "no NVIDIA driver, or none with a GPU";
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count == 0 ? "the driver shows no GPU" : "";
}

std::vector<std::string> gpu_architectures() { return {"sm_80", "sm_89", "sm_90"}; }

std::string cuda_toolkit() {
  return fmt::format("{}.{}", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
}

}  // namespace stepless
