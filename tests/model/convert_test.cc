// convert: one result whatever the threads and files, exact floats back, a config that says what is
// there.
#include "stepless/convert.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "dispatch/machine.hpp"
#include "model/model.hpp"
#include "tests/model/convert_case.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

// --- one result, whatever the way ---

TEST(ConvertProperty, ThreadsAndFilesNeverShow) {
  const std::string source = tiny_model({.tied = false, .biases = true}).write("whole");
  ConvertOptions options = options_of(source, fresh("alone"));
  options.quantize = true;
  const ConvertReport whole = convert(options);
  EXPECT_THAT(whole.files, testing::Contains("model.safetensors"));
  // The source in files of a few tensors, the result as well, and more threads than rows.
  ConvertOptions cut = options_of(source, fresh("source-shards"));
  cut.shard_bytes = 20000;
  EXPECT_GT(convert(cut).files.size(), 4u);
  ConvertOptions again = options_of(cut.target, fresh("shards"));
  again.quantize = true;
  again.threads = 7;
  again.shard_bytes = 9000;
  const ConvertReport sharded = convert(again);
  expect_same_tensors(again.target, options.target);
  EXPECT_EQ(config_of(again.target), config_of(options.target));
  EXPECT_EQ(sharded.bytes, whole.bytes);
  const Json index = read_json(again.target + "/model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], whole.bytes);
  EXPECT_EQ(index["metadata"]["total_parameters"], whole.parameters);
  EXPECT_EQ(static_cast<std::int64_t>(index["weight_map"].size()), whole.tensors);
  for (const auto& entry : fs::directory_iterator(again.target))
    EXPECT_TRUE(entry.path().extension() != ".safetensors" || entry.file_size() < 14000u);
}

TEST(ConvertProperty, ProgressEndsAtTheTotalAndNeverFalls) {
  ConvertOptions options = options_of(tiny_model().write("progress"), fresh("progress"));
  options.quantize = true;
  std::int64_t last = 0, all = 0;
  options.progress = [&](std::int64_t done, std::int64_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
  };
  const ConvertReport report = convert(options);
  EXPECT_EQ(last, all);
  EXPECT_EQ(report.source_bytes, all);
}

TEST(ConvertDequantize, ValuesAreExactRoundedOnce) {
  for (const QuantSpec& spec : {QuantSpec{Mode::affine, 4, 64}, QuantSpec{Mode::affine, 3, 32},
                                make_spec(Mode::mxfp8), make_spec(Mode::nvfp4)}) {
    TinyOptions tiny{.type = DType::bf16, .spec = spec};
    if (spec.mode == Mode::nvfp4) tiny.tensor_scale = 1.5f;
    const TinyModel packed = tiny_model(tiny);
    const std::string source = packed.write("packed");
    for (const auto& [dtype, type] : {std::pair{"", DType::bf16}, {"float32", DType::f32}}) {
      ConvertOptions options = options_of(source, fresh("floats"));
      options.dequantize = true;
      options.dtype = dtype;
      const ConvertReport report = convert(options);
      EXPECT_EQ(report.quantized_matrices, 0);
      const TensorMap made = TensorMap::open(options.target);
      const TinyModel exact = packed.decoded();
      EXPECT_EQ(made.size(), static_cast<std::int64_t>(exact.tensors.size()));
      for (const auto& [name, tensor] : exact.tensors) {
        // decoded() is float32, exact for these values' few bits; one rounding more is the only
        // one.
        const Tensor want = tensor_of(type, tensor.shape, values_of(tensor));
        expect_same_tensor(made.at(name), want.view(), name);
      }
      const Json config = config_of(options.target);
      EXPECT_FALSE(config.contains("quantization") || config.contains("quantization_config"));
    }
  }
}

TEST(ConvertDequantize, GivesBackNumbersThatTheCodesHoldExactly) {
  // Multiples of a power of two from -8 to 7 of them, both ends in every group.
  TinyModel model = tiny_model();
  for (auto& [name, tensor] : model.tensors) {
    std::vector<float> values = values_of(tensor);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(static_cast<int>(i * 7 % 16) - 8) / 64;
    tensor = tensor_of(DType::bf16, tensor.shape, values);
  }
  const std::string source = model.write("exact");
  ConvertOptions codes = options_of(source, fresh("exact-codes"));
  codes.quantize = true;
  convert(codes);
  ConvertOptions floats = options_of(codes.target, fresh("exact-floats"));
  floats.dequantize = true;
  convert(floats);
  expect_same_tensors(floats.target, source);
}

TEST(ConvertCopy, KeepsOverridesAndWhatIsPackedAndCastsTheRest) {
  TinyModel model = tiny_model({.spec = QuantSpec{}});
  const TinyModel dense = tiny_model();
  const std::string layer = "model.layers.1.mlp.down_proj";
  model.tensors[layer + ".weight"] = dense.tensors.at(layer + ".weight");
  model.tensors.erase(layer + ".scales");
  model.tensors.erase(layer + ".biases");
  model.config["quantization"][layer] = false;
  const std::string source = model.write("overrides");
  ConvertOptions options = options_of(source, fresh("overrides"));
  options.dtype = "float32";
  convert(options);
  const Json config = config_of(options.target);
  EXPECT_EQ(config["quantization"], model.config["quantization"]);
  EXPECT_EQ(config["quantization_config"], model.config["quantization"]);
  const TensorMap made = TensorMap::open(options.target);
  for (const auto& [name, tensor] : model.tensors)
    expect_same_tensor(made.at(name),
                       tensor.type == DType::u32
                           ? tensor.view()
                           : tensor_of(DType::f32, tensor.shape, values_of(tensor)).view(),
                       name);
}

TEST(ConvertCopy, TheRestOfAPartlyPackedCheckpointIsNamedLayerByLayer) {
  TinyModel model = tiny_model();
  model.quantize("model.embed_tokens", {Mode::affine, 8, 32});
  model.config["quantization"] = {{"bits", 8}, {"group_size", 32}, {"mode", "affine"}};
  ConvertOptions options = options_of(model.write("partly"), fresh("partly"));
  options.quantize = true;
  const ConvertReport report = convert(options);
  EXPECT_THAT(report.formats,
              ElementsAre("affine 4-bit g64: 14 matrices", "affine 8-bit g32: 1 matrix"));
  const Json block = config_of(options.target)["quantization"];
  EXPECT_EQ(block["bits"], 8);
  EXPECT_EQ(block.size(), 3u + 14u);
  EXPECT_EQ(block["model.layers.0.mlp.up_proj"],
            (Json{{"bits", 4}, {"group_size", 64}, {"mode", "affine"}}));
  LoadOptions load;
  load.machine = this_machine(1);
  EXPECT_NO_THROW(load_model(options.target, load));
}

TEST(ConvertConfig, TakesTheStopTokensAndLeavesTheOrigin) {
  TinyModel model = tiny_model();
  model.config["_name_or_path"] = "somewhere";
  model.config["vision_config"] = {{"x", 1}};
  model.config["torch_dtype"] = "float16";
  model.generation = {{"eos_token_id", {2, 7}}};
  const std::string source = model.write("origin");
  for (const char* name : {"tokenizer_config.json", "chat_template.jinja", "merges.txt", "LICENSE",
                           "pytorch_model.bin.index.json", "notes.md", "quantize_config.json"})
    std::ofstream(source + "/" + name) << "{}";
  fs::create_directory_symlink(source, source + "/loop.json");
  ConvertOptions options = options_of(source, fresh("origin"));
  const ConvertReport report = convert(options);
  EXPECT_THAT(report.files,
              UnorderedElementsAre("model.safetensors", "model.safetensors.index.json",
                                   "config.json", "generation_config.json", "tokenizer_config.json",
                                   "chat_template.jinja", "merges.txt", "LICENSE"));
  const Json config = config_of(options.target);
  EXPECT_EQ(config["eos_token_id"], (Json{2, 7}));
  EXPECT_FALSE(config.contains("_name_or_path") || config.contains("vision_config"));
  // torch_dtype is what floats become, as in mlx-lm.
  EXPECT_EQ(TensorMap::open(options.target).at("model.norm.weight").type, DType::f16);
}

TEST(ConvertChoice, MatricesWhoseInputsDoNotFitTheGroupStayFloat) {
  ConvertOptions options = options_of(tiny_model().write("narrow"), fresh("narrow"));
  options.quantize = true;
  options.group_size = 128;  // hidden is 64, inner 128
  const ConvertReport report = convert(options);
  EXPECT_EQ(report.quantized_matrices, 2);
  EXPECT_EQ(report.float_matrices, 13);
  EXPECT_THAT(report.notes,
              ElementsAre("13 matrices stay float: the inputs are no multiple of 128"));
}

}  // namespace
}  // namespace stepless::test
