// Builds without nvcc: there is no GPU.
#include "ops/gpu.hpp"

#include "base/error.hpp"

namespace stepless {

std::vector<Gpu> find_gpus() { return {}; }
std::string why_no_gpu() { return "this build has no CUDA code (STEPLESS_CUDA=off, or no nvcc)"; }
std::string cuda_toolkit() { return ""; }
std::vector<std::string> gpu_architectures() { return {}; }

std::unique_ptr<Backend> make_gpu_backend(int index, UploadProgress) {
  fail(ErrorCode::not_found, "cuda:{}: {}", index, why_no_gpu());
}

}  // namespace stepless
