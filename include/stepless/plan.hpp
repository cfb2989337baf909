// Which kernel a matrix product runs on, what it should cost there, and why the others lost. Pure:
// nothing is timed.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace stepless {

/// y(m, n) = x(m, k) · wᵀ, or x · w without transpose.
struct ProblemSpec {
  std::int64_t m = 1, n = 0, k = 0;
  std::string mode = "affine";
  std::optional<int> bits,
      group_size;                  // none: the mode's; bits 16 or 32: a dense weight of x's size
  std::string dtype = "bfloat16";  // of x, scales and dense weights
  bool transpose = true;
  std::string machine;          // a known machine, or a profile's file; empty: this one
  int threads = 0;              // 0: the physical cores allowed (this machine), or the profile's
  std::string max_isa, kernel;  // planner wishes
  bool fast_int8 = false;
};

/// The block of `stepless explain` as text or one JSON object. `measured_us`: samples of the chosen
/// kernel on cold weights, to be set beside the prediction. Throws Error: invalid_argument (the
/// problem, or an illegal wish with its reason), not_found (machine, with the known names).
std::string explain_problem(const ProblemSpec& spec, bool json,
                            const std::vector<double>& measured_us = {});

/// The instruction sets of this machine that have kernels in this build, e.g. "avx2", best last.
std::vector<std::string> usable_isas();
/// Every instruction set with kernels in this build.
std::vector<std::string> built_isas();
/// Names of the machines that explain knows.
std::vector<std::string> machine_names();
/// The GPUs that the driver shows, in its order, and why a model cannot run there (empty: it can).
struct GpuName {
  std::string name, unusable;
  std::int64_t memory_bytes = 0;
};
std::vector<GpuName> gpus();
/// Why gpus() is empty, in words.
std::string why_no_gpu_here();
/// Throws Error unless a model can run on ModelOptions::device: invalid_argument (no such word),
/// unsupported (no GPU, no such GPU, or one that this build has no code for).
void check_device(const std::string& device);
/// The CUDA toolkit of this build, e.g. "13.0"; empty: it has no CUDA code.
std::string cuda_version();
/// Architectures that CUDA code was built for, e.g. "sm_80".
std::vector<std::string> cuda_architectures();
/// This processor's name, and physical cores and CPUs this process may use.
std::string cpu_name();
int usable_cores();
int usable_cpus();

}  // namespace stepless
