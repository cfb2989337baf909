// All that a kernel file may include, besides intrinsics, C headers and headers of its own folder
// in which everything is static: plain arguments and the symbol a kernel exports. No inline
// function and no STL here: what an ISA folder instantiates could be the copy the linker keeps for
// every machine (house.md, section 9).
#pragma once
#include <cstdint>

#include "stepless/dtype.hpp"

namespace stepless::kernels {

using std::int32_t;
using std::int64_t;
using std::uint64_t;
using std::uint8_t;

/// The part of the work one call does: units [begin, end) of the axis the row's `unit` names. Which
/// thread gets which slice never changes a bit: every output is computed whole inside one unit.
struct Slice {
  int64_t begin, end;
};

/// What a CPU kernel file exports. `args` points to the Args struct of its op. The executor calls
/// prepare over rows of x (if not null), a barrier, run over units, a barrier, finish once (if not
/// null).
struct CpuEntry {
  void (*prepare)(const void* args, Slice rows);
  void (*run)(const void* args, Slice units);
  void (*finish)(const void* args);
};

/// Defines the exported symbol: STEPLESS_KERNEL(dot_fany_v16_cpu) = {nullptr, run, nullptr};
#define STEPLESS_KERNEL(name) \
  extern const CpuEntry name; \
  const CpuEntry name
/// The same for device code: STEPLESS_CUDA_KERNEL(dot_fany_v16_cuda) = {launch, workspace_bytes};
#define STEPLESS_CUDA_KERNEL(name) \
  extern const CudaEntry name;     \
  const CudaEntry name

/// In front of the workspace of products and attention: counters of arrivals, and sums that tell by
/// not being zero that they have come, which every launch finds and leaves at zero. What follows is
/// free for all.
inline constexpr int64_t kTicketBytes = 16 << 20;

/// Where a CUDA kernel is launched. `workspace`: at least what the entry asks for, zero before the
/// first launch, and of one stream only.
struct CudaContext {
  void* stream;
  uint8_t* workspace;
  int32_t multiprocessors;
  bool early_start;  // programmatic dependent launch: begin while the kernel before still runs
};

struct MatmulArgs;
struct GluArgs;
struct AddArgs;
struct NormArgs;
struct RopeArgs;
struct KvPutArgs;
struct AttnArgs;
struct CudaEntry;

/// Pairs of a row of x and an expert: pair i reads row i / per_row of x and the expert ids[i], and
/// its product is row i of y. Sorting them is the launch's own affair.
struct ExpertPairs {
  const int32_t* ids;  // (pairs), each in [0, experts)
  int64_t pairs, per_row, experts;
};

/// Launches that do what operations before or behind the row's own do as well: kernels cost about 2
/// us each in a step. The bits are those of separate launches. Null: the row has none.
inline constexpr int64_t kMostTogether = 4;
struct CudaJoined {
  /// Products of one x with several weights, at most kMostTogether. With `glu` not null there are
  /// two, its gate and up, of which glu's y alone is stored. The workspace is that of all outputs,
  /// each weight's rounded up to a multiple of the row's tile.
  int32_t (*products)(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                      const CudaContext& context) = nullptr;
  /// The same of x that is the norm of a plain sum, which is kept; x is not. Where the launch
  /// cannot, cudaErrorNotSupported.
  int32_t (*normed_products)(const AddArgs& add, const NormArgs& norm, const MatmulArgs* parts,
                             int64_t count, const GluArgs* glu,
                             const CudaContext& context) = nullptr;
  /// The same of a gate and its up, and the product of what they give, whose x is not kept either.
  /// Its kernel is this row as well. Where the launch cannot, cudaErrorNotSupported.
  int32_t (*feed_forward)(const AddArgs& add, const NormArgs& norm, const MatmulArgs* gate_and_up,
                          const GluArgs& glu, const MatmulArgs& down,
                          const CudaContext& context) = nullptr;
  /// A plain sum of two values, a + b, of the norm's x_type, which keeps it, and its norm.
  int32_t (*norm_sum)(const AddArgs& add, const NormArgs& norm,
                      const CudaContext& context) = nullptr;
  /// Queries and keys turned, then put; the keys are not stored elsewhere.
  int32_t (*put_turned)(const RopeArgs& q, const RopeArgs& k, const KvPutArgs& put,
                        const CudaContext& context) = nullptr;
  /// The same, and attention of the same rows behind it; neither queries nor keys are stored.
  int32_t (*attend_turned)(const RopeArgs& q, const RopeArgs& k, const KvPutArgs& put,
                           const AttnArgs& attn, const CudaContext& context) = nullptr;
  /// Attention whose y is stored as a `attended_products` takes it. Where the launch cannot,
  /// cudaErrorNotSupported.
  int32_t (*attend_as_x)(const AttnArgs& attn, const CudaContext& context) = nullptr;
  /// Products of what `attention` gives, which is not kept. Where the launches cannot,
  /// cudaErrorNotSupported.
  int32_t (*attended_products)(const CudaEntry& attention, const AttnArgs& attn,
                               const MatmulArgs* parts, int64_t count,
                               const CudaContext& context) = nullptr;
  /// Products of pairs with the experts they name, whose weights lie one after another from
  /// parts[].w on; m is the number of pairs. With `glu` not null as in `products`.
  int32_t (*experts)(const MatmulArgs* parts, int64_t count, const GluArgs* glu,
                     const ExpertPairs& pairs, const CudaContext& context) = nullptr;
  int64_t (*experts_bytes)(const MatmulArgs* parts, int64_t count,
                           const ExpertPairs& pairs) = nullptr;
};

/// What a CUDA kernel file exports. `args` points to the Args struct of its op; every pointer in it
/// is the device's; rows of x and the weight's arrays are 16-byte aligned. launch() enqueues and
/// returns a cudaError_t. workspace_bytes null: none.
struct CudaEntry {
  int32_t (*launch)(const void* args, const CudaContext& context);
  int64_t (*workspace_bytes)(const void* args);
  CudaJoined joined = {};
};

/// qmm, mm: y(m,n) = x(m,k) · wᵀ, w is (n,k).  qmmn: y(m,n) = x(m,k) · w, w is (k,n) with groups
/// along n. Unit: outputs n (slices start at multiples of the tile's n); prepare: rows of x.
struct MatmulArgs {
  const void* x;     // (m, k) of x_type, contiguous along k
  int64_t x_stride;  // elements between rows of x
  const uint8_t* w;  // packed codes or dense elements of w_type, row-major; any alignment
  int64_t w_row_bytes;
  const uint8_t*
      scales;  // (rows of w, groups), w_type in affine mode, one byte in fp modes; any alignment
  const uint8_t* biases;  // as scales; null in fp modes
  float tensor_scale;     // nvfp4: t / 2688; else 1. Block scale times this is rounded to f32 once
  Mode mode;
  int32_t bits, group_size;
  DType x_type, w_type, y_type;  // w_type: scales' and biases' type (affine), elements' type (mm)
  void* y;                       // (m, n) of y_type
  int64_t y_stride;
  int64_t m, n, k;
  uint8_t*
      workspace;  // 64-byte aligned; the row's workspace bytes; prepare() writes it, run() reads it
};

/// inner product of two strided vectors. Unit: blocks of kDotBlock elements, counted from 0; run()
/// writes partials to the workspace (f64 pairs, one per block), finish() sums them in order: the
/// bits do not depend on the threads.
inline constexpr int64_t kDotBlock = 65536;
struct DotArgs {
  const void* a;
  const void* b;
  int64_t a_stride, b_stride;  // elements; 0 and negative allowed
  int64_t k;
  DType type;         // of a, b and y: f32, f16, bf16, complex64
  void* y;            // one element
  double* workspace;  // 2 * ceil(k / kDotBlock)
};

/// Rows of a table. Unit: rows. y(m, k) = decode(table[ids[i]]). A table with null scales is dense,
/// of w_type.
struct EmbedArgs {
  const int32_t* ids;  // (m), each in [0, n)
  MatmulArgs table;    // x unused; w, scales, biases, types, n rows, k columns, y
};

/// y = x / rms(x) * (weight + weight_offset) over the last axis, float32 inside. Unit: rows.
struct NormArgs {
  const void* x;
  void* y;
  const uint8_t* weight;  // (k) of weight_type, any alignment; null: no weight
  DType x_type, weight_type, y_type;
  int64_t rows, k;             // rows * k contiguous elements (a head is a row in a query/key norm)
  int64_t groups;              // norms within a row of x: 1, or the number of heads
  int64_t x_stride, y_stride;  // elements between rows (a row holds `groups` runs of k elements)
  float epsilon, weight_offset;
};

/// cos and sin of position * inv_freq, float32, from double arithmetic. Unit: rows. y is (rows, 2,
/// pairs).
struct AnglesArgs {
  const int64_t* positions;  // (rows)
  const double* inv_freq;    // (pairs)
  float* y;
  int64_t rows, pairs;
  double scale;  // multiplies cos and sin (yarn's attention factor); else 1
};

/// Rotary embedding of `heads` runs of head_dim elements per row, in place allowed. Unit: rows.
/// Halves: element i pairs with i + pairs (interleaved: 2i with 2i + 1); elements beyond 2 * pairs
/// are copied.
struct RopeArgs {
  const void* x;
  void* y;
  const float* angles;  // (rows, 2, pairs)
  DType type;
  int64_t rows, heads, head_dim, pairs;
  int64_t x_stride, y_stride;
  bool interleaved;
};

/// Where a row of a step lives and what it reads: its position in its own sequence and the pages of
/// that sequence; in which slot recurrent layers find the state before it and in which they leave
/// the state after it. Rows of one sequence stand in order, so a row may read what the one before
/// it left. Which pages it reads in which form follows from the position alone
/// (runtime/kv_layout.hpp), never from the step, so that a row's bits do not either.
struct SeqRow {
  const int32_t* pages;  // plain pages, one id per page_tokens positions; 0: none, and none is read
  int64_t position;
  int32_t state_in = 0;                      // 0: zeros, the state before the first token
  int32_t state_out = 0;                     // 0: left nowhere; may be state_in
  const int32_t* packed = nullptr;           // packed pages, as `pages`
  int64_t packed_begin = 0, packed_end = 0;  // pages of the sequence that this row reads packed
  int64_t pack = -1;                         // the page that is packed for this row; -1: none
  int64_t kept = 0;  // kept > 0: positions [kept, resume) are not read (a rotating cache)
  int64_t resume = 0;
};

/// Recurrent state of one layer: `width` floats in each slot. Slots are counted from 1.
struct StateLayer {
  float* slots;
  int64_t width;
};

/// Quantized pages of one layer, affine: per position and head dim * bits / 8 bytes of codes, and
/// dim / group_size scales and as many biases of the plain cache's type. Each array is (pages,
/// kv_heads, page_tokens, ...). Without quantization bits is 0.
struct PackedKv {
  uint8_t *k = nullptr, *k_scales = nullptr, *k_biases = nullptr;
  uint8_t *v = nullptr, *v_scales = nullptr, *v_biases = nullptr;
  int32_t bits = 0, group_size = 0;
};

/// The KV cache of one layer: k and v are (pages, kv_heads, page_tokens, head_dim) of `type`.
struct KvLayer {
  uint8_t* k;
  uint8_t* v;
  DType type;
  int64_t page_tokens, kv_heads, k_dim, v_dim;
  PackedKv packed = {};
};

/// Writes the rows' keys and values into their pages. Unit: rows.
struct KvPutArgs {
  const void* k;  // (rows, kv_heads * k_dim) of type
  const void* v;
  int64_t k_stride, v_stride;
  DType type;
  const SeqRow* seq;
  int64_t rows;
  KvLayer cache;
};

/// Quantizes the pages that rows ask for (SeqRow::pack) from their plain form, as contract.md
/// section 3 says. A value that is not finite makes its whole group NaN. Unit: row * kv_heads +
/// head.
struct KvPackArgs {
  const SeqRow* seq;
  int64_t rows;
  KvLayer cache;
};

/// The most elements a head may have in attention (buffers on the stack); more is refused before a
/// kernel runs.
inline constexpr int64_t kMaxHeadDim = 1024;

/// softmax(scale * q·kᵀ) · v over positions max(0, p - window + 1) .. p of the row's own sequence,
/// less those that the row does not read. Elements that it reads packed are scale * code + bias,
/// decoded in float32 or, in orders of integers, met as codes by queries and weights of 16 bits.
/// The KV axis is cut at fixed positions counted from 0 and merged in order. Unit: row * heads +
/// head.
struct AttnArgs {
  const void* q;  // (rows, heads * k_dim)
  void* y;        // (rows, heads * v_dim)
  int64_t q_stride, y_stride;
  DType type;  // of q and y
  const SeqRow* seq;
  int64_t rows, heads;
  KvLayer cache;
  float scale;
  float softcap;         // 0: none; else softcap * tanh(score / softcap)
  int64_t window;        // 0: none
  const uint8_t* sinks;  // (heads) of sinks_type, any alignment: one more logit per head that adds
                         // to the denominator only; null: none
  DType sinks_type;
};

/// A row of x is `groups` times the parts one after another; y[j] gets the j-th part of every
/// group. Unit: rows.
inline constexpr int64_t kMostSplitParts = 4;
struct SplitArgs {
  const void* x;                   // (rows, groups * sum of width)
  void* y[kMostSplitParts];        // (rows, groups * width[j]) each
  int64_t width[kMostSplitParts];  // elements of a part in one group
  int64_t parts, groups, rows;
  DType type;
};

/// y(i, c) = silu(sum over t of weight(c, t) * x(i - taps + 1 + t, c)): a causal convolution of
/// each channel over the row's own sequence. Earlier rows' x come from the state, (taps - 1,
/// channels), oldest first. The channels of several inputs stand one after another. Unit: channels.
inline constexpr int64_t kMostConvTaps = 8, kMostConvInputs = 4;
struct ConvArgs {
  const void* x[kMostConvInputs];  // (rows, width[j]) of type
  int64_t width[kMostConvInputs];
  int64_t inputs, rows, channels, taps;
  DType type, weight_type;
  const uint8_t* weight;  // (channels, taps) of weight_type, any alignment
  float* y;               // (rows, channels)
  const SeqRow* seq;
  StateLayer state;
};

/// The gated delta rule, per value head with key head h / (v_heads / k_heads) and state S (k_dim,
/// v_dim): S = decay * S, then S += k ⊗ (rate * (v - kᵀS)), then y = qᵀS / sqrt(k_dim). q and k
/// are scaled to length 1; decay = exp(-exp(a_log) * softplus(a + dt_bias)), rate = logistic(b).
/// prepare: rows. Unit: columns of v, over all heads.
inline constexpr int64_t kMostStateKeys = 256;  // k_dim; a strip of the state lives on the stack
struct DeltaArgs {
  const float* qkv;  // (rows, k_heads * k_dim twice, then v_heads * v_dim): after the convolution
  const float* a;    // (rows, v_heads)
  const float* b;    // (rows, v_heads)
  const uint8_t* a_log;    // (v_heads) of a_log_type, any alignment
  const uint8_t* dt_bias;  // (v_heads) of dt_bias_type, any alignment
  DType a_log_type, dt_bias_type;
  float epsilon;    // added to the squared length of q and k
  float* prepared;  // (rows, delta_prepared_width()); prepare() writes it, run() reads it
  float* y;         // (rows, v_heads * v_dim)
  const SeqRow* seq;
  StateLayer state;  // (v_heads, k_dim, v_dim)
  int64_t rows, k_heads, k_dim, v_heads, v_dim;
};

/// Floats of a prepared row: queries, keys, each head's decay and rate.
static constexpr int64_t delta_prepared_width(int64_t k_heads, int64_t k_dim, int64_t v_heads) {
  return 2 * k_heads * k_dim + 2 * v_heads;
}

/// Gated activation: y = act(gate) * (up + up_offset). With a limit gate is first cut from above
/// and up to both sides. With `one_gate` a row has a single gate. Unit: rows.
enum class Activation : uint8_t { silu, gelu, gelu_tanh, relu, swish, sigmoid };
struct GluArgs {
  const void* gate;
  const void* up;
  void* y;
  DType type;
  int64_t rows, width, gate_stride, up_stride, y_stride;
  Activation activation;
  float alpha;      // swish: x / (1 + e^(-alpha x)); others do not look at it
  float limit;      // 0: none
  float up_offset;  // 0: none
  bool one_gate;
};

/// y = a * a_scale + b * b_scale, b either (rows, width) or, with b_row set, one row of b_type for
/// all (a linear layer's bias), or, with b_ids, a table of which each row of a takes the row it
/// names (the biases of experts). b null: y = a * a_scale. softcap != 0: then y = softcap * tanh(y
/// / softcap). Unit: rows.
struct AddArgs {
  const void* a;
  const void* b;
  void* y;
  DType type, b_type, y_type;  // type: of a
  bool b_row;
  int64_t rows, width, a_stride, b_stride, y_stride;
  float a_scale, b_scale, softcap;
  const int32_t* b_ids;  // (rows); null: none
};

/// The k experts of each row: softmax over all logits in float32, the k largest (ties to the lower
/// id, best first), their probabilities divided by their sum if `normalize` (which is the softmax
/// over the chosen logits alone). Unit: rows.
struct RouteArgs {
  const float* logits;  // (rows, experts)
  int32_t* ids;         // (rows, k)
  float* weights;       // (rows, k)
  int64_t rows, experts, k;
  bool normalize;
};

/// y(i) = sum over j of weights(i, j) * x(i, j), float32 inside, in order of j. Unit: rows.
struct CombineArgs {
  const void* x;         // (rows, k, width) of type
  const float* weights;  // (rows, k)
  void* y;               // (rows, width) of type
  DType type;
  int64_t rows, k, width;
};

/// y[i] = x[index[i]]: the rows that are sampled. Unit: rows of y.
struct TakeArgs {
  const void* x;
  void* y;
  const int32_t* index;
  int64_t rows, width, x_stride, y_stride;
  DType type;
};

/// Draws of one position: each is its own counter of Philox (philox.hpp), so that a coin never
/// moves the token's draw.
inline constexpr uint32_t kTokenDraw = 0, kXtcDraw = 1;

/// Bytes of workspace of one sampled row: a copy of the logits and a list of ids; a multiple of 64.
static constexpr int64_t sample_workspace_bytes(int64_t vocab) {
  return (vocab * 8 + 63) / 64 * 64;
}

/// One row's sampling: filters in mlx-lm's order, then a draw (conventions.md 2.2). Unit: rows. A
/// context of 0 is the whole history. Ids outside the vocabulary (history, bias, exempt) are passed
/// over.
struct SampleRow {
  float temperature, top_p, min_p, xtc_probability, xtc_threshold;
  int32_t top_k, min_tokens_to_keep;
  float repetition_penalty, presence_penalty,
      frequency_penalty;  // 0: off (repetition: 1 and 0 are off)
  int32_t repetition_context, presence_context, frequency_context;
  uint64_t seed;
  int64_t position;        // of the token being drawn, in its own sequence
  const int32_t* history;  // tokens so far, oldest first
  int64_t history_size;
  const int32_t* bias_ids;  // logit bias
  const float* bias_values;
  int64_t bias_count;
  const int32_t* xtc_exempt;  // newline and EOS ids
  int64_t xtc_exempt_count;
  int32_t
      logprobs;  // how many top logprobs to return; 0: none; the chosen token's is always returned
};
struct SampleArgs {
  const float* logits;  // (rows, vocab)
  int64_t rows, vocab, stride;
  const SampleRow* params;
  int32_t*
      token;  // (rows); -1: the row's logits have no finite best or a NaN, nothing can be drawn
  float* logprob;  // (rows): log-softmax of the penalised logits at the token, before the filters;
                   // NaN at -1
  int32_t*
      top_ids;  // (rows, top_stride), best first, -1 beyond what a row asks; null when no row asks
  float* top_logprobs;
  int64_t top_stride;
  uint8_t* workspace;  // rows * sample_workspace_bytes
};

}  // namespace stepless::kernels
