// Enqueues kernels of the roll call on a GPU's stream.
#pragma once
#include "kernels/kernel.hpp"
#include "ops/cuda/device.hpp"
#include "ops/step.hpp"

namespace stepless {

/// Workspaces of a device. Tickets of one row's workspace are zero between its launches, so rows
/// that write it freely have another.
struct DeviceRun {
  cudaStream_t stream = nullptr;
  std::uint8_t* tickets = nullptr;  // of matmuls and attention
  std::uint8_t* scratch = nullptr;  // of everything else
  std::int32_t multiprocessors = 0;
  bool early_start = false;  // whether the GPU can set a kernel up while the one before runs
};

/// Where a kernel runs, with the workspace that is its own.
kernels::CudaContext context_of(const DeviceRun& run, const Kernel& kernel);

/// Throws Error (unsupported) when this build has no code for the kernel, Error (device).
void launch_kernel(const DeviceRun& run, const Kernel& kernel, const void* args);
/// Bytes of either workspace that a program's steps need: `rows` walks every planned bucket.
struct DeviceRoom {
  std::int64_t tickets = 0, scratch = 0;
};
DeviceRoom room_of(const Program& program);

}  // namespace stepless
