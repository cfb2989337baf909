#include "stepless/bench.hpp"

#include <algorithm>
#include <memory>

#include "api/bench_memory.hpp"
#include "api/bench_options.hpp"
#include "api/bench_probes.hpp"
#include "api/problem_of.hpp"
#include "base/checked.hpp"
#include "base/error.hpp"
#include "dispatch/cost.hpp"
#include "dispatch/explain.hpp"
#include "dispatch/row_buckets.hpp"
#include "kernels/roll_call.hpp"
#include "ops/matmul.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kMostKnee = 8192;

/// Everything one shape is timed with; arms refer to it.
struct Products {
  Products(const Problem& of, const BenchOptions& options, std::int64_t most_m)
      : problem(of),
        machine(machine_for(options)),
        team(machine.threads),
        weights(of, options.warm),
        x(checked_mul(most_m, of.k, "x") * size_of(of.x_type), "x of a bench"),
        y(checked_mul(most_m, of.n, "y") * size_of(of.y_type), "y of a bench") {
    fill_floats(x.as<std::uint8_t>(), x.size(), of.x_type);
  }

  void run(Context& context, std::int64_t m) {
    kernels::MatmulArgs args{};
    weights.set_next(args);
    args.x = x.data(), args.y = y.data();
    args.x_stride = problem.k, args.y_stride = problem.n;
    args.m = m, args.n = problem.n, args.k = problem.k;
    run_matmul(context, problem.op, args);
  }

  Problem problem;
  Machine machine;
  ThreadTeam team;
  WeightCopies weights;
  LargeBuffer x, y;
};

ProductRow row_of(Context& context, Problem problem, std::int64_t m) {
  problem.m = m;
  ProductRow row;
  row.m = m, row.n = problem.n, row.k = problem.k;
  row.format = format_text(problem);
  row.kernel = std::string(context.kernel_for(problem).name);
  row.bytes = traffic_of(problem).bytes();
  row.flop = traffic_of(problem).flop;
  return row;
}

std::int64_t knee_of(Problem problem, const Machine& machine) {
  std::int64_t knee = 0;
  for (problem.m = 1; problem.m <= kMostKnee; ++problem.m) {
    if (floor_us(problem, machine) > memory_floor_us(problem, machine)) break;
    knee = problem.m;
  }
  return knee;
}

}  // namespace

Ceilings measure_ceilings(const BenchOptions& options) {
  const Machine machine = machine_for(options);
  ThreadTeam team(machine.threads);
  CeilingProbes probes(team, machine);
  std::vector<Arm> arms;
  probes.add_to(arms);
  return probes.ceilings(measure_rounds(arms, measure_options(options)));
}

std::string machine_profile(const Ceilings& ceilings, const std::string& source) {
  Machine machine = with_ceilings(this_machine(ceilings.threads), ceilings);
  machine.source = source;
  return machine_json(machine).dump(2) + "\n";
}

ProductBench bench_products(const ProblemSpec& spec, const std::vector<std::int64_t>& ms,
                            const BenchOptions& options) {
  ProblemSpec one = spec;
  one.m = 1;
  for (const std::int64_t m : ms)
    if (m < 1) fail(ErrorCode::invalid_argument, "m {}; at least 1", m);
  if (ms.empty()) fail(ErrorCode::invalid_argument, "m: an empty list; at least one number");
  Products products(problem_of(one), options, std::ranges::max(ms));
  ProbedArms arms(products.team, products.machine);

  ProductBench bench;
  std::vector<std::unique_ptr<Context>> contexts;
  const std::vector<std::string> kernels =
      options.kernels.empty() ? std::vector<std::string>{""} : options.kernels;
  for (const std::string& kernel : kernels) {
    Overrides wish;
    wish.kernel = kernel;
    wish.fast_int8 = options.fast_int8;
    contexts.push_back(std::make_unique<Context>(products.team, products.machine, wish));
  }
  // The kernels of one m stand side by side: what compares them is close in time.
  for (const std::int64_t m : ms)
    for (const auto& context : contexts) {
      bench.rows.push_back(row_of(*context, products.problem, m));
      arms.add({[&products, at = context.get(), m] { products.run(*at, m); }});
    }
  const std::vector<ArmTimes> times = arms.measure(measure_options(options));

  bench.ceilings = arms.ceilings();
  const Machine measured = with_ceilings(products.machine, bench.ceilings);
  for (std::size_t i = 0; i < times.size(); ++i) {
    bench.rows[i].us = times[i].us;
    bench.rows[i].disturbed = times[i].disturbed;
    Problem problem = products.problem;
    problem.m = bench.rows[i].m;
    const Kernel* kernel = find_kernel(bench.rows[i].kernel);
    const bool int8 = kernel != nullptr && kernel->fields.order == Order::int8_groups;
    bench.rows[i].floor_us = floor_us(problem, measured, int8 ? Precision::int8 : Precision::exact);
  }
  bench.knee = knee_of(products.problem, measured);
  bench.copies = products.weights.count();
  const std::size_t arms_per_m = kernels.size();
  std::vector<ProductRow> by_kernel;
  for (std::size_t kernel = 0; kernel < arms_per_m; ++kernel)
    for (std::size_t i = kernel; i < bench.rows.size(); i += arms_per_m)
      by_kernel.push_back(bench.rows[i]);
  bench.rows = std::move(by_kernel);
  return bench;
}

}  // namespace stepless
