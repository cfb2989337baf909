// The NVIDIA GPUs of this computer, and the backend that runs a Program on one. The driver is asked
// at run time: a build with CUDA code runs without one, and then there are no GPUs.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dispatch/machine.hpp"
#include "ops/backend.hpp"

namespace stepless {

struct Gpu {
  int index = 0;
  std::string name;    // e.g. "NVIDIA H200"
  int capability = 0;  // 80, 90 ...
  std::int64_t memory_bytes = 0;
  std::string unusable;  // why this build's code cannot run there; empty: it can
};

/// All that the driver shows, in its order (CUDA_VISIBLE_DEVICES counts).
std::vector<Gpu> find_gpus();
/// Why find_gpus() is empty, in words; empty when it is not.
std::string why_no_gpu();
/// The toolkit this build's device code was compiled with, e.g. "13.0"; empty: none was.
std::string cuda_toolkit();

/// The architectures it was compiled for, e.g. "sm_80".
std::vector<std::string> gpu_architectures();

/// The planner's view of a GPU: the nearest line of machines.inc under the card's own name.
Machine gpu_machine(const Gpu& gpu);

/// Told how many bytes of how many have been sent.
using UploadProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Throws Error: not_found (no such GPU), unsupported (with the reason), device.
std::unique_ptr<Backend> make_gpu_backend(int index, UploadProgress uploading = {});

}  // namespace stepless
