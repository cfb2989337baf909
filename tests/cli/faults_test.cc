// Files and folders that lie, through the program: a documented error and exit code, no hang, no
// memory beyond a bound. docs/errors.md lists them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/sanitizer.hpp"
#include "tests/support/subprocess.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// A fresh copy of the small demo model, to be damaged.
std::string copy_of_demo(const std::string& name) {
  const fs::path folder = scratch_dir("faults") + "/" + name;
  fs::remove_all(folder);
  fs::copy(models_dir() + "/tale-draft-4bit", folder, fs::copy_options::recursive);
  return folder.string();
}

std::vector<std::string> generate_words(const std::string& folder) {
  return {"generate", "--model", folder, "-t", "1", "--max-tokens", "2", "--prompt", "A fox"};
}

/// Under timeout(1): what hangs ends with 124.
Finished generate(const std::string& folder, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"30", STEPLESS_BINARY};
  for (const auto& all : {generate_words(folder), more})
    words.insert(words.end(), all.begin(), all.end());
  return run_program("/usr/bin/timeout", {std::move(words), {}, "", 0});
}

void expect_refused(const Finished& done, int exit, const std::string& words) {
  EXPECT_EQ(done.exit, exit) << done.err;
  EXPECT_THAT(done.err, StartsWith("error: "));
  EXPECT_THAT(done.err, HasSubstr(words));
  EXPECT_EQ(done.out, "");
}

const char* const kFiles[] = {"config.json",           "model.safetensors",
                              "tokenizer.json",        "model.safetensors.index.json",
                              "tokenizer_config.json", "generation_config.json",
                              "chat_template.jinja"};

TEST(Faults, TheCopyItselfRuns) {
  const Finished done = generate(copy_of_demo("whole"));
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_NE(done.out, "");
}

TEST(Faults, WhatIsNoRegularFileIsNamedAndNeverWaitedFor) {
  for (const std::string file : kFiles) {
    const std::string folder = copy_of_demo("kinds"), path = folder + "/" + file;
    const auto refused = [&](const char* kind) {
      SCOPED_TRACE(file + " is " + kind);
      expect_refused(generate(folder), 3, file);
      fs::remove_all(path);
    };
    fs::remove(path);
    fs::create_directory(path);
    refused("a folder");
    fs::create_symlink("nowhere", path);
    refused("a link to nowhere");
    fs::create_symlink(file, path);
    refused("a link to itself");
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    refused("a named pipe");
    fs::create_symlink("/dev/zero", path);
    refused("a device");
  }
}

TEST(Faults, FoldersThatAreNone) {
  const std::string root = scratch_dir("faults");
  std::ofstream(root + "/plain") << "x";
  expect_refused(generate(root + "/plain"), 3, "not found");
  fs::create_directories(root + "/empty");
  expect_refused(generate(root + "/empty"), 3, "empty: no config.json; a model folder has one");
  std::error_code ignored;
  fs::create_symlink("nowhere", root + "/dangling", ignored);
  expect_refused(generate(root + "/dangling"), 3, "not found");
}

TEST(Faults, FilesThatMayNotBeRead) {
  // As root every file may be read: nobody runs the program then.
  std::vector<std::string> as_nobody;
  if (geteuid() == 0) as_nobody = {"--reuid=65534", "--regid=65534", "--clear-groups", "--"};
  const auto run = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all = as_nobody;
    all.push_back(STEPLESS_BINARY);
    all.insert(all.end(), words.begin(), words.end());
    const std::string program = as_nobody.empty() ? STEPLESS_BINARY : "/usr/bin/setpriv";
    if (as_nobody.empty()) all.erase(all.begin());
    return run_program(program, {std::move(all), {{"HOME", "/nonexistent"}}, "", 0});
  };
  if (!as_nobody.empty() && run({"--version"}).exit != 0)
    GTEST_SKIP() << "no setpriv, or nobody may not run the program";
  const std::string folder = copy_of_demo("rights");
  for (fs::path at = folder; at != at.root_path(); at = at.parent_path())
    if ((fs::status(at).permissions() & fs::perms::others_exec) == fs::perms::none)
      GTEST_SKIP() << at << ": closed to others";
  ASSERT_EQ(run(generate_words(folder)).exit, 0);
  for (const std::string file : kFiles) {
    if (!fs::exists(folder + "/" + file)) continue;
    ASSERT_EQ(chmod((folder + "/" + file).c_str(), 0), 0);
    SCOPED_TRACE(file);
    const Finished done = run(generate_words(folder));
    expect_refused(done, 3, file);
    EXPECT_THAT(done.err, HasSubstr("Permission denied"));
    chmod((folder + "/" + file).c_str(), 0644);
  }
  for (const mode_t mode : {0000, 0444}) {  // closed, and listed but not entered
    ASSERT_EQ(chmod(folder.c_str(), mode), 0);
    const Finished done = run(generate_words(folder));
    expect_refused(done, 3, "rights");
    EXPECT_THAT(done.err, HasSubstr("Permission denied")) << mode;
  }
  chmod(folder.c_str(), 0755);
}

TEST(Faults, AFileCutWhileGenerating) {
  const std::string folder = copy_of_demo("cut");
  std::vector<std::string> words = generate_words(folder);
  words[6] = "0";  // --max-tokens: until the context ends
  words.insert(words.end(), {"--logit-bias", "2:-1000"});
  Launch launch{std::move(words), {}, "", 40};
  launch.instead = [&] { fs::resize_file(folder + "/model.safetensors", 5000); };
  const Finished done = run_program(STEPLESS_BINARY, launch);
  EXPECT_EQ(done.exit, 1) << done.err;
  EXPECT_THAT(done.err, HasSubstr("error: "));
  EXPECT_THAT(done.err, HasSubstr("model.safetensors"));
  EXPECT_GE(done.out.size(), 40u) << "what was written stays";
}

/// With 3 GB of address space: what would be allocated must be refused by its own words.
Finished in_3_gb(const std::string& folder, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"--as=3000000000", "/usr/bin/timeout", "30", STEPLESS_BINARY};
  for (const auto& all : {generate_words(folder), more})
    words.insert(words.end(), all.begin(), all.end());
  return run_program("/usr/bin/prlimit", {std::move(words), {}, "", 0});
}

TEST(Faults, AConfigThatAsksForATerabyteIsRefusedBeforeItIsAllocated) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more address space than the limit leaves";
  const std::string folder = copy_of_demo("terabyte");
  const Json good = read_json(folder + "/config.json");
  const auto with = [&](const char* key, const Json& value) {
    Json config = good;
    config[key] = value;
    std::ofstream(folder + "/config.json") << config.dump();
  };
  const auto refused = [&](int exit, const char* words, const std::vector<std::string>& more = {}) {
    const Finished done = in_3_gb(folder, more);
    expect_refused(done, exit, words);
    EXPECT_THAT(done.err, Not(HasSubstr("none left")));
  };
  EXPECT_EQ(in_3_gb(folder, {}).exit, 0);
  with("hidden_size", std::int64_t{1} << 22);
  refused(3, "model.embed_tokens");
  with("vocab_size", 1 << 26);
  refused(3, "model.embed_tokens");
  with("intermediate_size", std::int64_t{1} << 30);
  refused(3, "intermediate_size is 1073741824");
  with("num_hidden_layers", 100000);
  refused(3, "num_hidden_layers is 100000");
  with("num_attention_heads", 1 << 20);
  refused(3, "");
  with("head_dim", std::int64_t{1} << 30);
  refused(3, "");
  with("max_position_embeddings", std::int64_t{1} << 40);
  refused(4, "KV", {"--ctx-size", "1000000000000", "--kv-cache-bytes", "900000G"});
  std::ofstream(folder + "/config.json") << good.dump();
  refused(4, "", {"--prefill-step-size", "1048576"});
}

TEST(Faults, JsonThatIsEnormous) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more address space than the limit leaves";
  const std::string folder = copy_of_demo("json");
  for (const std::string file :
       {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"}) {
    SCOPED_TRACE(file);
    const std::string path = folder + "/" + file;
    const bool was = fs::exists(path);
    if (was) fs::rename(path, path + ".kept");
    std::ofstream(path) << std::string(1'000'000, '[');
    expect_refused(in_3_gb(folder, {}), 3, file);
    std::ofstream(path) << "{}";
    fs::resize_file(path, std::uintmax_t{1} << 40);  // a hole: takes no room on the disk
    expect_refused(in_3_gb(folder, {}), 4, file + ": 1099511627776 bytes; at most ");
    fs::remove(path);
    if (was) fs::rename(path + ".kept", path);
  }
}

}  // namespace
}  // namespace stepless::test
