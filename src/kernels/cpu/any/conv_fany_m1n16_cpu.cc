// A short causal convolution of each channel over its own sequence, then silu. A strip of channels
// walks all rows with its window of past inputs on the stack; taps are summed oldest first.
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/recurrent.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {

static constexpr int64_t kStrip = 16;

/// Channels [first, first + count) of all channels; they are column `column` on of one input.
struct Strip {
  const void* x;
  int64_t x_stride, column, first, count;
};

/// The strip's weights with the taps outermost.
static void load_weights(const ConvArgs& args, const Strip& strip, float* weights) {
  for (int64_t c = 0; c < strip.count; ++c) {
    float one[kMostConvTaps];
    widen(element(static_cast<const void*>(args.weight), args.weight_type,
                  (strip.first + c) * args.taps),
          args.weight_type, args.taps, one);
    for (int64_t t = 0; t < args.taps; ++t) weights[t * kStrip + c] = one[t];
  }
}

static void convolve(const float* window, const float* weights, int64_t taps, float* y) {
  for (int64_t c = 0; c < kStrip; c += 4) {
    Floats<4> sum = {};
    for (int64_t t = 0; t < taps; ++t)
      sum += load<4>(window + t * kStrip + c) * load<4>(weights + t * kStrip + c);
    store<4>(y + c, silu_of<4>(sum));
  }
}

static void run_strip(const ConvArgs& args, const Strip& strip) {
  alignas(64) float weights[kMostConvTaps * kStrip] = {};
  alignas(64) float window[kMostConvTaps * kStrip] = {};  // the last taps inputs, oldest first
  alignas(64) float y[kStrip];
  load_weights(args, strip, weights);
  const int64_t past = args.taps - 1;
  for (int64_t row = 0; row < args.rows; ++row) {
    const SeqRow& seq = args.seq[row];
    if (!continues(args.seq, row))
      load_runs(args.state, seq.state_in, strip.first, args.channels, past, strip.count, kStrip,
                window);
    widen(element(strip.x, args.type, row * strip.x_stride + strip.column), args.type, strip.count,
          window + past * kStrip);
    convolve(window, weights, args.taps, y);
    memcpy(args.y + row * args.channels + strip.first, y, static_cast<size_t>(strip.count) * 4);
    memmove(window, window + kStrip, static_cast<size_t>(past * kStrip) * 4);
    if (is_left(args.seq, args.rows, row))
      store_runs(args.state, seq.state_out, strip.first, args.channels, past, strip.count, kStrip,
                 window);
  }
}

static void run(const void* opaque, Slice channels) {
  const ConvArgs& args = *static_cast<const ConvArgs*>(opaque);
  int64_t before = 0;  // channels of the inputs passed
  for (int64_t j = 0; j < args.inputs; ++j) {
    const int64_t end = least(channels.end, before + args.width[j]);
    for (int64_t at = most(channels.begin, before); at < end; at += kStrip)
      run_strip(args, {args.x[j], args.width[j], at - before, at, least(kStrip, end - at)});
    before += args.width[j];
  }
}

STEPLESS_KERNEL(conv_fany_m1n16_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
