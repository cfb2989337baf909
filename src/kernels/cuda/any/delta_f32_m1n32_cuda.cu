// The gated delta rule (Yang et al. 2024). A first kernel makes each row's keys and queries of
// length 1 and its gates; then a warp walks all rows with 32 value columns of one head, their part
// of the state in shared memory. A column's sums run over k alone, so its bits depend on its own
// sequence.
#include "kernels/cuda/any/recurrent.cuh"

namespace stepless::kernels {
namespace {

constexpr int kColumns = 32;

/// x scaled to length `length` by one warp (epsilon: x of zeros stays zeros).
__device__ void scale_to(const float* x, int64_t n, double length, float epsilon, float* y) {
  double squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += 32)
    squares = fma(static_cast<double>(x[i]), static_cast<double>(x[i]), squares);
  for (int other = 16; other > 0; other /= 2) squares += __shfl_xor_sync(~0u, squares, other);
  const auto scale = static_cast<float>(length / sqrt(squares + static_cast<double>(epsilon)));
  for (int64_t i = threadIdx.x; i < n; i += 32) y[i] = x[i] * scale;
}

__global__ void prepare(DeltaArgs args) {
  begin_early();
  const int64_t row = blockIdx.x, keys = args.k_heads * args.k_dim;
  const float* qkv = args.qkv + row * (2 * keys + args.v_heads * args.v_dim);
  float* to = args.prepared + row * delta_prepared_width(args.k_heads, args.k_dim, args.v_heads);
  const double readout = 1 / sqrt(static_cast<double>(args.k_dim));
  for (int64_t at = 0; at < keys; at += args.k_dim) {
    scale_to(qkv + at, args.k_dim, readout, args.epsilon, to + at);
    scale_to(qkv + keys + at, args.k_dim, 1, args.epsilon, to + keys + at);
  }
  float* decay = to + 2 * keys;
  for (int64_t h = threadIdx.x; h < args.v_heads; h += 32) {
    const double x = static_cast<double>(args.a[row * args.v_heads + h]) +
                     static_cast<double>(load(args.dt_bias, args.dt_bias_type, h));
    const double softplus = x > 40 ? x : log1p(exp(x));  // beyond 40 they are equal
    const auto a_log = static_cast<double>(load(args.a_log, args.a_log_type, h));
    decay[h] = static_cast<float>(exp(-exp(a_log) * softplus));
    decay[args.v_heads + h] =
        static_cast<float>(1 / (1 + exp(-static_cast<double>(args.b[row * args.v_heads + h]))));
  }
}

/// One row of one column: decays the state, corrects it towards `value`, reads it for the query.
__device__ float update(float* state, const float* key, const float* query, int64_t k_dim,
                        float decay, float rate, float value) {
  float seen = 0.0f, out = 0.0f;
  for (int64_t i = 0; i < k_dim; ++i) seen = fmaf(key[i], state[i * kColumns], seen);
  const float change = (value - seen * decay) * rate;
  for (int64_t i = 0; i < k_dim; ++i) {
    const float next = fmaf(key[i], change, state[i * kColumns] * decay);
    state[i * kColumns] = next;
    out = fmaf(query[i], next, out);
  }
  return out;
}

__global__ void delta(DeltaArgs args) {
  begin_early();
  extern __shared__ float states[];  // (k_dim, kColumns)
  const int64_t strips = (args.v_dim + kColumns - 1) / kColumns;
  const int64_t head = blockIdx.x / strips;
  const int64_t column = blockIdx.x % strips * kColumns + threadIdx.x;
  if (column >= args.v_dim) return;
  float* const state = states + threadIdx.x;
  const int64_t keys = args.k_heads * args.k_dim, width = args.v_heads * args.v_dim;
  const int64_t key_head = head / (args.v_heads / args.k_heads) * args.k_dim;
  const int64_t place = head * args.k_dim * args.v_dim + column;
  for (int64_t row = 0; row < args.rows; ++row) {
    const SeqRow& seq = args.seq[row];
    if (!continues(args.seq, row))
      for (int64_t i = 0; i < args.k_dim; ++i)
        state[i * kColumns] = state_at(args.state, seq.state_in, place + i * args.v_dim);
    const float* prepared =
        args.prepared + row * delta_prepared_width(args.k_heads, args.k_dim, args.v_heads);
    const float *decay = prepared + 2 * keys + head, *rate = decay + args.v_heads;
    const int64_t at = head * args.v_dim + column;
    args.y[row * width + at] =
        update(state, prepared + keys + key_head, prepared + key_head, args.k_dim, *decay, *rate,
               args.qkv[row * (2 * keys + width) + 2 * keys + at]);
    if (is_left(args.seq, args.rows, row))
      for (int64_t i = 0; i < args.k_dim; ++i)
        args.state.slots[(seq.state_out - 1) * args.state.width + place + i * args.v_dim] =
            state[i * kColumns];
  }
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const DeltaArgs& args = *static_cast<const DeltaArgs*>(opaque);
  const cudaError_t error = launch_grid(prepare, {grid_for(args.rows), 32}, context, args);
  if (error != cudaSuccess) return error;
  const int64_t strips = (args.v_dim + kColumns - 1) / kColumns;
  const auto shared = static_cast<std::size_t>(args.k_dim * kColumns) * sizeof(float);
  return launch_grid(delta, {grid_for(args.v_heads * strips), kColumns, shared}, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(delta_f32_m1n32_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
