// What each family makes of a config: its Program as a golden text that a person reviewed, and that
// every tensor is asked for. STEPLESS_UPDATE_GOLDEN=1 rewrites the texts instead of comparing.
#include "model/families.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "dispatch/legal.hpp"
#include "ops/fuse.hpp"
#include "ops/pack_kv.hpp"
#include "ops/place.hpp"
#include "ops/plan_program.hpp"
#include "tests/model/hollow_weights.hpp"
#include "tests/model/program_text.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_dir() + "/programs"))
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

// A machine that has kernels for one activation type alone, or for plain caches, would refuse
// models at load.
void expect_planned(const std::string& name, const Config& config, const char* machine, DType act,
                    const KvOptions& kv) {
  HollowWeights weights;
  Builder builder(weights, act, config.integer("vocab_size", 1, 1 << 20));
  find_family(config).build(builder, config);
  Program program = place(pack_kv(fuse(builder.finish()), kv), 128, 64);
  plan_program(program, find_machine(machine), {});
  for (const Node& node : program.nodes)
    for (std::size_t part = 0; part < node.plans.size(); ++part)
      for (const std::int64_t m : {1, 16, 17, 64, 128}) {
        const Kernel& kernel = *plan_for(program, node, part, m).kernel;
        EXPECT_TRUE(find_machine(machine).has(kernel.is.isa)) << name << ", " << node.name;
        EXPECT_EQ(why_not(kernel, problem_of(program, node, part, m), find_machine(machine)), "")
            << name << ", " << node.name << ", m " << m;
      }
}

class Programs : public ::testing::TestWithParam<std::string> {
 protected:
  static std::string path(const char* end) {
    return golden_dir() + "/programs/" + GetParam() + end;
  }
  static Config config() { return Config::from_json(read_json(path(".json")), GetParam()); }
};

TEST_P(Programs, HaveAKernelForEveryNodeOnGpus) {
  for (const char* machine : {"h200", "a100"})
    for (const DType act : {DType::f32, DType::f16, DType::bf16})
      for (const int bits : {16, 8})
        expect_planned(GetParam(), config(), machine, act, {.bits = bits, .group_size = 32});
}

TEST_P(Programs, EqualTheGoldenText) {
  HollowWeights weights;
  Builder builder(weights, DType::bf16, config().integer("vocab_size", 1, 1 << 20));
  find_family(config()).build(builder, config());
  const std::string now = ProgramText(fuse(builder.finish())).all();
  if (std::getenv("STEPLESS_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path(".txt")) << now;
    return;
  }
  std::ifstream file(path(".txt"));
  std::stringstream golden;
  golden << file.rdbuf();
  std::stringstream made(now);
  std::string want, got;
  for (int at = 1; std::getline(golden, want); ++at) {
    ASSERT_TRUE(std::getline(made, got)) << GetParam() << ".txt:" << at << ": lacks " << want;
    ASSERT_EQ(got, want) << GetParam() << ".txt:" << at;
  }
  EXPECT_FALSE(std::getline(made, got)) << GetParam() << ".txt lacks: " << got;
}

INSTANTIATE_TEST_SUITE_P(Golden, Programs, testing::ValuesIn(golden_names()),
                         [](const auto& each) { return each.param; });

TEST(Families, EachHasAGoldenProgram) {
  std::set<std::string> seen;
  for (const std::string& name : golden_names())
    seen.insert(read_json(golden_dir() + "/programs/" + name + ".json")
                    .at("model_type")
                    .get<std::string>());
  for (const Family& family : families())
    EXPECT_TRUE(seen.count(std::string(family.model_type))) << family.model_type;
}

TEST(Families, AnUnknownOneNamesTheKnown) {
  expect_error(ErrorCode::unsupported, "model_type \"lama\" is not there yet; llama, ", [] {
    find_family(Config::from_json({{"model_type", "lama"}}, "c.json"));
  });
}

}  // namespace
}  // namespace stepless::test
