// stepless convert and dequantize as users meet them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/json.hpp"
#include "format/dtype.hpp"
#include "format/tensor_map.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/sanitizer.hpp"
#include "tests/support/subprocess.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Finished stepless(std::vector<std::string> arguments) {
  return run_program(STEPLESS_BINARY, {std::move(arguments), {}, "", 0});
}

std::string fresh(const std::string& name) {
  const std::string folder = scratch_dir("cli-convert") + "/" + name;
  fs::remove_all(folder);
  return folder;
}

TEST(Convert, QuantizesAndTheResultRuns) {
  const std::string source = tiny_model().write("cli"), target = fresh("4bit");
  const Finished done = stepless({"convert", "--hf-path", source, "--mlx-path", target, "-q"});
  EXPECT_EQ(done.exit, 0) << done.err;
  EXPECT_EQ(done.out, target + "\n");
  EXPECT_THAT(done.err, AllOf(HasSubstr("bits per weight"),
                              HasSubstr("format: affine 4-bit g64: 15 matrices\n"),
                              HasSubstr("Peak memory: ")));
  EXPECT_EQ(stepless({"info", "--model", target}).exit, 0);
}

TEST(Convert, JsonSaysWhatWasWritten) {
  const std::string source = tiny_model().write("cli-json"), target = fresh("json");
  const Finished done = stepless({"convert", "--model", source, "--mlx-path", target, "--quantize",
                                  "--q-bits", "8", "--q-group-size", "32", "--json", "-t", "2"});
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_EQ(done.err, "");
  const OrderedJson json = parse_ordered_json(done.out, "output");
  EXPECT_EQ(json["family"], "llama");
  EXPECT_EQ(json["target"], target);
  EXPECT_EQ(json["formats"][0], "affine 8-bit g32: 15 matrices");
  EXPECT_EQ(json["bytes"], TensorMap::open(target).bytes());
  EXPECT_GT(json["seconds"], 0);
  for (const OrderedJson& file : json["files"])
    EXPECT_TRUE(fs::exists(target + "/" + file.get<std::string>())) << file;
}

TEST(Convert, QuietLeavesTheFolderAlone) {
  const Finished done = stepless({"convert", "--model", tiny_model().write("cli-quiet"),
                                  "--mlx-path", fresh("quiet"), "-q", "--quiet"});
  EXPECT_EQ(done.exit, 0);
  EXPECT_EQ(done.err, "");
  EXPECT_THAT(done.out, Not(HasSubstr("bits")));
}

TEST(Dequantize, IsConvertWithTheFlag) {
  const std::string a = fresh("floats-a"), b = fresh("floats-b");
  EXPECT_EQ(stepless({"dequantize", "--model", "demo", "--mlx-path", a, "-q"}).exit, 0);
  EXPECT_EQ(stepless({"convert", "--model", "demo", "--mlx-path", b, "-d", "--quiet"}).exit, 0);
  const TensorMap first = TensorMap::open(a), second = TensorMap::open(b);
  EXPECT_EQ(first.size(), second.size());
  for (const auto& [name, view] : first) {
    EXPECT_EQ(view.type, DType::bf16) << name;
    EXPECT_EQ(std::memcmp(view.data, second.at(name).data,
                          static_cast<std::size_t>(bytes_of(view.shape, view.type, name))),
              0)
        << name;
  }
  const Finished text =
      stepless({"generate", "--model", a, "--prompt", "Once upon a time there was a king",
                "--ignore-chat-template", "--max-tokens", "7", "--act-dtype", "float32"});
  EXPECT_EQ(text.out, " who was very fond of him.\n");
}

TEST(Convert, RefusalsHaveTheirExitCodes) {
  const std::string source = tiny_model().write("cli-codes"), there = fresh("there");
  fs::create_directories(there);
  const auto refused = [&](int exit, const std::string& words, std::vector<std::string> more) {
    std::vector<std::string> all = {"convert"};
    all.insert(all.end(), more.begin(), more.end());
    const Finished done = stepless(all);
    EXPECT_EQ(done.exit, exit) << done.err;
    EXPECT_THAT(done.err, AllOf(StartsWith("error: "), HasSubstr(words)));
    EXPECT_EQ(done.out, "");
  };
  refused(2, "--hf-path", {});
  refused(2, "is there already; --force", {"--hf-path", source, "--mlx-path", there});
  refused(2, "--q-mode", {"--hf-path", source, "-q", "--q-mode", "int4"});
  refused(2, "without quantize", {"--hf-path", source, "--q-bits", "4"});
  refused(2, "choose one", {"--hf-path", source, "-q", "-d"});
  refused(2, "hf upload", {"--hf-path", source, "--upload-repo", "x"});
  refused(3, "not found", {"--hf-path", "no-such-model"});
  std::ofstream(there + "/m.gguf") << "GGUF";
  refused(3, "GGUF is not read", {"--hf-path", there + "/m.gguf"});
  TinyModel broken = tiny_model();
  broken.tensors.erase("model.norm.weight");
  refused(3, "no tensor 'model.norm.weight'",
          {"--hf-path", broken.write("cli-broken"), "--mlx-path", fresh("broken")});
}

/// 128 MB of bfloat16 in one matrix: two million tokens of width 32 would do nobody good.
std::string large_source() {
  TinyModel model = tiny_model();
  constexpr std::int64_t kTokens = 1'000'000;
  Tensor& table = model.at("model.embed_tokens.weight");
  const std::vector<std::byte> rows = table.data;
  table.shape[0] = kTokens;
  table.data.resize(static_cast<std::size_t>(kTokens * 64 * 2));
  for (std::size_t i = 0; i < table.data.size(); ++i) table.data[i] = rows[i % rows.size()];
  model.config["vocab_size"] = kTokens;
  return model.write("cli-large");
}

TEST(Convert, MemoryIsBoundedAndCtrlCLeavesNothing) {
  const std::string source = large_source(), root = fresh("large");
  fs::create_directories(root);
  const std::string target = root + "/out";
  const std::vector<std::string> words = {"convert", "--hf-path", source, "--mlx-path", target,
                                          "-q",      "--json",    "-t",   "1"};
  const Finished done = stepless(words);
  ASSERT_EQ(done.exit, 0) << done.err;
  const OrderedJson json = parse_ordered_json(done.out, "output");
  EXPECT_GT(json["source_bytes"], 128'000'000);
  if (!kSanitized) {
    EXPECT_LT(json["peak_memory_bytes"], 64'000'000);
  }
  fs::remove_all(target);

  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<const char*> plain = {STEPLESS_BINARY};
    for (const std::string& word : words) plain.push_back(word.c_str());
    plain.push_back(nullptr);
    ::dup2(::open("/dev/null", O_WRONLY), 2);
    ::execv(STEPLESS_BINARY, const_cast<char* const*>(plain.data()));
    ::_exit(127);
  }
  while (fs::is_empty(root) && ::waitpid(child, nullptr, WNOHANG) == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(::kill(child, SIGINT), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_TRUE(fs::is_empty(root));
}

TEST(Convert, AFullDiskIsAnErrorNotASignal) {
  const std::string root = fresh("disk");
  fs::create_directories(root);
  const std::string command = "ulimit -f 8; exec '" + std::string(STEPLESS_BINARY) +
                              "' convert --model demo -d --mlx-path " + root + "/out";
  const Finished done = run_program("/bin/sh", {{"-c", command}, {}, "", 0});
  EXPECT_EQ(done.exit, 1) << done.err;
  EXPECT_THAT(done.err, HasSubstr("cannot be written: File too large"));
  EXPECT_TRUE(fs::is_empty(root));
}

}  // namespace
}  // namespace stepless::test
