// Launching kernels of a step, each as early as the one before allows (programmatic dependent
// launch): from sm_90 on a grid may be set up while the grid before it still runs. Every kernel so
// launched begins with begin_early(), or reads nothing but weights, the step's inputs and what
// earlier steps wrote before wait_for_inputs().
#pragma once
#include <cuda_runtime.h>

#include "kernels/args.hpp"

namespace stepless::kernels {
namespace {

/// The next kernel of the stream may be set up.
inline __device__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Ends when all that earlier kernels wrote is there to be read, and what they read may be written.
inline __device__ void wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// What a step brings along (rows of sequences, tables of pages), before wait_for_inputs(): past
/// the first-level cache, which may still hold the step before.
template <class T>
__device__ T read_early(const T* from) {
  static_assert(sizeof(T) % 4 == 0);
  union Words {
    T value;
    unsigned words[sizeof(T) / 4];
    __device__ Words() {}
  } all;
#pragma unroll
  for (unsigned i = 0; i < sizeof(T) / 4; ++i)
    all.words[i] = __ldcg(reinterpret_cast<const unsigned*>(from) + i);
  return all.value;
}

inline __device__ void begin_early() {
  let_next_start();
  wait_for_inputs();
}

inline cudaStream_t stream_of(const CudaContext& context) {
  return static_cast<cudaStream_t>(context.stream);
}

/// Blocks for `units` of work; kernels walk on by the size of the grid.
inline unsigned grid_for(int64_t units) {
  return static_cast<unsigned>(units < (int64_t{1} << 30) ? units : int64_t{1} << 30);
}

struct Grid {
  dim3 blocks;
  unsigned threads;
  std::size_t shared_bytes = 0;
};

template <class... Parameters, class... Arguments>
cudaError_t launch_grid(void (*kernel)(Parameters...), const Grid& grid, const CudaContext& context,
                        const Arguments&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream_of(context);
  config.attrs = &early;
  config.numAttrs = context.early_start ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace
}  // namespace stepless::kernels
