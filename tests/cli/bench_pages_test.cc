// Plots, pages and reports of stepless bench. No time is judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Finished stepless(std::vector<std::string> words, std::map<std::string, std::string> more = {}) {
  return run_program(STEPLESS_BINARY, {std::move(words), std::move(more), "", 0});
}

Finished qmm(std::vector<std::string> more, std::map<std::string, std::string> env = {}) {
  std::vector<std::string> words = {"bench", "qmm", "--shapes", "64x128", "--m",
                                    "1-3",   "-r",  "2",        "--warm"};
  words.insert(words.end(), more.begin(), more.end());
  return stepless(words, std::move(env));
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string folder() { return scratch_dir("bench_pages"); }

/// Every element that is opened is closed, in order, and text holds no bare & or <: what an XML
/// parser would refuse otherwise.
void expect_well_formed(const std::string& xml) {
  std::vector<std::string> open;
  for (std::size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const std::size_t end = xml.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (tag.ends_with('/')) continue;
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty()) << tag;
      EXPECT_EQ("/" + open.back(), tag);
      open.pop_back();
    } else {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty());
  for (std::size_t at = xml.find('&'); at != std::string::npos; at = xml.find('&', at + 1))
    EXPECT_LT(xml.find(';', at) - at, 8u) << xml.substr(at, 20);
}

TEST(BenchSvg, DrawsALineAndItsFloor) {
  const std::string path = folder() + "/qmm.svg";
  const Finished done = qmm({"--svg", path});
  ASSERT_EQ(done.exit, 0) << done.err;
  const std::string svg = read(path);
  EXPECT_THAT(
      svg, AllOf(StartsWith("<svg xmlns="), HasSubstr("64 x 128, qmm affine b4 g64 bf16"),
                 HasSubstr("stroke-dasharray"), HasSubstr(">floor<"), HasSubstr("m: rows of x")));
  expect_well_formed(svg);
  // A dot for each m, and a line through as many points.
  std::size_t dots = 0;
  for (std::size_t at = svg.find("<circle"); at != std::string::npos;
       at = svg.find("<circle", at + 1))
    ++dots;
  EXPECT_EQ(dots, 3u);
}

TEST(BenchSvg, DrawsModelsDotsGathersAndBatches) {
  const std::string model = models_dir() + "/tale-draft-4bit", path = folder() + "/plot.svg";
  const std::pair<std::vector<std::string>, const char*> runs[] = {
      {{"bench", "-m", model, "-p", "4,8", "-n", "2", "-r", "1"}, "tokens of the prompt"},
      {{"bench", "dot", "--k", "1,16", "--dtype", "f32", "-r", "1", "--warm"}, "read ceiling"},
      {{"bench", "gather", "--shapes", "64x64", "--experts", "2", "--top-k", "1", "--tokens", "1,2",
        "-r", "1", "--warm"},
       "2 experts, top 1"},
      {{"batch-bench", "-m", model, "-npp", "4", "-ntg", "2", "-npl", "1,2"}, "sequences at once"}};
  for (const auto& [run, words] : runs) {
    std::vector<std::string> all = run;
    all.insert(all.end(), {"--svg", path});
    const Finished done = stepless(all);
    ASSERT_EQ(done.exit, 0) << done.err;
    EXPECT_THAT(read(path), HasSubstr(words));
    expect_well_formed(read(path));
  }
}

TEST(BenchHtml, HoldsTablePlotMethodAndJson) {
  const std::string path = folder() + "/qmm.html";
  const Finished done = qmm({"--html", path});
  ASSERT_EQ(done.exit, 0) << done.err;
  const std::string html = read(path);
  EXPECT_THAT(html, AllOf(StartsWith("<!DOCTYPE html>"), HasSubstr("<svg "), HasSubstr("<td"),
                          HasSubstr("method interleaved"), HasSubstr("&quot;rows&quot;"),
                          HasSubstr("b4 g64: flat 1.."), HasSubstr("</html>")));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
}

TEST(BenchPng, NeedsItsConverterAndSaysSo) {
  const std::string path = folder() + "/qmm.png";
  const Finished none = qmm({"--png", path}, {{"PATH", "/nowhere"}});
  EXPECT_EQ(none.exit, 2);
  EXPECT_THAT(none.err, AllOf(HasSubstr("rsvg-convert"), HasSubstr("librsvg2-bin")));
  EXPECT_FALSE(std::filesystem::exists(path));
  // One that stands for it: what it is given is a plot, and its failure is ours.
  const std::string bin = folder() + "/bin", tool = bin + "/rsvg-convert";
  std::filesystem::create_directories(bin);
  const auto install = [&](const std::string& script) {
    std::ofstream(tool) << "#!/bin/sh\n" << script << "\n";
    chmod(tool.c_str(), 0755);
  };
  install(
      "for last; do :; done; for word; do case $word in --output=*) cp \"$last\" "
      "\"${word#--output=}\";; esac; done");
  const std::map<std::string, std::string> env = {{"PATH", bin + ":/usr/bin:/bin"}};
  ASSERT_EQ(qmm({"--png", path}, env).exit, 0);
  EXPECT_THAT(read(path), StartsWith("<svg "));
  EXPECT_FALSE(std::filesystem::exists(path + ".svg"));
  install("exit 3");
  const Finished failed = qmm({"--png", path}, env);
  EXPECT_EQ(failed.exit, 1);
  EXPECT_THAT(failed.err, HasSubstr("failed"));
}

TEST(BenchFiles, AreCheckedBeforeMeasuring) {
  for (const char* flag : {"--svg", "--html"}) {
    const Finished done = qmm({flag, "/nowhere/at/all.x"});
    EXPECT_EQ(done.exit, 2) << flag;
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, HasSubstr("is no folder"));
  }
  EXPECT_EQ(stepless({"bench", "ceilings", "--svg", "a.svg"}).exit, 2);
  EXPECT_EQ(stepless({"batch-bench", "--staggered", "-m", "demo", "--svg", "a.svg"}).exit, 2);
}

TEST(BenchReport, JoinsResultsOfAnyShape) {
  const std::string one = folder() + "/one.json", other = folder() + "/other.json";
  std::ofstream(one) << qmm({"-o", "json"}).out;
  std::ofstream(other) << R"({"device": "a | card", "date": "2026-01-02", "shapes": [
      {"n": 4, "k": 8, "rows": [{"m": 1, "us": 2.5}, {"m": 2, "us": 12345.6}]}]})";
  const Finished done = stepless({"bench", "report", one, other});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(StartsWith("# Measured\n"), HasSubstr("/one.json\n"),
                              HasSubstr("- device: a \\| card"), HasSubstr("\nn 4, k 8:\n"),
                              HasSubstr("| 12346 |"), HasSubstr("- in every row: ")));
  const std::string page = folder() + "/page.html";
  ASSERT_EQ(stepless({"bench", "report", one, other, "--html", page}).exit, 0);
  EXPECT_THAT(read(page), AllOf(HasSubstr("<svg "), HasSubstr("a | card")));
}

TEST(BenchReport, RefusesWhatIsNoResult) {
  EXPECT_EQ(stepless({"bench", "report"}).exit, 2);
  EXPECT_EQ(stepless({"bench", "report", "/nowhere.json"}).exit, 2);
  const std::string empty = folder() + "/empty.json";
  std::ofstream(empty) << "{}";
  EXPECT_THAT(stepless({"bench", "report", empty}).err, HasSubstr("no list of rows"));
  std::ofstream(empty) << "[1]";
  EXPECT_EQ(stepless({"bench", "report", empty}).exit, 2);
  EXPECT_EQ(stepless({"bench", "report", empty, "-o", "csv"}).exit, 2);
}

}  // namespace
}  // namespace stepless::test
