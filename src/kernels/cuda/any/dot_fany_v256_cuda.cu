// Inner product of two strided vectors, one launch. Products and sums are float64: memory leaves
// time for it. Piece p, 16 bytes of elements, belongs to thread p mod all threads; lanes, warps
// and blocks are added in a fixed order, the blocks by the one that finishes last.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/args.hpp"

namespace stepless::kernels {
namespace {

constexpr int kThreads = 256, kBlocksPerSm = 4;
constexpr int kAhead = 4;  // pieces of each vector in flight per thread
// A block earns its ticket (about 1.5 us) from 8 pieces a thread on.
constexpr int64_t kPiecesPerBlock = 2 * kAhead * kThreads;
constexpr int64_t kTicketBytes = 1 << 18;  // in front of every workspace

struct Sum {
  double real, imaginary;
};

__device__ Sum operator+(Sum a, Sum b) { return {a.real + b.real, a.imaginary + b.imaginary}; }

template <class Element>
constexpr int kPerPiece = 16 / static_cast<int>(sizeof(Element));

template <class Element>
union Piece {
  uint4 bits;
  Element elements[kPerPiece<Element>];
  __device__ Piece() : bits(uint4{0, 0, 0, 0}) {}
};

/// Nothing of an earlier kernel is read before this; the next one may begin to start.
__device__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;griddepcontrol.wait;" ::: "memory");
#endif
}

/// Evicted first: a vector that is longer than the cache passes through it once. Not a read-only
/// load: the compiler may move those above wait_for_inputs().
__device__ uint4 load_once(const void* from) {
  uint4 v;
  asm volatile("ld.global.cs.v4.u32 {%0,%1,%2,%3},[%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

template <class Element>
__device__ Piece<Element> piece_of(const Element* from, int64_t stride, bool together, int64_t at,
                                   int64_t k) {
  Piece<Element> piece;
  const int64_t first = at * kPerPiece<Element>;
  if (together && first + kPerPiece<Element> <= k) {
    piece.bits = load_once(from + first);
    return piece;
  }
#pragma unroll
  for (int e = 0; e < kPerPiece<Element>; ++e)
    if (first + e < k) piece.elements[e] = *(from + (first + e) * stride);
  return piece;
}

__device__ double wide(float v) { return v; }
__device__ double wide(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class Element>
__device__ void add_product(Element a, Element b, Sum& sum) {
  sum.real = fma(wide(a), wide(b), sum.real);
}
/// A product of two f16 is exact in float32, and one conversion less.
__device__ void add_product(__half a, __half b, Sum& sum) {
  sum.real += static_cast<double>(__half2float(a) * __half2float(b));
}
__device__ void add_product(float2 a, float2 b, Sum& sum) {
  sum.real = fma(wide(a.x), wide(b.x), sum.real);
  sum.real = fma(-wide(a.y), wide(b.y), sum.real);
  sum.imaginary = fma(wide(a.x), wide(b.y), sum.imaginary);
  sum.imaginary = fma(wide(a.y), wide(b.x), sum.imaginary);
}

__device__ void store(float* y, Sum sum) { *y = __double2float_rn(sum.real); }
__device__ void store(__half* y, Sum sum) { *y = __double2half(sum.real); }
__device__ void store(__nv_bfloat16* y, Sum sum) { *y = __double2bfloat16(sum.real); }
__device__ void store(float2* y, Sum sum) {
  *y = float2{__double2float_rn(sum.real), __double2float_rn(sum.imaginary)};
}

/// The sum over the block's threads, in thread 0.
__device__ Sum sum_of_block(Sum sum) {
  __shared__ Sum warps[kThreads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    sum = sum +
          Sum{__shfl_down_sync(~0u, sum.real, step), __shfl_down_sync(~0u, sum.imaginary, step)};
  __syncthreads();  // the call before this one has read `warps`
  if (lane == 0) warps[warp] = sum;
  __syncthreads();
  sum = warps[0];
#pragma unroll
  for (int w = 1; w < kThreads / 32; ++w) sum = sum + warps[w];
  return sum;
}

/// Whether this block is the last to arrive; then it sees what the others left.
__device__ bool arrives_last(unsigned* ticket) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1) == gridDim.x - 1;
  }
  __syncthreads();
  return last;
}

template <class Element>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    multiply(DotArgs args, bool together, Sum* partials, unsigned* ticket) {
  const Element* const a = static_cast<const Element*>(args.a);
  const Element* const b = static_cast<const Element*>(args.b);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t pieces = (args.k + kPerPiece<Element> - 1) / kPerPiece<Element>;
  Sum sum{0, 0};
  wait_for_inputs();
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < pieces;
       at += kAhead * step) {
    Piece<Element> left[kAhead], right[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (at + i * step < pieces) {
        left[i] = piece_of(a, args.a_stride, together, at + i * step, args.k);
        right[i] = piece_of(b, args.b_stride, together, at + i * step, args.k);
      }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
#pragma unroll
      for (int e = 0; e < kPerPiece<Element>; ++e)
        add_product(left[i].elements[e], right[i].elements[e], sum);
  }
  sum = sum_of_block(sum);
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
    if (!arrives_last(ticket)) return;
    sum = {0, 0};
    for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads)
      sum = sum + Sum{__ldcg(&partials[i].real), __ldcg(&partials[i].imaginary)};
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) *ticket = 0;
  }
  if (threadIdx.x == 0) store(static_cast<Element*>(args.y), sum);
}

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

template <class Element>
int32_t launch_for(const DotArgs& args, const CudaContext& context) {
  const int64_t pieces = (args.k + kPerPiece<Element> - 1) / kPerPiece<Element>;
  const int64_t wanted = (pieces + kPiecesPerBlock - 1) / kPiecesPerBlock;
  const int64_t most = static_cast<int64_t>(context.multiprocessors) * kBlocksPerSm;
  const int64_t blocks = wanted < 1 ? 1 : wanted < most ? wanted : most;
  const bool together =
      args.a_stride == 1 && args.b_stride == 1 && aligned(args.a) && aligned(args.b);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(context.stream);
  config.attrs = &early;
  config.numAttrs = context.early_start ? 1 : 0;
  return cudaLaunchKernelEx(&config, multiply<Element>, args, together,
                            reinterpret_cast<Sum*>(context.workspace + kTicketBytes),
                            reinterpret_cast<unsigned*>(context.workspace));
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const DotArgs& args = *static_cast<const DotArgs*>(opaque);
  if (args.type == DType::f32) return launch_for<float>(args, context);
  if (args.type == DType::f16) return launch_for<__half>(args, context);
  if (args.type == DType::bf16) return launch_for<__nv_bfloat16>(args, context);
  return launch_for<float2>(args, context);
}

/// Tickets, and a partial sum per block of the largest GPU.
int64_t workspace_bytes(const void*) { return kTicketBytes + 1024 * kBlocksPerSm * 16; }

}  // namespace

STEPLESS_CUDA_KERNEL(dot_fany_v256_cuda) = {launch, workspace_bytes};

}  // namespace stepless::kernels
