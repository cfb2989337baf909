// Profiles, this computer, and the floor against the numbers of kernels.md.
#include "dispatch/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "dispatch/cost.hpp"
#include "kernels/parse_name.hpp"
#include "kernels/roll_call.hpp"
#include "stepless/error.hpp"
#include "tests/dispatch/route_problems.hpp"
#include "tests/support/isa.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {
using ::testing::HasSubstr;

TEST(Machines, HaveNumbersAndSources) {
  for (const Machine& machine : known_machines()) {
    const bool gpu = machine.has(Isa::cuda);
    EXPECT_NE(machine.has(Isa::cpu), gpu) << machine.name;
    EXPECT_EQ(machine.profile, machine.name);
    EXPECT_GT(machine.read_gbps, 0);
    EXPECT_GE(machine.read_gbps_all, machine.read_gbps);
    EXPECT_GT(machine.f32_gflops, 0);
    EXPECT_EQ(gpu || machine.has(Isa::avx512bf16), machine.bf16_gflops > 0) << machine.name;
    // Where a wider order than avx2_i16 comes first, nothing counts on it.
    EXPECT_EQ(machine.has(Isa::avx2) && !machine.has(Isa::avx512), machine.int16_gops > 0)
        << machine.name;
    EXPECT_FALSE(machine.source.empty());
  }
  for (const char* name :
       {"desktop_avx2", "desktop_avxvnni", "server_avx512bf16", "server_avx512vnni",
        "xeon_avx512bf16", "xeon_amx", "aarch64", "aarch64_i8mm"})
    EXPECT_EQ(find_machine(name).name, name);
}

TEST(Machines, AnUnknownNameIsAnErrorThatListsThem) {
  try {
    find_machine("abacus");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("\"abacus\""));
    EXPECT_THAT(error.what(), HasSubstr("desktop_avx2"));
  }
}

TEST(Machines, ThreadsShareTheMemory) {
  const Machine& one = find_machine("server_avx512vnni");
  double before = 0;
  for (const int threads : {1, 2, 4, 64}) {
    const Machine machine = with_threads(one, threads);
    EXPECT_EQ(machine.threads, threads);
    EXPECT_GE(read_rate(machine), before);
    EXPECT_LE(read_rate(machine),
              1e3 * std::min(threads * one.read_gbps, one.read_gbps_all) * 1.000001);
    before = read_rate(machine);
  }
  EXPECT_THROW(with_threads(one, 0), Error);
}

class MachineFile : public ::testing::Test {
 protected:
  std::string write(const OrderedJson& json) {
    const std::string path = test::scratch_dir("machine_file") + "/profile.json";
    std::ofstream(path) << json.dump();
    return path;
  }
  void refuses(std::string_view words, const OrderedJson& json) {
    test::expect_error(ErrorCode::corrupt, words, [&] { open_machine(write(json)); });
  }
  OrderedJson good = machine_json(find_machine("server_avx512bf16"));
};

TEST_F(MachineFile, GoesThereAndBack) {
  for (const Machine& machine : known_machines()) {
    const Machine read = open_machine(write(machine_json(machine)));
    EXPECT_EQ(machine_json(read), machine_json(machine));
    EXPECT_EQ(open_machine(machine.name).source, machine.source);
  }
}

TEST_F(MachineFile, NamesTheFieldThatIsWrong) {
  for (const auto& [field, value] : good.items()) {
    OrderedJson bad = good;
    bad.erase(field);
    refuses(field, bad);
    bad[field] = nullptr;
    refuses(field, bad);
  }
  for (const char* field : {"read_gbps", "f32_gflops", "fixed_us", "threads"}) {
    OrderedJson bad = good;
    bad[field] = -1;
    refuses(field, bad);
  }
  OrderedJson bad = good;
  bad["turbo"] = true;
  refuses("turbo", bad);
  bad = good;
  bad["isas"] = {"cpu", "avx1024"};
  refuses("avx1024", bad);
  bad["isas"] = {"avx2"};  // without cpu
  refuses("isas", bad);
  refuses("object", OrderedJson::array());
  test::expect_error(ErrorCode::not_found, "/nowhere.json", [] { open_machine("/nowhere.json"); });
}

TEST(ThisMachine, RunsWhatItLists) {
  const Machine machine = this_machine(3);
  EXPECT_EQ(machine.threads, 3);
  EXPECT_FALSE(machine.name.empty());
  EXPECT_EQ(find_machine(machine.profile).source, machine.source);
  const std::vector<Isa> probed = probe_isas();
  EXPECT_EQ(probed.front(), Isa::cpu);
  for (const Isa isa : machine.isas) {
    EXPECT_TRUE(std::ranges::find(probed, isa) != probed.end()) << to_string(isa);
    for (const Kernel& row : roll_call())
      if (row.is.isa == isa) {
        EXPECT_NE(row.entry, nullptr) << row.name;
      }
  }
}

TEST(ThisMachine, KnowsWhatTheCompilerKnows) {
#if defined(__x86_64__)
  const std::vector<Isa> probed = probe_isas();
  const auto has = [&](Isa isa) { return std::ranges::find(probed, isa) != probed.end(); };
  EXPECT_EQ(has(Isa::avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                __builtin_cpu_supports("f16c"));
  EXPECT_EQ(has(Isa::avx512),
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"));
  EXPECT_EQ(has(Isa::avxvnni), has(Isa::avx2) && __builtin_cpu_supports("avxvnni"));
  EXPECT_EQ(has(Isa::avx512vnni), has(Isa::avx512) && __builtin_cpu_supports("avx512vnni"));
  EXPECT_EQ(has(Isa::avx512bf16), has(Isa::avx512) && __builtin_cpu_supports("avx512bf16"));
  EXPECT_EQ(has(Isa::avx512vbmi), has(Isa::avx512vnni) && __builtin_cpu_supports("avx512vbmi") &&
                                      __builtin_cpu_supports("avx512vbmi2"));
  EXPECT_EQ(has(Isa::amx), test::runs_here(Isa::amx));
#elif defined(__aarch64__)
  const std::vector<Isa> probed = probe_isas();
  for (const Isa isa : {Isa::neon, Isa::neondot, Isa::neonbf16})
    EXPECT_EQ(std::ranges::find(probed, isa) != probed.end(), test::runs_here(isa))
        << to_string(isa);
#else
  GTEST_SKIP() << "the compiler's own probe is used on x86-64 and AArch64 only";
#endif
}

TEST(ParseIsa, TakesEveryTokenAndNamesThem) {
  for (const auto& token : kIsaTokens) EXPECT_EQ(parse_isa(token.text), token.value);
  try {
    parse_isa("avx1024");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("avx1024"));
    EXPECT_THAT(error.what(), HasSubstr("avx512bf16"));
  }
}

// kernels.md, The physics: floors in ms of one Zen 4 core in bf16 arithmetic, as printed there.
TEST(Floor, IsThatOfKernelsMd) {
  const Machine& zen4 = find_machine("server_avx512bf16");
  struct Row {
    std::int64_t n, k;
    std::vector<std::pair<std::int64_t, double>> ms;
  };
  const std::vector<Row> rows = {
      {5120, 5120, {{1, .47}, {2, .47}, {4, .90}, {8, 1.8}, {32, 7.2}, {512, 115}}},
      {13824, 5120, {{1, 1.26}, {2, 1.26}, {4, 2.4}, {8, 4.8}, {32, 19}, {512, 310}}},
      {4096, 4096, {{1, .30}, {2, .30}, {4, .57}, {8, 1.15}, {32, 4.6}, {512, 73}}}};
  for (const Row& row : rows)
    for (const auto& [m, ms] : row.ms) {
      Problem p = test::packed_problem(KernelOp::qmm, {}, DType::bf16, DType::bf16, {row.n, row.k});
      p.m = m;
      EXPECT_NEAR(floor_us(p, zen4) / 1e3, ms, 0.025 * ms)
          << row.n << " x " << row.k << ", m = " << m;
    }
}

TEST(Traffic, CountsEachByteOnce) {
  const auto traffic = [](Problem p, std::int64_t m) {
    p.m = m;
    return traffic_of(p);
  };
  // 4.5 bits a weight: 4 of code, 16 of scale and 16 of bias per 64.
  const Traffic q =
      traffic(test::packed_problem(KernelOp::qmm, {}, DType::bf16, DType::bf16, {128, 64}), 3);
  EXPECT_EQ(q.weight_bytes, 128 * 64 * 0.5625);
  EXPECT_EQ(q.x_bytes, 3 * 64 * 2);
  EXPECT_EQ(q.y_bytes, 3 * 128 * 2);
  EXPECT_EQ(q.flop, 2.0 * 3 * 128 * 64);
  // One scale byte per 16 and no bias.
  const Traffic nv = traffic(test::packed_problem(KernelOp::qmm, make_spec(Mode::nvfp4), DType::f32,
                                                  DType::f32, {128, 64}),
                             1);
  EXPECT_EQ(nv.weight_bytes, 128 * 64 * (0.5 + 1.0 / 16));
  const Traffic dense =
      traffic(test::dense_problem(KernelOp::mm, DType::bf16, DType::f32, {128, 64}), 1);
  EXPECT_EQ(dense.weight_bytes, 128 * 64 * 4);
  const Traffic dot = traffic(test::row_problem(KernelOp::dot, DType::complex64, 1, 1000), 1);
  EXPECT_EQ(dot.bytes(), 16000 + 8);
  EXPECT_EQ(dot.flop, 8000);
}

TEST(Cost, SharesAreFractionsWithASource) {
  for (const Machine& machine : known_machines())
    for (const Kernel& row : roll_call())
      for (const int bits : {0, 1, 2, 3, 4, 5, 6, 8}) {
        const Share share = share_of(row, bits, machine);
        EXPECT_GT(share.memory, 0) << row.name << " " << bits;
        EXPECT_LE(share.memory, 1) << row.name;
        EXPECT_GT(share.compute, 0) << row.name;
        EXPECT_LE(share.compute, 1) << row.name;
        EXPECT_FALSE(share.source.empty());
      }
}

TEST(Cost, OfACpuIsMoreThanReadingOrComputingAlone) {
  const Machine& cpu = find_machine("xeon_avx512bf16");
  const Machine& gpu = find_machine("h200");
  for (const Kernel& row : roll_call()) {
    const bool on_gpu = row.is.isa >= Isa::cuda;
    const Machine& machine = on_gpu ? gpu : cpu;
    const double read = cost_us(row, 4, machine, 100, 0), both = cost_us(row, 4, machine, 100, 100);
    const double compute = cost_us(row, 4, machine, 0, 100);
    const double larger = std::max(read, compute);
    if (on_gpu)
      EXPECT_EQ(both, larger) << row.name;
    else
      EXPECT_GT(both, larger) << row.name;
    EXPECT_LE(both, 1.27 * larger) << row.name;
  }
}

TEST(Cost, WidthsOfOneKernelHaveSharesOfTheirOwn) {
  const Machine& machine = find_machine("xeon_avx512bf16");
  const Kernel& row = *find_kernel("qmm_affine_bany_fany_m12n32_avx512vnni");
  EXPECT_NE(share_of(row, 1, machine).memory, share_of(row, 8, machine).memory);
  EXPECT_EQ(share_of(row, 3, machine).memory, share_of(row, 5, machine).memory);
}

}  // namespace
}  // namespace stepless
