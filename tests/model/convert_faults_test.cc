// What convert refuses, and that nothing is left behind when it does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>

#include "format/dtype.hpp"
#include "format/tensor_map.hpp"
#include "stepless/convert.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  return names;
}

/// Each test writes below a folder of its own, and sees that a refusal leaves it as it was.
class ConvertFault : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }

  ConvertOptions options(const std::string& source) const {
    ConvertOptions all;
    all.source = source;
    all.target = root_ + "/out";
    return all;
  }
  ConvertOptions quantizing(const std::string& source) const {
    ConvertOptions all = options(source);
    all.quantize = true;
    return all;
  }
  void expect_refused(ErrorCode code, std::string_view words, const ConvertOptions& all) const {
    const auto before = names_in(root_);
    expect_error(code, words, [&] { convert(all); });
    EXPECT_EQ(names_in(root_), before) << words;
  }

  const std::string root_ = scratch_dir("convert-faults") + "/root";
};

// --- other formats ---

TEST_F(ConvertFault, FilesOfOtherFormatsAreNamedWithWhatToDo) {
  const std::string gguf = root_ + "/model.gguf", folder = root_ + "/folder";
  std::ofstream(gguf) << "GGUF";
  expect_refused(ErrorCode::unsupported, "GGUF is not read; convert starts from the safetensors",
                 options(gguf));
  std::ofstream(root_ + "/model.any") << "GGUFxyz";
  expect_refused(ErrorCode::unsupported, "GGUF", options(root_ + "/model.any"));
  std::ofstream(root_ + "/text") << "{}";
  expect_refused(ErrorCode::not_found, "a file; expected the folder", options(root_ + "/text"));
  expect_refused(ErrorCode::not_found, "no such folder", options(root_ + "/nowhere"));
  fs::create_directory(folder);
  std::ofstream(folder + "/x.gguf") << "GGUF";
  expect_refused(ErrorCode::unsupported, "x.gguf: GGUF", options(folder));
  fs::remove(folder + "/x.gguf");
  std::ofstream(folder + "/config.json") << R"({"model_type":"llama"})";
  std::ofstream(folder + "/pytorch_model.bin") << "x";
  expect_refused(ErrorCode::unsupported, "pytorch_model.bin: a pickle could run code",
                 options(folder));
}

TEST_F(ConvertFault, CodesOfOtherKindsAreNamed) {
  for (const char* method : {"gptq", "awq", "bitsandbytes", "fp8"}) {
    TinyModel model = tiny_model();
    model.config["quantization_config"] = {{"quant_method", method}};
    expect_refused(ErrorCode::unsupported,
                   "quant_method '" + std::string(method) + "': codes of that kind are not",
                   quantizing(model.write("foreign")));
  }
  TinyModel model = tiny_model();
  model.tensors["model.layers.0.mlp.up_proj.qweight"] = tensor_of(DType::f32, {1, 1}, {0});
  expect_refused(ErrorCode::unsupported, "up_proj.qweight': GPTQ and AWQ",
                 quantizing(model.write("foreign")));
  model = tiny_model();
  model.config["model_type"] = "bert";
  expect_refused(ErrorCode::unsupported, "model_type \"bert\"", quantizing(model.write("foreign")));
}

// --- options ---

TEST_F(ConvertFault, OptionsThatContradictEachOther) {
  const std::string dense = tiny_model().write("dense");
  const std::string packed = tiny_model({.spec = QuantSpec{}}).write("packed");
  ConvertOptions both = quantizing(dense);
  both.dequantize = true;
  expect_refused(ErrorCode::invalid_argument, "quantize and dequantize", both);
  ConvertOptions idle = options(dense);
  idle.bits = 4;
  expect_refused(ErrorCode::invalid_argument, "without quantize", idle);
  ConvertOptions mixed = quantizing(dense);
  mixed.recipe = "mixed_5_7";
  expect_refused(ErrorCode::invalid_argument, "\"mixed_5_7\": unknown", mixed);
  mixed.recipe = "mixed_3_6";
  mixed.mode = Mode::mxfp4;
  expect_refused(ErrorCode::invalid_argument, "mixtures are affine", mixed);
  ConvertOptions seven = quantizing(dense);
  seven.bits = 7;
  expect_refused(ErrorCode::invalid_argument, "7", seven);
  expect_refused(ErrorCode::invalid_argument, "quantized already (affine 4-bit g64)",
                 quantizing(packed));
  ConvertOptions floats = options(dense);
  floats.dequantize = true;
  expect_refused(ErrorCode::invalid_argument, "nothing to dequantize", floats);
  ConvertOptions type = options(dense);
  type.dtype = "float8";
  expect_refused(ErrorCode::unsupported, "float8", type);
}

TEST_F(ConvertFault, ALayerKeptFloatByItsBlockIsNoReasonToQuantizeAgain) {
  TinyModel model = tiny_model({.spec = QuantSpec{}});
  const std::string layer = "model.layers.0.mlp.up_proj";
  model.tensors[layer + ".weight"] = tiny_model().at(layer + ".weight");
  model.tensors.erase(layer + ".scales");
  model.tensors.erase(layer + ".biases");
  model.config["quantization"][layer] = false;
  expect_refused(ErrorCode::invalid_argument, "quantized already",
                 quantizing(model.write("false")));
}

// --- the target ---

TEST_F(ConvertFault, WhatIsThereIsReplacedOnlyByForceAndOnlyIfItIsAModel) {
  const std::string source = tiny_model().write("target");
  ConvertOptions all = options(source);
  fs::create_directory(all.target);
  expect_refused(ErrorCode::invalid_argument, "is there already; --force replaces it", all);
  all.force = true;
  std::ofstream(all.target + "/thesis.txt") << "years of work";
  expect_refused(ErrorCode::invalid_argument, "no model folder", all);
  EXPECT_TRUE(fs::exists(all.target + "/thesis.txt"));
  std::ofstream(all.target + "/config.json") << "{}";
  convert(all);
  EXPECT_EQ(names_in(root_), std::vector<std::string>{"out"});
  EXPECT_FALSE(fs::exists(all.target + "/thesis.txt"));
  EXPECT_NO_THROW(TensorMap::open(all.target));
}

TEST_F(ConvertFault, AFailedReplacementLeavesTheOldOne) {
  ConvertOptions all = quantizing(tiny_model().write("kept"));
  const std::int64_t tensors = convert(all).tensors;
  TinyModel broken = tiny_model();
  broken.tensors["model.norm.weight"] =
      tensor_of(DType::bf16, {64}, std::vector<float>(64, std::numeric_limits<float>::infinity()));
  all.source = broken.write("broken");
  all.force = true;
  expect_refused(ErrorCode::corrupt, "model.norm.weight: row 0: column 0 is inf", all);
  EXPECT_EQ(TensorMap::open(all.target).size(), tensors);
}

TEST_F(ConvertFault, TargetsThatAreNoPlaceForAFolder) {
  const std::string source = tiny_model().write("place");
  ConvertOptions all = options(source);
  all.force = true;
  std::ofstream(root_ + "/file") << "x";
  all.target = root_ + "/file";
  expect_refused(ErrorCode::invalid_argument, "a file; name a folder", all);
  fs::create_directory_symlink(source, root_ + "/link");
  all.target = root_ + "/link/";
  expect_refused(ErrorCode::invalid_argument, "a symbolic link", all);
  all.target = "";
  expect_refused(ErrorCode::invalid_argument, "name a folder that is to be made", all);
  all.target = source;
  expect_refused(ErrorCode::invalid_argument, "holds what is to be converted", all);
  all.target = fs::path(source).parent_path().string();
  expect_refused(ErrorCode::invalid_argument, "holds what is to be converted", all);
  all.source = root_ + "/link";  // the same folder by another name
  all.target = source;
  expect_refused(ErrorCode::invalid_argument, "holds what is to be converted", all);
  all.target = root_ + "/file/below/out";
  expect_refused(ErrorCode::exhausted, "cannot be made", all);
}

TEST_F(ConvertFault, AFolderInsideTheSourceIsFine) {
  const std::string source = tiny_model().write("inside");
  ConvertOptions all = quantizing(source);
  all.target = source + "/deeper/4bit";
  convert(all);
  EXPECT_NO_THROW(TensorMap::open(all.target));
  EXPECT_FALSE(fs::exists(all.target + "/deeper"));
  EXPECT_NO_THROW(TensorMap::open(source));
}

TEST_F(ConvertFault, AFolderWithoutRights) {
  const std::string source = tiny_model().write("rights");
  fs::create_directory(root_ + "/closed");
  ASSERT_EQ(::chmod((root_ + "/closed").c_str(), 0555), 0);
  ConvertOptions all = options(source);
  all.target = root_ + "/closed/out";
  const uid_t own = ::geteuid();
  if (own == 0 && ::seteuid(65534) != 0) GTEST_SKIP() << "root cannot become nobody here";
  const bool readable = ::access(source.c_str(), R_OK) == 0;
  if (readable) expect_refused(ErrorCode::exhausted, "Permission denied", all);
  ASSERT_EQ(::seteuid(own), 0);
  if (!readable) GTEST_SKIP() << "the scratch folder is not everybody's to read";
}

// --- the disk ---

/// Lets no file grow beyond `bytes`, as a disk that fills up does.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit small{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, signal_);
  }

 private:
  rlimit old_{};
  void (*signal_)(int);
};

TEST_F(ConvertFault, ADiskThatFillsUpAnywhereLeavesNothing) {
  ConvertOptions all = quantizing(tiny_model().write("full"));
  all.shard_bytes = 20000;
  all.target = root_ + "/new/parents/out";
  convert(all);
  std::int64_t largest = 0;
  for (const auto& entry : fs::directory_iterator(all.target))
    largest = std::max(largest, static_cast<std::int64_t>(entry.file_size()));
  fs::remove_all(root_ + "/new");
  for (std::int64_t limit = 0; limit < largest; limit += std::max<std::int64_t>(largest / 17, 1)) {
    const SmallFiles small(static_cast<rlim_t>(limit));
    expect_refused(ErrorCode::exhausted, "", all);
  }
  EXPECT_NO_THROW(convert(all));
}

TEST_F(ConvertFault, ACallerMayStopBetweenAnyTwoPieces) {
  ConvertOptions all = quantizing(tiny_model().write("stop"));
  int pieces = 0;
  all.cancelled = [&] {
    ++pieces;
    return false;
  };
  convert(all);
  fs::remove_all(all.target);
  for (int stop = 1; stop <= pieces; ++stop) {
    int asked = 0;
    all.cancelled = [&] { return ++asked == stop; };
    expect_refused(ErrorCode::cancelled, "nothing was written", all);
  }
}

// --- numbers and shapes ---

TEST_F(ConvertFault, NumbersThatAreNotFiniteAreNamedByTensorAndPlace) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                       -std::numeric_limits<float>::infinity()};
  for (const bool quantize : {false, true})
    for (const char* dtype : {"", "float32"})
      for (const float value : bad) {
        TinyModel model = tiny_model();
        Tensor& tensor = model.at("model.layers.1.mlp.up_proj.weight");
        std::vector<float> values = values_of(tensor);
        values[77 * 64 + 13] = value;
        tensor = tensor_of(DType::bf16, tensor.shape, values);
        ConvertOptions all = options(model.write("nan"));
        all.quantize = quantize;
        all.dtype = dtype;
        all.threads = 3;
        expect_refused(ErrorCode::corrupt,
                       "model.layers.1.mlp.up_proj.weight: row 77: column 13 is", all);
      }
}

TEST_F(ConvertFault, NumbersBeyondTheNewTypeAreNamed) {
  TinyModel model = tiny_model();
  Tensor& tensor = model.at("model.layers.0.self_attn.k_proj.weight");
  std::vector<float> values = values_of(tensor);
  values[3 * 64 + 5] = 70144;
  tensor = tensor_of(DType::bf16, tensor.shape, values);
  ConvertOptions all = options(model.write("beyond"));
  all.dtype = "float16";
  expect_refused(ErrorCode::corrupt,
                 "k_proj.weight: row 3: column 5 is 70144, beyond float16; choose another", all);
}

TEST_F(ConvertFault, CodesThatAreNaNsAreNamedWhenCopied) {
  TinyModel model = tiny_model({.spec = make_spec(Mode::mxfp4)});
  model.at("model.layers.0.mlp.up_proj.scales").data[9] = std::byte{0xff};
  expect_refused(ErrorCode::corrupt, "up_proj.scales: byte 9 is 0xff",
                 options(model.write("nan-codes")));
}

TEST_F(ConvertFault, TensorsThatDoNotFitTheConfig) {
  const auto refused = [&](std::string_view words, auto&& change) {
    TinyModel model = tiny_model();
    change(model);
    expect_refused(ErrorCode::corrupt, words, quantizing(model.write("lies")));
  };
  refused("no tensor 'model.layers.1.mlp.up_proj.weight'",
          [](TinyModel& m) { m.tensors.erase("model.layers.1.mlp.up_proj.weight"); });
  refused("does not have: model.extra.weight",
          [](TinyModel& m) { m.tensors["model.extra.weight"] = tensor_of(DType::f32, {1}, {1}); });
  refused("model.norm.weight", [](TinyModel& m) {
    m.tensors["model.norm.weight"] = tensor_of(DType::f32, {2}, {1, 1});
  });
  refused("up_proj.weight: shape [64, 128]", [](TinyModel& m) {
    m.at("model.layers.0.mlp.up_proj.weight").shape = {64, 128};
  });
  refused("up_proj.weight: shape [8192]",
          [](TinyModel& m) { m.at("model.layers.0.mlp.up_proj.weight").shape = {8192}; });
  refused("num_hidden_layers", [](TinyModel& m) { m.config["num_hidden_layers"] = -1; });
  refused("vocab_size", [](TinyModel& m) { m.config["vocab_size"] = 1e9; });
  refused("no tensor 'model.layers.2", [](TinyModel& m) { m.config["num_hidden_layers"] = 3; });
}

TEST_F(ConvertFault, AnIndexThatLies) {
  const std::string source = tiny_model().write("index");
  const auto refused = [&](ErrorCode code, std::string_view words, const std::string& map) {
    std::ofstream(source + "/model.safetensors.index.json") << R"({"weight_map":)" << map << "}";
    expect_refused(code, words, quantizing(source));
  };
  refused(ErrorCode::corrupt, "plain name", R"({"a":"../model.safetensors"})");
  refused(ErrorCode::corrupt, "plain name", R"({"a":"/etc/model.safetensors"})");
  refused(ErrorCode::not_found, "not there", R"({"a":"model-2.safetensors"})");
  refused(ErrorCode::corrupt, "listed in", R"({"a":"model.safetensors"})");
}

TEST_F(ConvertFault, ASourceCutWhileItIsRead) {
  const std::string source = tiny_model().write("cut");
  ConvertOptions all = quantizing(source);
  all.progress = [&](std::int64_t, std::int64_t) {
    fs::resize_file(source + "/model.safetensors", 5000);
  };
  expect_refused(ErrorCode::corrupt, "model.safetensors", all);
}

}  // namespace
}  // namespace stepless::test
