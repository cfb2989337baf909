// bench_dots(): dot products over k on cold vectors.
#include <algorithm>

#include "api/bench_memory.hpp"
#include "api/bench_options.hpp"
#include "api/bench_probes.hpp"
#include "base/checked.hpp"
#include "base/error.hpp"
#include "dispatch/cost.hpp"
#include "format/dtype.hpp"
#include "ops/context.hpp"
#include "stepless/matmul.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kLineBytes = 64;
constexpr std::int64_t kMostDot = std::int64_t{1} << 40;  // elements; bytes of a pair fit 63 bits
// A sample is long enough for a clock: so many bytes, but no more calls than this.
constexpr std::int64_t kSampleBytes = 1 << 19, kMostCalls = 200;

DType dot_dtype(const std::string& name) {
  if (name == "complex64") return DType::complex64;
  if (name != "float32" && name != "float16" && name != "bfloat16")
    fail(ErrorCode::invalid_argument,
         "dtype: \"{}\"; expected float32, float16, bfloat16 or complex64", name);
  return parse_float_dtype(name, "dtype");
}

/// Pairs of vectors, each at a cache line of its own, one pair after another through memory that
/// the pairs of every k share.
class VectorPairs {
 public:
  VectorPairs(std::int64_t most_k, DType type, bool warm) : type_(type), warm_(warm) {
    const std::int64_t pair = 2 * stride_of(most_k);
    const std::int64_t bytes = warm ? pair : std::max(pair, 3 * last_cache_bytes() + pair);
    memory_ = LargeBuffer(bytes, "vectors of a bench", Pages::huge);
    const DType part = type == DType::complex64 ? DType::f32 : type;
    fill_floats(memory_.as<std::uint8_t>(), bytes, part);
  }

  /// Where a next pair of k elements begins: a, and b at once behind it.
  std::pair<const std::byte*, const std::byte*> next(std::int64_t k) {
    const std::int64_t stride = stride_of(k);
    if (at_ + 2 * stride > memory_.size()) at_ = 0;
    const std::byte* const here = memory_.data() + at_;
    if (!warm_) at_ += 2 * stride;
    return {here, here + stride};
  }

 private:
  std::int64_t stride_of(std::int64_t k) const {
    const std::int64_t bytes = k * size_of(type_);
    return (bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
  }

  DType type_;
  bool warm_;
  LargeBuffer memory_;
  std::int64_t at_ = 0;
};

Problem dot_problem(std::int64_t k, DType type) {
  Problem problem;
  problem.op = KernelOp::dot;
  problem.packed = false;
  problem.x_type = problem.w_type = problem.y_type = type;
  problem.k = k;
  return problem;
}

Arm arm_of(Context& context, VectorPairs& pairs, std::int64_t k, DType type, bool matmul) {
  const std::int64_t bytes = 2 * k * size_of(type);
  const std::int64_t calls = std::clamp(kSampleBytes / bytes, std::int64_t{1}, kMostCalls);
  // The second operand of (1, k) @ (k, 1) lies as its transpose does, one element per row.
  const Shape shape = matmul ? Shape{1, k} : Shape{k};
  const Shape strides_a = matmul ? Shape{k, 1} : Shape{1};
  const Shape strides_b = matmul ? Shape{1, 1} : Shape{1};
  return {[&context, &pairs, k, type, shape, strides_a, strides_b] {
            const auto [a, b] = pairs.next(k);
            inner(context, {a, type, shape, strides_a}, {b, type, shape, strides_b});
          },
          calls};
}

}  // namespace

DotBench bench_dots(const std::vector<std::int64_t>& ks, const std::string& dtype,
                    const BenchOptions& options) {
  const DType type = dot_dtype(dtype);
  if (ks.empty()) fail(ErrorCode::invalid_argument, "k: an empty list; at least one number");
  for (const std::int64_t k : ks)
    if (k < 1 || k > kMostDot) fail(ErrorCode::invalid_argument, "k {}; from 1 to {}", k, kMostDot);
  const Machine machine = machine_for(options);
  ThreadTeam team(machine.threads);
  Context context(team, machine);
  VectorPairs pairs(std::ranges::max(ks), type, options.warm);
  ProbedArms arms(team, machine);

  DotBench bench;
  for (const std::int64_t k : ks)
    for (const bool matmul : {false, true}) {
      const Problem problem = dot_problem(k, type);
      DotRow row;
      row.k = k, row.dtype = dtype, row.form = matmul ? "matmul" : "inner";
      row.kernel = std::string(context.kernel_for(problem).name);
      row.bytes = traffic_of(problem).bytes(), row.flop = traffic_of(problem).flop;
      bench.rows.push_back(row);
      arms.add(arm_of(context, pairs, k, type, matmul));
    }
  const std::vector<ArmTimes> times = arms.measure(measure_options(options));

  bench.ceilings = arms.ceilings();
  const Machine measured = with_ceilings(machine, bench.ceilings);
  for (std::size_t i = 0; i < times.size(); ++i) {
    DotRow& row = bench.rows[i];
    row.us = times[i].us, row.disturbed = times[i].disturbed;
    row.floor_us = floor_us(dot_problem(row.k, type), measured);
    row.read_pct = 100 * row.bytes / (summary_of(row.us).median * read_rate(measured));
  }
  return bench;
}

}  // namespace stepless
