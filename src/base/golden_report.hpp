// What running a folder of fixtures found: counts, and a line for each case that failed or was
// skipped.
#pragma once
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

namespace stepless {

struct GoldenReport {
  int passed = 0, failed = 0, skipped = 0;
  std::vector<std::string> lines;

  void pass() { ++passed; }
  void failure(std::string line) {
    ++failed;
    lines.push_back("FAILED " + std::move(line));
  }
  void skip(std::string line) {
    ++skipped;
    lines.push_back("skipped " + std::move(line));
  }
  /// Counts one case: passed when `error` is empty.
  void count(const std::string& name, const std::string& error) {
    if (error.empty())
      pass();
    else
      failure(name + ": " + error);
  }
  /// Runs one case; `check` returns what is wrong, or "". An exception is a failure.
  template <class F>
  void run(const std::string& name, F&& check) {
    try {
      count(name, check());
    } catch (const std::exception& error) {
      failure(name + ": " + error.what());
    }
  }
  /// Runs several cases; an exception that ends them early is one more failure.
  template <class F>
  void guard(const std::string& name, F&& body) {
    try {
      body();
    } catch (const std::exception& error) {
      failure(name + ": " + error.what());
    }
  }
  void add(GoldenReport other) {
    passed += other.passed;
    failed += other.failed;
    skipped += other.skipped;
    for (std::string& line : other.lines) lines.push_back(std::move(line));
  }
};

}  // namespace stepless
