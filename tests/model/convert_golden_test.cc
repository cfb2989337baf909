// convert: the bytes of mlx-lm's own conversions, and of the quantizer for every family, as Hugging
// Face publishes it and as MLX lays it out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "dispatch/machine.hpp"
#include "format/quantized.hpp"
#include "model/families.hpp"
#include "model/model.hpp"
#include "tests/model/convert_case.hpp"
#include "tests/model/hollow_weights.hpp"
#include "tests/oracle/quantize.hpp"
#include "tests/support/random.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using testing::UnorderedElementsAre;

// --- mlx-lm's own conversions ---

struct Golden {
  const char* name;
  const char* source;
  int bits;
  const char* recipe;
};

class EachGolden : public ::testing::TestWithParam<Golden> {};

TEST_P(EachGolden, TensorsAndConfigAreThoseOfMlxLm) {
  if (!shared_dir()) GTEST_SKIP() << "the shared fixtures are not here";
  const Golden& golden = GetParam();
  ConvertOptions options =
      options_of(*shared_dir() + "/models/" + golden.source, fresh(golden.name));
  options.quantize = true;
  options.recipe = golden.recipe;
  if (golden.bits > 0) options.bits = golden.bits;
  convert(options);
  const std::string want = *shared_dir() + "/golden/models/" + golden.name;
  expect_same_tensors(options.target, want);
  EXPECT_EQ(config_of(options.target), config_of(want));
}

INSTANTIATE_TEST_SUITE_P(Affine, EachGolden,
                         ::testing::Values(Golden{"tale-4bit", "tale-bf16", 0, ""},
                                           Golden{"tale-draft-4bit", "tale-draft-bf16", 4, ""},
                                           Golden{"tale-draft-8bit", "tale-draft-bf16", 8, ""},
                                           Golden{"tale-draft-6bit", "tale-draft-bf16", 6, ""},
                                           Golden{"tale-draft-3bit", "tale-draft-bf16", 3, ""},
                                           Golden{"tale-draft-mixed_3_6", "tale-draft-bf16", 0,
                                                  "mixed_3_6"}),
                         [](const auto& each) {
                           std::string name = each.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// In fp modes MLX's CPU build works in bfloat16 and takes ties down; the contract says float32 and
/// even. Scales are equal, codes are the contract's.
TEST(ConvertFp, ScalesAreMlxsAndCodesTheContracts) {
  if (!shared_dir()) GTEST_SKIP() << "the shared fixtures are not here";
  const std::string source = *shared_dir() + "/models/tale-draft-bf16";
  const TensorMap floats = TensorMap::open(source);
  for (const Mode mode : {Mode::mxfp4, Mode::nvfp4}) {
    const std::string name = "tale-draft-" + std::string(to_string(mode));
    ConvertOptions options = options_of(source, fresh(name));
    options.quantize = true;
    options.mode = mode;
    convert(options);
    const std::string want = *shared_dir() + "/golden/models/" + name;
    EXPECT_EQ(config_of(options.target), config_of(want));
    const TensorMap a = TensorMap::open(options.target), b = TensorMap::open(want);
    EXPECT_EQ(a.size(), b.size());
    for (const auto& [tensor, view] : b) {
      if (view.type != DType::u32) {
        expect_same_tensor(a.at(tensor), view, tensor);
        continue;
      }
      const TensorView& w = floats.at(tensor);
      std::vector<float> values(static_cast<std::size_t>(count_of(w.shape, tensor)));
      to_f32(w.data, w.type, values.data(), static_cast<std::int64_t>(values.size()));
      const oracle::Codes codes = oracle::quantize(values, w.type, make_spec(mode));
      const auto packed = oracle::packed(codes.codes, w.shape.back(), 4);
      const auto got = bytes_of_view(a.at(tensor));
      EXPECT_TRUE(
          got.size() == packed.size() &&
          std::equal(got.begin(), got.end(), packed.begin(),
                     [](std::byte x, auto y) { return std::to_integer<std::uint8_t>(x) == y; }))
          << tensor;
    }
  }
}

// --- every family, both layouts ---

/// Random floats for everything a family asks for.
class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(TinyModel& model) : model_(model) {}
  Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) override {
    add(name + ".weight", {n, k});
    return hollow_.matrix(name, n, k);
  }
  Matrix experts(const std::string& name, std::int64_t count, std::int64_t n,
                 std::int64_t k) override {
    add(name + ".weight", {count, n, k});
    return hollow_.experts(name, count, n, k);
  }
  Vector vector(const std::string& name, std::int64_t width) override {
    add(name, {width});
    return hollow_.vector(name, width);
  }
  Vector table(const std::string& name, std::int64_t rows, std::int64_t width) override {
    add(name, {rows, width});
    return hollow_.table(name, rows, width);
  }
  bool has(const std::string&) const override { return false; }

 private:
  void add(const std::string& name, const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(count_of(shape, name)));
    for (float& value : values) value = static_cast<float>(random_.normal() * 0.05);
    model_.tensors[name] = tensor_of(DType::bf16, shape, values);
  }

  TinyModel& model_;
  HollowWeights hollow_;
  Random random_{11};
};

TinyModel float_model(const std::string& family) {
  TinyModel model;
  model.config = read_json(golden_dir() + "/programs/" + family + ".json");
  const Config config = Config::from_json(model.config, family);
  RandomWeights weights(model);
  Builder builder(weights, DType::bf16, config.integer("vocab_size", 1, 1 << 20));
  find_family(config).build(builder, config);
  for (auto& [name, tensor] : model.tensors)
    if (name.ends_with("conv1d.weight")) {  // families ask for a vector, files hold three axes
      const std::int64_t taps = config.integer("linear_conv_kernel_dim", 1, 64);
      tensor.shape = {tensor.shape[0] / taps, taps, 1};
    }
  return model;
}

bool is_sum(const std::string& name) {
  return name.ends_with("norm.weight") && !name.ends_with("linear_attn.norm.weight");
}

/// What Hugging Face says of a tensor is what MLX holds, save norms of qwen3_next: there 1 is
/// added.
Tensor held_by_mlx(const TinyModel& model, const std::string& name) {
  Tensor tensor = model.tensors.at(name);
  if (model.config["model_type"] != "qwen3_next" || !is_sum(name)) return tensor;
  const std::int64_t count = tensor.shape[0];
  std::vector<float> values(static_cast<std::size_t>(count));
  to_f32(tensor.data.data(), tensor.type, values.data(), count);
  for (float& value : values) value += 1;
  return tensor_of(tensor.type, tensor.shape, values);
}

/// The stacks of experts as Hugging Face publishes them: one by one; taps along the last axis.
TinyModel published(const TinyModel& stacked) {
  const bool mixtral = stacked.config["model_type"] == "mixtral";
  TinyModel model = stacked;
  model.tensors.clear();
  for (const auto& [name, tensor] : stacked.tensors) {
    const auto at = name.find(".switch_mlp.");
    if (at == std::string::npos) {
      Tensor& same = model.tensors[name] = tensor;
      if (name.ends_with("conv1d.weight")) std::swap(same.shape[1], same.shape[2]);
      continue;
    }
    std::string part = name.substr(at + 12, name.rfind('.') - at - 12);
    if (mixtral) part = part == "gate_proj" ? "w1" : part == "down_proj" ? "w2" : "w3";
    const std::int64_t count = tensor.shape[0];
    const auto size = static_cast<std::ptrdiff_t>(tensor.data.size()) / count;
    for (std::int64_t e = 0; e < count; ++e)
      model.tensors[name.substr(0, at) + ".experts." + std::to_string(e) + "." + part + ".weight"] =
          {{tensor.data.begin() + e * size, tensor.data.begin() + (e + 1) * size},
           tensor.type,
           {tensor.shape[1], tensor.shape[2]}};
  }
  return model;
}

std::vector<std::string> all_programs() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_dir() + "/programs"))
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

class EachFamily : public ::testing::TestWithParam<std::string> {};

TEST_P(EachFamily, QuantizesToWhatTheQuantizerMakesAndLoads) {
  const TinyModel stacked = float_model(GetParam());
  ConvertOptions options = options_of(published(stacked).write(GetParam()), fresh(GetParam()));
  options.quantize = true;
  options.group_size = 32;
  options.threads = 3;
  const ConvertReport report = convert(options);
  EXPECT_EQ(report.family, stacked.config["model_type"].get<std::string>());
  const TensorMap made = TensorMap::open(options.target);
  const Config config = Config::read(options.target);
  std::int64_t matrices = 0;
  for (const auto& [name, tensor] : stacked.tensors) {
    const std::string layer = name.substr(0, name.rfind('.'));
    if (!name.ends_with(".weight") || !made.contains(layer + ".scales")) {
      expect_same_tensor(made.at(name), held_by_mlx(stacked, name).view(), name);
      continue;
    }
    ++matrices;
    const auto named = config.quantization_of(layer);
    const QuantizedTensors want =
        quantize(tensor.view(), named ? named->spec : QuantSpec{Mode::affine, 4, 32});
    expect_same_tensor(made.at(name), want.packed.view(), name);
    expect_same_tensor(made.at(layer + ".scales"), want.scales.view(), layer);
    expect_same_tensor(made.at(layer + ".biases"), want.biases->view(), layer);
  }
  EXPECT_EQ(matrices, report.quantized_matrices);
  EXPECT_GT(matrices, 0);
  LoadOptions load;
  load.machine = this_machine(1);
  EXPECT_NO_THROW(load_model(options.target, load));
}

TEST_P(EachFamily, ComesBackFromMlxsLayoutUnchanged) {
  const TinyModel stacked = float_model(GetParam());
  const std::string source = stacked.write(GetParam() + "-mlx");
  ConvertOptions options = options_of(source, fresh(GetParam() + "-copy"));
  convert(options);
  expect_same_tensors(options.target, source);
}

INSTANTIATE_TEST_SUITE_P(Families, EachFamily, ::testing::ValuesIn(all_programs()),
                         [](const auto& each) { return each.param; });

TEST(ConvertChoice, RoutersAndGranitesNarrowBlocksKeepEightBits) {
  const auto entries = [](const std::string& family) {
    ConvertOptions options = options_of(float_model(family).write(family), fresh(family + "-8"));
    options.quantize = true;
    convert(options);
    const Json block = config_of(options.target)["quantization"];
    std::vector<std::string> named;
    for (const auto& [key, value] : block.items())
      if (value.is_object()) {
        EXPECT_EQ(value, (Json{{"group_size", 64}, {"bits", 8}})) << key;
        named.push_back(key);
      }
    return named;
  };
  EXPECT_THAT(
      entries("granite"),
      UnorderedElementsAre("model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj",
                           "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"));
  for (const std::string& name : entries("qwen3_moe")) EXPECT_TRUE(name.ends_with(".mlp.gate"));
  EXPECT_TRUE(entries("mixtral").empty());
}

}  // namespace
}  // namespace stepless::test
