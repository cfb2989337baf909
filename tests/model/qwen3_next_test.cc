// The hybrid family: its Program as a list and the state it asks for. What it computes is held to
// mlx-lm's logits by tests/api/golden_models_test, its config's fields by family_faults_test.
#include <gtest/gtest.h>

#include "model/families.hpp"
#include "model/model.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_next.hpp"

namespace stepless::test {
namespace {

std::shared_ptr<const LoadedModel> load(const TinyModel& tiny, const std::string& name) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.step_rows = 8;
  return load_model(tiny.write("next-" + name), options);
}

std::vector<std::string> nodes_of(const Program& program, int layer) {
  std::vector<std::string> names;
  for (const Node& node : program.nodes)
    if (node.layer == layer) names.push_back(node.name);
  return names;
}

using Names = std::vector<std::string>;
const Names kMixture = {"post_attention_layernorm",
                        "mlp.gate+shared_expert_gate+gate_proj+up_proj",
                        "route",
                        "experts.gate_proj+up_proj",
                        "glu",
                        "experts.down_proj",
                        "combine",
                        "glu",
                        "mlp.shared_expert.down_proj",
                        "glu",
                        "add",
                        "add"};

Names operator+(Names a, const Names& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Qwen3Next, TheProgramOfEachKindOfLayer) {
  const auto model = load(tiny_next_model(), "program");
  const Program& program = *model->program;
  EXPECT_EQ(nodes_of(program, 0), (Names{"input_layernorm", "linear_attn.in_proj_qkvz+in_proj_ba",
                                         "split", "split", "linear_attn.conv1d", "delta",
                                         "linear_attn.norm", "glu", "linear_attn.out_proj", "add"} +
                                   kMixture));
  EXPECT_EQ(
      nodes_of(program, 1),
      (Names{"input_layernorm", "self_attn.q_proj+k_proj+v_proj", "split", "self_attn.q_norm",
             "rope", "self_attn.k_norm", "rope", "kv.put", "attn", "glu", "self_attn.o_proj", "add",
             "post_attention_layernorm", "mlp.gate_proj+up_proj", "glu", "mlp.down_proj", "add"}));
  EXPECT_EQ(nodes_of(program, 2), nodes_of(program, 0));
  EXPECT_EQ(layer_count(program), 4);
  EXPECT_EQ(program.kv_layers.size(), 2u) << "only layers that attend keep keys and values";
  // Per delta net: 3 past inputs of 2 * 16 + 32 channels; 4 heads of 8 x 8.
  EXPECT_EQ(program.state_layers, (std::vector<std::int64_t>{192, 256, 192, 256}));
}

TEST(Qwen3Next, NothingIsRoundedBetweenConvolutionAndNorm) {
  const auto model = load(tiny_next_model(), "types");
  const auto type_of = [&](ValueId id) {
    return model->program->values[static_cast<std::size_t>(id)].type;
  };
  for (const Node& node : model->program->nodes) {
    if (const auto* conv = std::get_if<ConvOp>(&node.op)) {
      EXPECT_EQ(type_of(conv->x[0]), DType::bf16);
      EXPECT_EQ(type_of(conv->y), DType::f32);
    }
    if (const auto* delta = std::get_if<DeltaOp>(&node.op)) {
      for (const ValueId id : {delta->qkv, delta->a, delta->b, delta->y})
        EXPECT_EQ(type_of(id), DType::f32);
    }
  }
}

TEST(Qwen3Next, LayersAreChosenByTheConfig) {
  TinyModel tiny = tiny_next_model();
  tiny.config["num_hidden_layers"] = 1;
  tiny.config["mlp_only_layers"] = {0};
  tiny.config["full_attention_interval"] = 1;  // layer 0 attends: the file's does not
  expect_error(ErrorCode::corrupt, "self_attn.q_proj.weight", [&] { load(tiny, "interval"); });
  tiny = tiny_next_model();
  tiny.config["num_experts"] = 0;  // all plain: layer 0 has no such matrix
  expect_error(ErrorCode::corrupt, "layers.0.mlp.gate_proj.weight",
               [&] { load(tiny, "no-experts"); });
}

TEST(Qwen3Next, TensorsOfAnotherShapeAreNamed) {
  const std::string at = "model.layers.0.linear_attn.";
  for (const char* name : {"conv1d.weight", "A_log", "dt_bias", "norm.weight"}) {
    TinyModel tiny = tiny_next_model();
    tiny.at(at + name) = tensor_of(DType::bf16, {7}, std::vector<float>(7, 1));
    expect_error(ErrorCode::corrupt, at + name, [&] { load(tiny, "shape"); });
    tiny.tensors.erase(at + name);
    expect_error(ErrorCode::corrupt, at + name, [&] { load(tiny, "gone"); });
  }
  TinyModel more = tiny_next_model();
  more.tensors["mtp.fc.weight"] = tensor_of(DType::bf16, {2, 2}, {1, 2, 3, 4});
  expect_error(ErrorCode::corrupt, "mtp.fc.weight", [&] { load(more, "mtp"); });
}

TEST(Qwen3Next, HuggingFacesLayoutIsToldByExpertsOrTaps) {
  const auto model = load(tiny_next_model(), "import");
  const ImportRule rule = find_family(model->config).import_rule;
  const std::string layer = "model.layers.0.";
  const std::string norm = layer + "input_layernorm.weight", mtp = "mtp.layers.0.norm.weight";
  const auto map_of = [&](const std::string& name, Shape shape) {
    TensorMap map;
    map.add(name, {nullptr, DType::bf16, std::move(shape)}, nullptr);
    return map;
  };
  const TensorMap theirs[] = {map_of(layer + "mlp.experts.3.up_proj.weight", {2, 2}),
                              map_of(layer + "linear_attn.conv1d.weight", {8, 1, 4})};
  for (const TensorMap& map : theirs) {
    EXPECT_EQ(rule(model->config, map, norm).at(0).add, 1);
    EXPECT_EQ(rule(model->config, map, layer + "linear_attn.norm.weight").at(0).add, 0);
    EXPECT_EQ(rule(model->config, map, layer + "mlp.gate.weight").at(0).add, 0);
    EXPECT_TRUE(rule(model->config, map, layer + "linear_attn.conv1d.weight").at(0).turned);
    EXPECT_TRUE(rule(model->config, map, mtp).empty());
    EXPECT_TRUE(rule(model->config, map, "mtp.layers.0.mlp.experts.0.up_proj.weight").empty());
  }
  const TensorMap ours = map_of(layer + "linear_attn.conv1d.weight", {8, 4, 1});
  EXPECT_EQ(rule(model->config, ours, norm).at(0).add, 0);
  EXPECT_FALSE(rule(model->config, ours, layer + "linear_attn.conv1d.weight").at(0).turned);
  EXPECT_EQ(rule(model->config, ours, mtp).size(), 1u) << "the door refuses it";
}

}  // namespace
}  // namespace stepless::test
