// Timings of operations on this machine, with what the machine can do at best measured beside them.
// Weights are cold (copies rotate over three times the last cache) unless asked otherwise, data is
// random, arms are interleaved round by round. Needs the machine to itself; one call at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "stepless/model.hpp"
#include "stepless/plan.hpp"

namespace stepless {

struct BenchOptions {
  int threads = 1;    // 0: the physical cores allowed
  int rounds = 5;     // samples per row
  bool warm = false;  // one copy of the weights, so that a small one stays in cache
  std::string max_isa;
  bool fast_int8 = false;  // products of 8-bit activations, where a kernel has them
  /// Kernels to run by name, each an arm of its own; "" is the planner's choice. Empty: that alone.
  std::vector<std::string> kernels;
  /// Asked after every sample; false stops with Error (cancelled).
  std::function<bool(std::int64_t done, std::int64_t total)> progress = {};
};

/// What the machine did at best, sample by sample. Rates are of one thread except read_all_gb_s;
/// an empty list: no such instruction. A multiply and an add count as two.
struct Ceilings {
  int threads = 1;
  std::vector<double> read_gb_s, read_all_gb_s;  // of one thread; of `threads` threads together
  std::vector<double> f32_gflop_s, bf16_gflop_s, int16_gop_s, int8_gop_s;
  std::vector<double> region_us;  // starting and ending a region of `threads` threads
  std::string f32_isa, bf16_isa, int16_isa, int8_isa;  // whose loop was the fastest
};

/// Throws Error: invalid_argument (threads, max_isa), cancelled.
Ceilings measure_ceilings(const BenchOptions& options);
/// A profile for `explain --machine FILE`, with the medians. `source`: where they were measured.
std::string machine_profile(const Ceilings& ceilings, const std::string& source);

/// One (m, n, k) on one kernel. Bytes are those of the weight, x and y, each once.
struct ProductRow {
  std::int64_t m = 0, n = 0, k = 0;
  std::string format;  // "qmm affine b4 g64 bf16"
  std::string kernel;
  std::vector<double> us;      // by round
  std::int64_t disturbed = 0;  // samples kept although the system took a CPU away during each retry
  double bytes = 0, flop = 0;
  double floor_us = 0;  // by this run's ceilings
};
struct ProductBench {
  std::vector<ProductRow> rows;  // kernel by kernel, m in the order given
  std::int64_t knee = 0;         // the largest m that the floor says memory bounds; 0: none does
  std::int64_t copies = 0;       // of the weight, in rotation
  Ceilings ceilings;             // measured between the samples
};
/// y = x · wᵀ (or x · w) of one weight shape for every m. `spec.m`, `machine`, `threads`, `max_isa`
/// and `kernel` are not looked at: options have them. Throws Error: invalid_argument (the problem,
/// or a kernel that may not run it), exhausted (memory), cancelled.
ProductBench bench_products(const ProblemSpec& spec, const std::vector<std::int64_t>& m,
                            const BenchOptions& options);

/// A dot product of two vectors of k elements.
struct DotRow {
  std::int64_t k = 0;
  std::string dtype, form;  // "inner": dot(a, b); "matmul": (1, k) @ (k, 1)
  std::string kernel;
  std::vector<double> us;  // by round
  std::int64_t disturbed = 0;
  double bytes = 0, flop = 0;
  double floor_us = 0, read_pct = 0;  // read_pct: bytes over the read ceiling of this run, median
};
struct DotBench {
  std::vector<DotRow> rows;  // k in the order given, both forms of each
  Ceilings ceilings;
};
/// dot() and inner() as a caller meets them, checks and the result's allocation included, on pairs
/// of vectors that rotate over three times the last cache. dtype: float32, float16, bfloat16 or
/// complex64. Options' kernels are not looked at. Throws Error: invalid_argument, exhausted,
/// cancelled.
DotBench bench_dots(const std::vector<std::int64_t>& k, const std::string& dtype,
                    const BenchOptions& options);

/// What a mixture of experts asks of gather_qmm: every token meets top_k different ones of so many.
struct GatherCase {
  std::int64_t tokens = 1, experts = 1, top_k = 1;
};
struct GatherRow {
  GatherCase asked;
  std::int64_t n = 0, k = 0, woken = 0;  // experts that have rows; drawn once, as if by chance
  std::string format, kernel;            // kernel: those of the experts' row counts, joined by +
  std::vector<double> us;
  std::int64_t disturbed = 0;
  double bytes = 0, flop = 0;  // bytes: woken experts, x and y, each once
  double floor_us = 0;
};
struct GatherBench {
  std::vector<GatherRow> rows;  // in the order given
  std::int64_t copies = 0;      // experts in the stack that calls rotate over
  Ceilings ceilings;
};
/// gather_qmm over experts of one shape, `spec` as in bench_products(). A call's experts follow
/// those of the call before in the stack, so that they are cold. Throws Error: invalid_argument
/// (the problem, a dense weight, top_k above experts), exhausted, cancelled.
GatherBench bench_gather(const ProblemSpec& spec, const std::vector<GatherCase>& cases,
                         const BenchOptions& options);

/// A step of a model: `rows` of each sequence, the first at this position, so that it sees
/// position + 1 of them.
struct StepShape {
  std::int64_t sequences = 1, rows = 1;
  std::int64_t sampled = 1;  // rows of all that a token is drawn from
  std::int64_t position = 0;
};
struct StepFloor {
  double bytes = 0;  // weights, keys and values, recurrent state
  double us = 0;
};
/// What a step has to read and to compute at these ceilings, operation by operation; without them
/// (empty lists) by the rates of the machine that the model was planned for, a GPU say.
StepFloor step_floor(const Model& model, const StepShape& step, const Ceilings& ceilings);

/// The packed and dense weights that a model multiplies with, each shape and format once, in the
/// order of its layers. Joined ones (q, k, v) as they are joined. Experts: one expert's matrix.
std::vector<ProblemSpec> products_of(const Model& model);

/// The products of one step, each with its m, and the name that explain() finds its time by.
struct StepProduct {
  ProblemSpec spec;
  std::string format;
};
std::vector<StepProduct> products_of_step(const Model& model, const StepShape& step);

/// Whether time rises with m where the floor does not. A rise from m to m + 1 is a step when it is
/// more than 1.10 times the floor's own in three of four rounds: the lower quartile over rounds, so
/// that noise is none.
struct CostStep {
  std::int64_t m = 0;                 // from m to m + 1
  double ratio = 0, floor_ratio = 0;  // medians over rounds
};
struct StepVerdict {
  std::int64_t least_m = 0;      // the smallest m measured
  std::int64_t flat_to = 0;      // up to this m nothing costs more than 1.10 times the least m
  double flat_most = 1;          // the most it costs up to there, as a multiple of the least m
  std::int64_t flat_most_m = 0;  // and at which m
  std::vector<CostStep> steps;
  std::int64_t pairs = 0;  // neighbours m, m + 1 that were compared
};
/// Of rows of one weight and kernel, m ascending. Gaps in m are not judged.
StepVerdict judge_steps(const std::vector<ProductRow>& rows);

}  // namespace stepless
