// Rows that compute every element on its own: a thread to an element. F is a device function
// (args, row, column).
#pragma once
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

constexpr int kElementThreads = 256;

template <class Args, void (*element)(const Args&, int64_t, int64_t)>
__global__ void each_element(Args args, int64_t rows, int64_t width) {
  begin_early();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
       i < rows * width; i += static_cast<int64_t>(gridDim.x) * kElementThreads)
    element(args, i / width, i % width);
}

template <class Args, void (*element)(const Args&, int64_t, int64_t)>
int32_t launch_elements(const Args& args, int64_t rows, int64_t width, const CudaContext& context) {
  const int64_t blocks = (rows * width + kElementThreads - 1) / kElementThreads;
  return launch_grid(each_element<Args, element>, {grid_for(blocks), kElementThreads}, context,
                     args, rows, width);
}

}  // namespace
}  // namespace stepless::kernels
