// bench_gather(): gather_qmm over tokens, experts and top-k, on experts that rotate through a
// stack.
#include <algorithm>
#include <memory>
#include <numeric>

#include "api/bench_memory.hpp"
#include "api/bench_options.hpp"
#include "api/bench_probes.hpp"
#include "api/problem_of.hpp"
#include "base/checked.hpp"
#include "base/error.hpp"
#include "dispatch/cost.hpp"
#include "dispatch/explain.hpp"
#include "ops/context.hpp"
#include "stepless/matmul.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kMostPairs = std::int64_t{1} << 24;

/// A fixed stream, so that every run routes alike.
class Dice {
 public:
  std::int64_t below(std::int64_t most) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::int64_t>(state_ % static_cast<std::uint64_t>(most));
  }

 private:
  std::uint64_t state_ = 88172645463325252u;
};

/// Which expert each pair of a token and a choice meets. Experts without rows are left out: the
/// others are numbered 0, 1, ... so that a call reads so many neighbours of the stack.
struct Routing {
  std::vector<std::int32_t> expert;  // (tokens, top_k)
  std::vector<std::int64_t> rows;    // of each woken expert
};

/// Not inlined: gcc 12 takes a vector of it for memory that was never allocated otherwise.
[[gnu::noinline]] Routing route(const GatherCase& asked) {
  Dice dice;
  std::vector<std::int32_t> deck(static_cast<std::size_t>(asked.experts));
  std::iota(deck.begin(), deck.end(), 0);
  std::vector<std::int32_t> number(deck.size(), -1);
  Routing routing;
  for (std::int64_t token = 0; token < asked.tokens; ++token)
    for (std::int64_t choice = 0; choice < asked.top_k; ++choice) {
      // The first top_k cards of a shuffle: different experts.
      const std::int64_t card = choice + dice.below(asked.experts - choice);
      std::swap(deck[static_cast<std::size_t>(choice)], deck[static_cast<std::size_t>(card)]);
      const auto met = static_cast<std::size_t>(deck[static_cast<std::size_t>(choice)]);
      if (number[met] < 0) {
        number[met] = static_cast<std::int32_t>(routing.rows.size());
        routing.rows.push_back(0);
      }
      const std::int32_t at = number[met];
      ++routing.rows[static_cast<std::size_t>(at)];
      routing.expert.push_back(at);
    }
  return routing;
}

/// One case with what its calls read. The stack and the place in it are shared by all.
class GatherArm {
 public:
  GatherArm(Context& context, const Problem& problem, const WeightCopies& weights,
            std::int64_t& cursor, bool warm, const GatherCase& asked)
      : context_(context),
        weights_(weights),
        cursor_(cursor),
        warm_(warm),
        asked_(asked),
        problem_(problem),
        routing_(route(asked)),
        indices_(routing_.expert.size()),
        token_(static_cast<std::size_t>(asked.tokens)),
        x_(checked_mul(asked.tokens, problem.k, "x") * size_of(problem.x_type), "x of a bench") {
    std::iota(token_.begin(), token_.end(), 0);
    fill_floats(x_.as<std::uint8_t>(), x_.size(), problem.x_type);
  }

  void run() {
    const std::int64_t count = weights_.count();
    for (std::size_t i = 0; i < indices_.size(); ++i)
      indices_[i] = static_cast<std::int32_t>((cursor_ + routing_.expert[i]) % count);
    if (!warm_) cursor_ = (cursor_ + woken()) % count;
    GatherIndices indices;
    indices.lhs = view_of(token_, {asked_.tokens, 1});
    indices.rhs = view_of(indices_, {asked_.tokens, asked_.top_k});
    gather_qmm(context_, {x_.data(), problem_.x_type, {asked_.tokens, 1, problem_.k}},
               weights_.stacked(), indices,
               problem_.op == KernelOp::qmmn ? Transpose::no : Transpose::yes);
  }

  GatherRow row() const {
    GatherRow row;
    row.asked = asked_;
    row.n = problem_.n, row.k = problem_.k, row.woken = woken();
    row.format = "g" + format_text(problem_);
    Problem one = problem_;
    std::vector<std::string> kernels;
    for (const std::int64_t m : routing_.rows) {
      one.m = m;
      const std::string name(context_.kernel_for(one).name);
      if (std::ranges::find(kernels, name) == kernels.end()) kernels.push_back(name);
    }
    for (const std::string& name : kernels) row.kernel += (row.kernel.empty() ? "" : "+") + name;
    const auto pairs = static_cast<double>(routing_.expert.size());
    one.m = 1;
    const Traffic each = traffic_of(one);
    row.bytes = each.weight_bytes * static_cast<double>(woken()) +
                each.x_bytes * static_cast<double>(asked_.tokens) + each.y_bytes * pairs;
    row.flop = each.flop * pairs;
    return row;
  }

 private:
  std::int64_t woken() const { return std::ssize(routing_.rows); }
  static TensorView view_of(const std::vector<std::int32_t>& values, Shape shape) {
    return {reinterpret_cast<const std::byte*>(values.data()), DType::i32, std::move(shape)};
  }

  Context& context_;
  const WeightCopies& weights_;
  std::int64_t& cursor_;
  bool warm_;
  GatherCase asked_;
  Problem problem_;
  Routing routing_;
  std::vector<std::int32_t> indices_, token_;
  LargeBuffer x_;
};

void check(const Problem& problem, const std::vector<GatherCase>& cases) {
  if (!problem.packed)
    fail(ErrorCode::invalid_argument, "a dense weight: gather_qmm reads packed ones; bits 1 to 8");
  if (cases.empty()) fail(ErrorCode::invalid_argument, "no case of tokens, experts and top_k");
  for (const GatherCase& c : cases)
    if (c.tokens < 1 || c.top_k < 1 || c.experts < c.top_k || c.experts > kMostPairs ||
        checked_mul(c.tokens, c.top_k, "tokens and top_k") > kMostPairs)
      fail(ErrorCode::invalid_argument,
           "tokens {}, experts {}, top_k {}; at least 1 each, top_k at most experts, {} pairs",
           c.tokens, c.experts, c.top_k, kMostPairs);
}

}  // namespace

GatherBench bench_gather(const ProblemSpec& spec, const std::vector<GatherCase>& cases,
                         const BenchOptions& options) {
  ProblemSpec one = spec;
  one.m = 1;
  const Problem problem = problem_of(one);
  check(problem, cases);
  const Machine machine = machine_for(options);
  ThreadTeam team(machine.threads);
  Context context(team, machine);
  std::int64_t most_experts = 0;
  for (const GatherCase& asked : cases) most_experts = std::max(most_experts, asked.experts);
  const WeightCopies weights(problem, options.warm, most_experts);
  ProbedArms arms(team, machine);

  GatherBench bench;
  bench.copies = weights.count();
  std::int64_t cursor = 0;
  std::vector<std::unique_ptr<GatherArm>> gathers;
  for (const GatherCase& asked : cases) {
    gathers.push_back(
        std::make_unique<GatherArm>(context, problem, weights, cursor, options.warm, asked));
    bench.rows.push_back(gathers.back()->row());
    arms.add({[gather = gathers.back().get()] { gather->run(); }});
  }
  const std::vector<ArmTimes> times = arms.measure(measure_options(options));

  bench.ceilings = arms.ceilings();
  const Machine measured = with_ceilings(machine, bench.ceilings);
  for (std::size_t i = 0; i < times.size(); ++i) {
    GatherRow& row = bench.rows[i];
    row.us = times[i].us, row.disturbed = times[i].disturbed;
    row.floor_us =
        std::max(row.bytes / read_rate(measured), row.flop / best_rate(problem, measured));
  }
  return bench;
}

}  // namespace stepless
