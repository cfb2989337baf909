// Blocks of a cluster, a team, from sm_90 on.
#pragma once
#include <cstdint>

namespace stepless::kernels {

/// Shared memory of another block of the team.
static __device__ __forceinline__ uint32_t of_block(uint32_t at, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(there) : "r"(at), "r"(rank));
  return there;
}
/// This block has come so far. Relaxed: a release would wait for all copies on their way.
static __device__ __forceinline__ void tell_team() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
/// Until all blocks have that are still there.
static __device__ __forceinline__ void wait_for_team() {
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

}  // namespace stepless::kernels
