// Causal convolution of each channel over the rows of its sequence, then silu. A thread to a
// channel walks the rows; the last inputs stay in registers.
#include "kernels/cuda/any/recurrent.cuh"

namespace stepless::kernels {
namespace {

constexpr int kChannels = 128;

__global__ void conv(ConvArgs args) {
  begin_early();
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * kChannels + threadIdx.x;
  if (channel >= args.channels) return;
  int64_t column = channel, input = 0;
  while (column >= args.width[input]) column -= args.width[input++];
  float weights[kMostConvTaps] = {}, window[kMostConvTaps] = {};  // oldest first, the last is new
  const int past = static_cast<int>(args.taps) - 1;
  for (int t = 0; t <= past; ++t)
    weights[t] = load(args.weight, args.weight_type, channel * args.taps + t);
  for (int64_t row = 0; row < args.rows; ++row) {
    const SeqRow& seq = args.seq[row];
    if (!continues(args.seq, row))
      for (int t = 0; t < past; ++t)
        window[t] = state_at(args.state, seq.state_in, t * args.channels + channel);
    window[past] = load(args.x[input], args.type, row * args.width[input] + column);
    float sum = 0.0f;
    for (int t = 0; t <= past; ++t) sum += window[t] * weights[t];
    args.y[row * args.channels + channel] = sum / (1.0f + expf(-sum));
    for (int t = 0; t < past; ++t) window[t] = window[t + 1];
    if (is_left(args.seq, args.rows, row))
      for (int t = 0; t < past; ++t)
        args.state.slots[(seq.state_out - 1) * args.state.width + t * args.channels + channel] =
            window[t];
  }
}

int32_t launch(const void* opaque, const CudaContext& context) {
  const ConvArgs& args = *static_cast<const ConvArgs*>(opaque);
  const Grid grid{grid_for((args.channels + kChannels - 1) / kChannels), kChannels};
  return launch_grid(conv, grid, context, args);
}

}  // namespace

STEPLESS_CUDA_KERNEL(conv_fany_m1n128_cuda) = {launch, nullptr};

}  // namespace stepless::kernels
