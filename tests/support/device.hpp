// The CUDA rows of the roll call under test. tests/support/none answers where there is no nvcc.
#pragma once
#include "kernels/kernel.hpp"
#include "tests/support/dot_case.hpp"
#include "tests/support/matmul_case.hpp"

namespace stepless::test {

/// Whether a GPU is there that can run this target's code.
bool device_runs(Isa isa);
/// y of one matmul on the device, (m, n) contiguous. The output is poisoned, what surrounds it and
/// the rows of x is checked, and the workspace's tickets must be zero again.
Bytes run_on_device(const Kernel& kernel, const Operands& operands);
/// The same for one inner product.
Bytes run_on_device(const Kernel& kernel, const DotProblem& problem);

/// Memory of the GPU for one test, and a stream of launches that are waited for. Only where
/// device_runs().
class DeviceArrays {
 public:
  DeviceArrays() = default;
  ~DeviceArrays();
  DeviceArrays(const DeviceArrays&) = delete;
  DeviceArrays& operator=(const DeviceArrays&) = delete;
  /// A copy of `bytes`, 256-byte aligned.
  std::uint8_t* put(const Bytes& bytes);
  Bytes get(const std::uint8_t* array, std::int64_t bytes) const;
  /// Launches by `launch`, with a workspace of `bytes` of zeros, and waits; throws on an error.
  template <class F>
  void run(std::int64_t bytes, F launch) {
    const kernels::CudaContext now = context(bytes);
    finish(launch(now));
    release_last();  // a test makes thousands of launches
  }

 private:
  kernels::CudaContext context(std::int64_t workspace_bytes);
  void finish(std::int32_t error) const;
  void release_last();
  std::vector<std::uint8_t*> arrays_;
};

}  // namespace stepless::test
