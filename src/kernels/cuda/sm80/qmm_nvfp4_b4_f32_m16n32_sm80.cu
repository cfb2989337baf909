// nvfp4 with x in float32: three rows of bf16 for each.
#include "kernels/cuda/sm80/plane_rows.cuh"

namespace stepless::kernels {

extern const CudaEntry qmm_nvfp4_b4_bf16_m16n32_sm80;

namespace {

int64_t own_bytes(const MatmulArgs& a) { return qmm_nvfp4_b4_bf16_m16n32_sm80.workspace_bytes(&a); }
int64_t workspace_bytes(const void* args) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  return sm80::plane_workspace_bytes(a, own_bytes(a));
}
int32_t launch(const void* args, const CudaContext& context) {
  const MatmulArgs& a = *static_cast<const MatmulArgs*>(args);
  return sm80::launch_planes(a, own_bytes(a), context, [&](const MatmulArgs& planes) {
    return qmm_nvfp4_b4_bf16_m16n32_sm80.launch(&planes, context);
  });
}

}  // namespace

STEPLESS_CUDA_KERNEL(qmm_nvfp4_b4_f32_m16n32_sm80) = {.launch = launch,
                                                      .workspace_bytes = workspace_bytes};

}  // namespace stepless::kernels
