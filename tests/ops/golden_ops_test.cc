// Every fixture of golden/ops through the doors, on every instruction set this machine has; and a
// look at whether the runner can fail.
#include "ops/golden_ops.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "kernels/roll_call.hpp"
#include "stepless/error.hpp"
#include "tests/support/paths.hpp"

namespace stepless {
namespace {
namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Those that make a difference: the ones with kernels.
std::vector<Isa> usable_isas() {
  std::vector<Isa> isas = this_machine(1).isas;
  std::erase_if(isas, [](Isa isa) {
    return std::ranges::none_of(roll_call(), [&](const Kernel& row) { return row.is.isa == isa; });
  });
  return isas;
}

class GoldenOps : public ::testing::TestWithParam<Isa> {};

TEST_P(GoldenOps, AllCases) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no shared folder beside the checkout";
  Overrides wishes;
  wishes.max_isa = GetParam();
  // One thread: that more give the same bits is matmul_test's subject, and thousands of small
  // regions take minutes where the suite shares its cores.
  Context context(1, wishes);
  const GoldenReport report = run_golden_ops(context, *shared + "/golden/ops");
  for (const std::string& line : report.lines) ADD_FAILURE() << line;
  // The cases of the six lists as they are today: none may slip out of the loop.
  EXPECT_GE(report.passed, 73 + 520 + 44 + 54 + 81 + 153);
}

INSTANTIATE_TEST_SUITE_P(EachIsa, GoldenOps, ::testing::ValuesIn(usable_isas()),
                         [](const auto& each) { return std::string(to_string(each.param)); });

/// A folder with the first cases of one list, changed by the test, and the tensors they name.
class GoldenOpsFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    shared_ = test::shared_dir();
    if (!shared_) GTEST_SKIP() << "no shared folder beside the checkout";
    from_ = *shared_ + "/golden/ops";
    dir_ = test::scratch_dir("golden_ops_faults");
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }

  template <class Change>
  GoldenReport run(const std::string& list, Change change) {
    Json cases = read_json(from_ + "/" + list);
    Json one = Json::array({cases.at(cases.size() / 2)});
    change(one[0]);
    std::ofstream(dir_ + "/" + list) << one;
    for (const auto& entry : fs::directory_iterator(from_))
      if (entry.path().extension() == ".safetensors")
        fs::copy_file(entry.path(), dir_ + "/" + entry.path().filename().string(),
                      fs::copy_options::overwrite_existing);
    Context context(1);
    return run_golden_ops(context, dir_);
  }

  void expect_failed(const GoldenReport& report, const std::string& why) {
    EXPECT_EQ(report.passed, 0);
    EXPECT_EQ(report.failed, 1);
    EXPECT_EQ(report.skipped, 5);  // the other lists
    EXPECT_THAT(report.lines, ::testing::Contains(AllOf(HasSubstr("FAILED"), HasSubstr(why))));
  }

  std::optional<std::string> shared_;
  std::string from_, dir_;
};

TEST_F(GoldenOpsFaults, UnchangedPasses) {
  const GoldenReport report = run("qmm.json", [](Json&) {});
  EXPECT_EQ(report.passed, 1);
  EXPECT_EQ(report.failed, 0);
}

TEST_F(GoldenOpsFaults, OtherWeight) {
  expect_failed(run("qmm.json",
                    [](Json& c) {
                      c["name"] = "affine_b4_g64_f32_0", c["y"] = "affine_b4_g64_f32_1.y_f32";
                      c["mode"] = "affine", c["bits"] = 4, c["group_size"] = 64;
                      c["file"] = "qmm_affine4.safetensors", c["transpose"] = true;
                      c["x"] = "f32", c["x_dtype"] = "f32", c["out_dtype"] = "f32", c["k"] = 64;
                    }),
                "affine_b4_g64_f32_0");
}

TEST_F(GoldenOpsFaults, TighterThanArithmeticAllows) {
  expect_failed(run("batch.json", [](Json& c) { c["beyond_rounding"] = -1.0; }), "allowed");
}

TEST_F(GoldenOpsFaults, OtherType) {
  expect_failed(
      run("gather.json", [](Json& c) { c["out_dtype"] = c["out_dtype"] == "f32" ? "f16" : "f32"; }),
      "expected f");
}

TEST_F(GoldenOpsFaults, DotOffByALittle) {
  expect_failed(run("dot.json",
                    [](Json& c) {
                      c = {{"name", "d"},      {"op", "dot"},   {"dtype", "f32"}, {"k", 1},
                           {"a", "a_f32"},     {"b", "b_f32"},  {"a_offset", 1},  {"b_offset", 2},
                           {"a_stride", 1},    {"b_stride", 1}, {"y", 1e9},       {"sum_abs", 1.0},
                           {"rounding", 1e-7}, {"terms", 1e-6}};
                    }),
                "expected 1000000000");
}

TEST_F(GoldenOpsFaults, TensorThatIsNotThere) {
  expect_failed(run("special.json", [](Json& c) { c["w"] = "nothing"; }), "nothing.w");
}

TEST_F(GoldenOpsFaults, CodesThatDiffer) {
  expect_failed(run("quantize.json", [](Json& c) { c["tensor_scale"] = 2.0, c["mode"] = "nvfp4"; }),
                "");
}

TEST_F(GoldenOpsFaults, OptionalIsSkippedByName) {
  const GoldenReport report = run("qmm.json", [](Json& c) { c["optional"] = true; });
  EXPECT_EQ(report.failed + report.passed, 0);
  EXPECT_EQ(report.skipped, 6);
}

TEST_F(GoldenOpsFaults, FilesOutsideTheFolderAreRefused) {
  expect_failed(run("qmm.json", [](Json& c) { c["file"] = "../x.safetensors"; }),
                "no name in the folder");
}

TEST(GoldenOpsFolder, MustExist) {
  Context context(1);
  EXPECT_THROW(run_golden_ops(context, "/nowhere/at/all"), Error);
}

}  // namespace
}  // namespace stepless
