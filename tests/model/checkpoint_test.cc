// Checkpoints that contradict themselves: each is an Error that names the tensor and the values,
// and allocates nothing.
#include "model/checkpoint.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/memory.hpp"
#include "format/dtype.hpp"
#include "model/model.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

using Edit = std::function<void(TinyModel&)>;

constexpr QuantSpec kB4{Mode::affine, 4, 64};

std::shared_ptr<const LoadedModel> load(const TinyModel& model) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.step_rows = 4;
  return load_model(model.write("broken"), options);
}

void refused(ErrorCode code, std::string_view words, const TinyOptions& options, const Edit& edit) {
  TinyModel model = tiny_model(options);
  ASSERT_NO_THROW(load(model)) << "whole, it loads";
  edit(model);
  expect_error(code, words, [&] { load(model); });
}

void corrupt(std::string_view words, const TinyOptions& options, const Edit& edit) {
  SCOPED_TRACE(words);
  refused(ErrorCode::corrupt, words, options, edit);
}

const std::string kQ = "model.layers.1.self_attn.q_proj";

/// The first `columns` columns of a two-dimensional tensor.
void narrow(Tensor& tensor, std::int64_t columns) {
  const std::int64_t size = size_of(tensor.type), rows = tensor.shape[0], old = tensor.shape[1];
  std::vector<std::byte> data;
  for (std::int64_t r = 0; r < rows; ++r)
    data.insert(data.end(), tensor.data.begin() + r * old * size,
                tensor.data.begin() + (r * old + columns) * size);
  tensor.data = std::move(data);
  tensor.shape[1] = columns;
}

void drop_rows(Tensor& tensor, std::int64_t rows) {
  const std::size_t row = tensor.data.size() / static_cast<std::size_t>(tensor.shape[0]);
  tensor.shape[0] -= rows;
  tensor.data.resize(row * static_cast<std::size_t>(tensor.shape[0]));
}

TEST(Checkpoint, MissingAndExtraTensors) {
  const TinyOptions packed{DType::bf16, kB4};
  corrupt(kQ + ".weight", packed, [](TinyModel& m) { m.tensors.erase(kQ + ".weight"); });
  corrupt("model.norm.weight", packed, [](TinyModel& m) { m.tensors.erase("model.norm.weight"); });
  corrupt("model.layers.2.input_layernorm.weight", packed,
          [](TinyModel& m) { m.config["num_hidden_layers"] = 3; });
  corrupt("lm_head.weight", packed, [](TinyModel& m) { m.config["tie_word_embeddings"] = false; });
  corrupt("1 tensors that a llama model does not have: model.rotten", packed,
          [](TinyModel& m) { m.tensors["model.rotten"] = tensor_of(DType::f32, {1}, {0}); });
  corrupt(" model.layers.1.", packed, [](TinyModel& m) { m.config["num_hidden_layers"] = 1; });
  corrupt(kQ + ".bias", packed, [](TinyModel& m) {
    m.tensors[kQ + ".bias"] = tensor_of(DType::bf16, {64}, std::vector<float>(64));
  });
  corrupt(kQ + ".bias", {DType::bf16, kB4, true, true},
          [](TinyModel& m) { m.tensors.erase(kQ + ".bias"); });
  corrupt("only nvfp4 has one", {DType::bf16, kB4},
          [](TinyModel& m) { m.tensors[kQ + ".global_scale"] = tensor_of(DType::f32, {1}, {1}); });
}

TEST(Checkpoint, HarmlessExtrasOfOldExports) {
  TinyModel model = tiny_model({DType::bf16, kB4});
  model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] =
      tensor_of(DType::f32, {8}, std::vector<float>(8));
  model.tensors["lm_head.weight"] = model.at("model.embed_tokens.weight");
  EXPECT_NO_THROW(load(model));
}

TEST(Checkpoint, PackedWeights) {
  const TinyOptions packed{DType::bf16, kB4};
  corrupt(kQ + ".weight", packed, [](TinyModel& m) { m.at(kQ + ".weight").type = DType::i32; });
  corrupt(kQ + ".weight", packed, [](TinyModel& m) { m.at(kQ + ".weight").type = DType::f32; });
  corrupt(kQ + ".weight", packed, [](TinyModel& m) { narrow(m.at(kQ + ".weight"), 7); });
  corrupt(kQ + ".weight: shape [63, 8]; config.json makes it [64, 64]", packed, [](TinyModel& m) {
    for (const char* part : {".weight", ".scales", ".biases"}) drop_rows(m.at(kQ + part), 1);
  });
  corrupt(kQ + ".scales: shape [63, 1]", packed,
          [](TinyModel& m) { drop_rows(m.at(kQ + ".scales"), 1); });
  corrupt(kQ + ".scales", packed, [](TinyModel& m) { m.at(kQ + ".scales").type = DType::u16; });
  corrupt(kQ + ".scales: shape [64]", packed,
          [](TinyModel& m) { m.at(kQ + ".scales").shape = {64}; });
  corrupt(kQ + ".biases: missing", packed, [](TinyModel& m) { m.tensors.erase(kQ + ".biases"); });
  corrupt(kQ + ".biases: shape [63, 1]", packed,
          [](TinyModel& m) { drop_rows(m.at(kQ + ".biases"), 1); });
  corrupt(kQ + ".biases: type f16; expected bf16", packed,
          [](TinyModel& m) { m.at(kQ + ".biases").type = DType::f16; });
  corrupt(kQ + ".weight: shape [64, 8, 1]; config.json makes it [64, 64]", packed,
          [](TinyModel& m) {
            m.at(kQ + ".weight").shape = {64, 8, 1};
          });
  // Half the columns of everything: it fits itself, and not the model.
  const std::string down = "model.layers.0.mlp.down_proj";
  corrupt(down + ".weight", packed, [&](TinyModel& m) {
    narrow(m.at(down + ".weight"), 8);
    narrow(m.at(down + ".scales"), 1);
    narrow(m.at(down + ".biases"), 1);
    m.config["quantization"][down] = {{"bits", 4}, {"group_size", 64}};
  });
}

TEST(Checkpoint, BlocksThatContradictTheFile) {
  const TinyOptions packed{DType::bf16, kB4};
  corrupt(kQ + ": quantization says false, the file has scales", packed,
          [](TinyModel& m) { m.config["quantization"][kQ] = false; });
  corrupt(kQ + ": quantization says quantized, the file has no scales", {}, [](TinyModel& m) {
    m.config["quantization"] = {{"bits", 4}, {"group_size", 64}, {kQ, {{"bits", 4}}}};
  });
  corrupt(kQ, packed, [](TinyModel& m) { m.config["quantization"][kQ] = {{"bits", 8}}; });
  corrupt(kQ, packed, [](TinyModel& m) { m.config["quantization"][kQ] = {{"group_size", 32}}; });
  corrupt(kQ, packed, [](TinyModel& m) { m.config["quantization"][kQ] = {{"mode", "mxfp4"}}; });
  corrupt("quantization." + kQ, packed, [](TinyModel& m) {
    m.config["quantization"][kQ] = {{"bits", 7}};
  });
  corrupt("quantization." + kQ, packed, [](TinyModel& m) { m.config["quantization"][kQ] = "x"; });
}

TEST(Checkpoint, ShapesThatFitNoFormat) {
  const TinyOptions packed{DType::bf16, kB4};
  const auto silent = [](TinyModel& m) { m.config.erase("quantization"); };
  // 7 words of 64 inputs: 3.5 bits.
  corrupt(kQ + ".weight: 7 packed columns and 1 scales per row fit no format of 64 inputs", packed,
          [&](TinyModel& m) { silent(m), narrow(m.at(kQ + ".weight"), 7); });
  // One scale for 128 inputs and 14 words: 3.5 bits again, by another layer's width.
  const std::string down = "model.layers.0.mlp.down_proj";
  corrupt(down, packed, [&](TinyModel& m) { silent(m), narrow(m.at(down + ".weight"), 14); });
  // 4 bits in groups of 16 exist in nvfp4 alone, and 7 bits nowhere.
  corrupt("16", packed, [&](TinyModel& m) {
    silent(m);
    for (const char* part : {".scales", ".biases"})
      m.at(kQ + part) = tensor_of(DType::bf16, {64, 4}, std::vector<float>(256));
  });
  corrupt("7", packed, [&](TinyModel& m) {
    silent(m);
    Tensor& weight = m.at(kQ + ".weight");
    weight.shape = {64, 14};
    weight.data.resize(64 * 14 * 4);
  });
  corrupt(kQ, packed, [&](TinyModel& m) {
    silent(m);
    for (const char* part : {".scales", ".biases"}) narrow(m.at(kQ + part), 0);
  });
}

TEST(Checkpoint, NanCodesAndTensorScales) {
  const auto set_byte = [](const std::string& name, std::size_t at, int value) {
    return [=](TinyModel& m) { m.at(name).data[at] = static_cast<std::byte>(value); };
  };
  const TinyOptions mxfp4{DType::bf16, QuantSpec{Mode::mxfp4, 4, 32}};
  const TinyOptions mxfp8{DType::bf16, QuantSpec{Mode::mxfp8, 8, 32}};
  const TinyOptions nvfp4{DType::bf16, QuantSpec{Mode::nvfp4, 4, 16}};
  const TinyOptions scaled{DType::bf16, QuantSpec{Mode::nvfp4, 4, 16}, true, false, 2.0f};
  corrupt(kQ + ".scales: byte 5 is 0xff, the NaN of E8M0", mxfp4, set_byte(kQ + ".scales", 5, 255));
  corrupt(kQ + ".scales: byte 5 is 0xff", mxfp8, set_byte(kQ + ".scales", 5, 255));
  corrupt(kQ + ".weight: byte 9 is 0x7f, the NaN of E4M3", mxfp8, set_byte(kQ + ".weight", 9, 127));
  corrupt(kQ + ".weight: byte 9 is 0xff", mxfp8, set_byte(kQ + ".weight", 9, 255));
  corrupt(kQ + ".scales: byte 255 is 0x7f", nvfp4, set_byte(kQ + ".scales", 255, 127));
  corrupt(kQ + ".biases: present", mxfp4, [](TinyModel& m) {
    m.tensors[kQ + ".biases"] = tensor_of(DType::bf16, {64, 2}, std::vector<float>(128));
  });
  corrupt(kQ + ".scales", mxfp4, [](TinyModel& m) { m.at(kQ + ".scales").type = DType::i8; });
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()})
    corrupt(kQ + ".global_scale", scaled,
            [&](TinyModel& m) { m.at(kQ + ".global_scale") = tensor_of(DType::f32, {1}, {bad}); });
  corrupt(kQ + ".global_scale: type bf16; expected f32", scaled,
          [](TinyModel& m) { m.at(kQ + ".global_scale") = tensor_of(DType::bf16, {1}, {1}); });
  corrupt(kQ + ".global_scale: shape [2]", scaled, [](TinyModel& m) {
    m.at(kQ + ".global_scale") = tensor_of(DType::f32, {2}, {1, 1});
  });
  corrupt(kQ + ".global_scale: present in mode mxfp4", mxfp4,
          [](TinyModel& m) { m.tensors[kQ + ".global_scale"] = tensor_of(DType::f32, {1}, {1}); });
}

TEST(Checkpoint, DenseWeightsAndVectors) {
  corrupt(kQ + ".weight: shape [64, 63]; expected [64, 64]", {},
          [](TinyModel& m) { narrow(m.at(kQ + ".weight"), 63); });
  corrupt(kQ + ".weight: shape [62, 64]; config.json makes it [64, 64]", {},
          [](TinyModel& m) { drop_rows(m.at(kQ + ".weight"), 2); });
  corrupt(kQ + ".weight: i16 without scales", {},
          [](TinyModel& m) { m.at(kQ + ".weight").type = DType::i16; });
  corrupt("model.norm.weight: bf16 of shape [63]; expected 64", {}, [](TinyModel& m) {
    m.at("model.norm.weight") = tensor_of(DType::bf16, {63}, std::vector<float>(63));
  });
  corrupt("model.norm.weight: u16 of shape [64]", {},
          [](TinyModel& m) { m.at("model.norm.weight").type = DType::u16; });
  corrupt("model.embed_tokens.weight", {}, [](TinyModel& m) { m.config["vocab_size"] = 97; });
}

TEST(Checkpoint, FamiliesByName) {
  for (const char* type : {"mamba", "LLAMA", "", "llama\n"})
    refused(ErrorCode::unsupported, "is not there yet; llama, ", {},
            [&](TinyModel& m) { m.config["model_type"] = type; });
  refused(ErrorCode::unsupported, "\"rwkv7\" is not there yet", {},
          [&](TinyModel& m) { m.config["model_type"] = "rwkv7"; });
  refused(ErrorCode::unsupported, "model_file", {},
          [&](TinyModel& m) { m.config["model_file"] = "evil.py"; });
  refused(ErrorCode::unsupported, "hidden_act \"gelu\"", {},
          [&](TinyModel& m) { m.config["hidden_act"] = "gelu"; });
}

/// hardening L6: what a config asks for is not believed, let alone allocated.
TEST(Checkpoint, ConfigsThatAskForTerabytes) {
  const std::int64_t before = peak_resident_bytes();
  const TinyOptions packed{DType::bf16, kB4};
  corrupt("config.json makes it [67108864, 64]", packed,
          [](TinyModel& m) { m.config["vocab_size"] = 1 << 26; });
  corrupt("model.embed_tokens.weight", packed,
          [](TinyModel& m) { m.config["hidden_size"] = 1 << 24, m.config["head_dim"] = 16; });
  corrupt("model.layers.2.", packed, [](TinyModel& m) { m.config["num_hidden_layers"] = 4096; });
  corrupt("gate_proj.weight: shape [128, 8]; config.json makes it [16777216, 64]", packed,
          [](TinyModel& m) { m.config["intermediate_size"] = 1 << 24; });
  EXPECT_LT(peak_resident_bytes() - before, std::int64_t{64} << 20);
}

TEST(Checkpoint, FloatTypeComesFromTheNorms) {
  EXPECT_EQ(load(tiny_model({DType::f16, kB4}))->program->act, DType::f16);
  EXPECT_EQ(load(tiny_model({DType::bf16, QuantSpec{Mode::mxfp4, 4, 32}}))->program->act,
            DType::bf16);
  EXPECT_EQ(load(tiny_model({DType::f32, {}}))->program->act, DType::f32);
  TinyModel mixed = tiny_model({DType::f16, {}});
  for (auto& [name, tensor] : mixed.tensors)
    if (tensor.shape.size() == 1) tensor = tensor_of(DType::bf16, tensor.shape, values_of(tensor));
  EXPECT_EQ(load(mixed)->program->act, DType::bf16);
}

}  // namespace
}  // namespace stepless::test
