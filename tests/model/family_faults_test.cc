// Configs that lie, family by family: a field out of range, of another type or missing is an error
// that names the field and what it holds.
#include <gtest/gtest.h>

#include "model/families.hpp"
#include "tests/model/hollow_weights.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Json golden_config(const std::string& name) {
  return read_json(golden_dir() + "/programs/" + name + ".json");
}

void build(const Json& json) {
  const Config config = Config::from_json(json, "c.json");
  HollowWeights weights;
  Builder builder(weights, DType::bf16, 384);
  find_family(config).build(builder, config);
}

struct Fault {
  Json::json_pointer field;  // into config.json
  Json value;                // discarded: the field is taken away
  std::string words;
  ErrorCode code = ErrorCode::corrupt;
};

Json without() { return Json(Json::value_t::discarded); }

void expect_faults(const std::string& name, const std::vector<Fault>& faults) {
  ASSERT_NO_THROW(build(golden_config(name))) << name;
  for (const Fault& fault : faults) {
    SCOPED_TRACE(name + fault.field.to_string() + " = " +
                 (fault.value.is_discarded() ? "nothing" : fault.value.dump()));
    Json json = golden_config(name);
    if (fault.value.is_discarded())
      json.at(fault.field.parent_pointer()).erase(fault.field.back());
    else
      json[fault.field] = fault.value;
    expect_error(fault.code, "c.json: ", [&] { build(json); });
    expect_error(fault.code, fault.words, [&] { build(json); });
  }
}

Json::json_pointer operator""_at(const char* text, std::size_t size) {
  return Json::json_pointer(std::string(text, size));
}

// What read_shape() asks for is tried in transformer_test; here, that every family goes through it.
TEST(FamilyFaults, SizesOfEveryFamily) {
  for (const char* name :
       {"llama3_tied", "mistral", "smollm3", "qwen2", "qwen3", "phi3", "granite", "olmo2", "gemma",
        "gemma2", "gemma3_text", "mixtral", "qwen3_moe", "gpt_oss", "qwen3_next"})
    expect_faults(name, {{"/hidden_size"_at, 0, "hidden_size is 0"},
                         {"/num_hidden_layers"_at, without(), "no num_hidden_layers"},
                         {"/num_attention_heads"_at, "4", "num_attention_heads is \"4\""},
                         {"/num_key_value_heads"_at, 3, "num_key_value_heads 3"},
                         {"/rms_norm_eps"_at, -1, "rms_norm_eps is -1"},
                         {"/vocab_size"_at, 2.5, "vocab_size is 2.5"},
                         {"/rope_theta"_at, 0, "rope_theta is 0"}});
}

TEST(FamilyFaults, Gemma3) {
  expect_faults("gemma3_text",
                {{"/sliding_window"_at, 0, "sliding_window is 0"},
                 {"/sliding_window"_at, true, "sliding_window is true"},
                 {"/sliding_window_pattern"_at, 0, "sliding_window_pattern is 0"},
                 {"/sliding_window_pattern"_at, -6, "sliding_window_pattern is -6"},
                 {"/sliding_window_pattern"_at, 4097, "sliding_window_pattern is 4097"},
                 {"/query_pre_attn_scalar"_at, 0, "query_pre_attn_scalar is 0"},
                 {"/query_pre_attn_scalar"_at, "64", "query_pre_attn_scalar is \"64\""},
                 {"/rope_local_base_freq"_at, 0.5, "rope_local_base_freq is 0.5"},
                 {"/rope_local_base_freq"_at, Json::array(), "rope_local_base_freq is []"}});
}

TEST(FamilyFaults, Gemma2) {
  expect_faults("gemma2", {{"/attn_logit_softcapping"_at, 0, "attn_logit_softcapping is 0"},
                           {"/final_logit_softcapping"_at, -30, "final_logit_softcapping is -30"},
                           {"/query_pre_attn_scalar"_at, -1, "query_pre_attn_scalar is -1"}});
}

TEST(FamilyFaults, Phi3) {
  expect_faults("phi3", {{"/hidden_act"_at, "gelu", "hidden_act \"gelu\"", ErrorCode::unsupported},
                         {"/partial_rotary_factor"_at, 0, "partial_rotary_factor is 0"},
                         {"/partial_rotary_factor"_at, 1.5, "partial_rotary_factor is 1.5"},
                         {"/partial_rotary_factor"_at, 0.01, "partial_rotary_factor 0.01"},
                         {"/partial_rotary_factor"_at, 0.1, "partial_rotary_factor 0.1"}});
}

TEST(FamilyFaults, Phi3Longrope) {
  Json eleven = golden_config("phi3_longrope").at("rope_scaling").at("long_factor");
  eleven.erase(0);
  expect_faults(
      "phi3_longrope",
      {{"/rope_scaling/long_factor"_at, without(), "long_factor; a list of 12 numbers"},
       {"/rope_scaling/long_factor"_at, eleven, "long_factor; a list of 12 numbers"},
       {"/rope_scaling/long_factor"_at, 3, "long_factor; a list of 12 numbers"},
       {"/rope_scaling/long_factor/4"_at, 0, "long_factor[4] is 0"},
       {"/rope_scaling/long_factor/11"_at, "1", "long_factor[11] is \"1\""},
       {"/rope_scaling/long_factor/0"_at, -1, "long_factor[0] is -1"},
       {"/rope_scaling/type"_at, "su2", "\"su2\"", ErrorCode::unsupported},
       {"/partial_rotary_factor"_at, 0.5, "long_factor; a list of 8 numbers"},
       {"/original_max_position_embeddings"_at, 1, "original_max_position_embeddings is 1"},
       {"/original_max_position_embeddings"_at, "4k", "original_max_position_embeddings is \"4k\""},
       {"/max_position_embeddings"_at, 0, "max_position_embeddings is 0"},
       {"/rope_scaling/original_max_position_embeddings"_at, 0,
        "original_max_position_embeddings is 0"},
       {"/rope_scaling/original_max_position_embeddings"_at, 1, "longrope"}});
}

TEST(FamilyFaults, Granite) {
  std::vector<Fault> faults = {{"/logits_scaling"_at, 0, "logits_scaling is 0"},
                               {"/logits_scaling"_at, without(), "no logits_scaling"},
                               {"/attention_bias"_at, 1, "attention_bias is 1"},
                               {"/mlp_bias"_at, "no", "mlp_bias is \"no\""}};
  for (const std::string name :
       {"residual_multiplier", "attention_multiplier", "embedding_multiplier"}) {
    const Json::json_pointer field("/" + name);
    faults.push_back({field, without(), "no " + name});
    faults.push_back({field, 1e7, name + " is 1"});
    faults.push_back({field, "0.5", name + " is \"0.5\""});
  }
  expect_faults("granite", faults);
}

TEST(FamilyFaults, Olmo2) {
  expect_faults("olmo2", {{"/attention_bias"_at, "yes", "attention_bias is \"yes\""},
                          {"/mlp_bias"_at, 0, "mlp_bias is 0"},
                          {"/hidden_act"_at, "relu", "\"relu\"", ErrorCode::unsupported},
                          {"/hidden_act"_at, 3, "hidden_act is 3"},
                          {"/rope_scaling"_at, "linear", "rope_scaling is \"linear\""}});
}

TEST(FamilyFaults, Smollm3) {
  expect_faults(
      "smollm3",
      {{"/no_rope_layers"_at, Json::array({1}), "no_rope_layers has 1 entries"},
       {"/no_rope_layers"_at, Json::array({1, 0, 1}), "no_rope_layers has 3 entries"},
       {"/no_rope_layers"_at, "10", "no_rope_layers is \"10\""},
       {"/no_rope_layers/1"_at, "no", "no_rope_layers[1] is \"no\""},
       {"/no_rope_layers/0"_at, 2, "no_rope_layers[0] is 2"},
       {"/no_rope_layers/0"_at, nullptr, "no_rope_layers[0] is null"},
       {"/layer_types"_at, Json::array({"full_attention"}), "layer_types has 1 entries"}});
  Json json = golden_config("smollm3");
  json.erase("no_rope_layers");
  json["no_rope_layer_interval"] = 0;
  expect_error(ErrorCode::corrupt, "no_rope_layer_interval is 0", [&] { build(json); });
  // true and false are as good as 1 and 0.
  json["no_rope_layers"] = {true, false};
  EXPECT_NO_THROW(build(json));
}

TEST(FamilyFaults, Mixtures) {
  for (const char* name : {"mixtral", "qwen3_moe", "gpt_oss"}) {
    const std::string experts =
        std::string(name) == "qwen3_moe" ? "num_experts" : "num_local_experts";
    const Json::json_pointer field("/" + experts);
    expect_faults(name, {{field, without(), "no " + experts},
                         {field, 0, experts + " is 0"},
                         {field, 65537, experts + " is 65537"},
                         {field, 1, "num_experts_per_tok 2 of 1 experts"},
                         {"/num_experts_per_tok"_at, without(), "no num_experts_per_tok"},
                         {"/num_experts_per_tok"_at, 0, "num_experts_per_tok is 0"},
                         {"/num_experts_per_tok"_at, 65, "num_experts_per_tok is 65"}});
  }
  expect_faults("qwen3_moe",
                {{"/moe_intermediate_size"_at, 0, "moe_intermediate_size is 0"},
                 {"/decoder_sparse_step"_at, 0, "decoder_sparse_step is 0"},
                 {"/norm_topk_prob"_at, 1, "norm_topk_prob is 1"},
                 {"/mlp_only_layers"_at, Json::array({-1}), "mlp_only_layers holds -1"},
                 {"/mlp_only_layers"_at, Json::array({99}), "mlp_only_layers holds 99"},
                 {"/mlp_only_layers"_at, 1, "mlp_only_layers is 1"}});
}

TEST(FamilyFaults, GptOss) {
  expect_faults(
      "gpt_oss",
      {{"/swiglu_limit"_at, 0, "swiglu_limit is 0"},
       {"/swiglu_limit"_at, -7, "swiglu_limit is -7"},
       {"/swiglu_limit"_at, "7", "swiglu_limit is \"7\""},
       {"/sliding_window"_at, without(), "no sliding_window"},
       {"/sliding_window"_at, 0, "sliding_window is 0"},
       {"/layer_types"_at, Json::array({"full_attention"}), "layer_types has 1 entries"},
       {"/layer_types/0"_at, "chunked_attention", "layer_types[0] is", ErrorCode::unsupported},
       {"/rope_scaling/factor"_at, without(), "rope scaling has no factor"},
       {"/rope_scaling/beta_fast"_at, 0, "beta_fast is 0"},
       {"/hidden_act"_at, "gelu", "\"gelu\"", ErrorCode::unsupported}});
}

TEST(FamilyFaults, Qwen3Next) {
  expect_faults(
      "qwen3_next",
      {{"/linear_num_key_heads"_at, without(), "no linear_num_key_heads"},
       {"/linear_num_key_heads"_at, 0, "linear_num_key_heads is 0"},
       {"/linear_num_key_heads"_at, 3, "linear_num_value_heads 4 is no multiple of"},
       {"/linear_num_value_heads"_at, -4, "linear_num_value_heads is -4"},
       {"/linear_key_head_dim"_at, 257, "linear_key_head_dim is 257; a whole number from 1 to 256"},
       {"/linear_value_head_dim"_at, 0, "linear_value_head_dim is 0"},
       {"/linear_conv_kernel_dim"_at, 9, "linear_conv_kernel_dim is 9; a whole number from 1 to 8"},
       {"/linear_conv_kernel_dim"_at, 0, "linear_conv_kernel_dim is 0"},
       {"/full_attention_interval"_at, 0, "full_attention_interval is 0"},
       {"/partial_rotary_factor"_at, without(), "no partial_rotary_factor"},
       {"/partial_rotary_factor"_at, 1.5, "partial_rotary_factor is 1.5"},
       {"/partial_rotary_factor"_at, 0.02,
        "partial_rotary_factor 0.02 of head_dim 64 is 1 elements"},
       {"/partial_rotary_factor"_at, 0.05, "is 3 elements; an even number"},
       {"/num_experts"_at, without(), "no num_experts"},
       {"/num_experts"_at, -1, "num_experts is -1"},
       {"/num_experts_per_tok"_at, 5, "num_experts_per_tok 5 of 4 experts"},
       {"/moe_intermediate_size"_at, 0, "moe_intermediate_size is 0"},
       {"/shared_expert_intermediate_size"_at, 0, "shared_expert_intermediate_size is 0"},
       {"/mlp_only_layers"_at, Json::array({2}), "mlp_only_layers holds 2; layers from 0 to 1"},
       {"/norm_topk_prob"_at, 1, "norm_topk_prob is 1"},
       {"/attention_bias"_at, 1, "attention_bias is 1"},
       {"/hidden_act"_at, "gelu", "\"gelu\"", ErrorCode::unsupported}});
}

/// Without layer_types sliding layers and full ones take turns, as in mlx-lm; no other field says
/// so.
TEST(FamilyFaults, GptOssWithoutLayerTypes) {
  Json json = golden_config("gpt_oss");
  json.erase("layer_types");
  json["num_hidden_layers"] = 3;
  const auto windows = [&] {
    const Config config = Config::from_json(json, "c.json");
    HollowWeights weights;
    Builder builder(weights, DType::bf16, 384);
    find_family(config).build(builder, config);
    std::vector<std::int64_t> all;
    for (const Node& node : builder.finish().nodes)
      if (const auto* attn = std::get_if<AttnOp>(&node.op)) all.push_back(attn->window);
    return all;
  };
  EXPECT_EQ(windows(), (std::vector<std::int64_t>{16, 0, 16}));
  json.erase("sliding_window");
  EXPECT_EQ(windows(), (std::vector<std::int64_t>{128, 0, 128}));
}

}  // namespace
}  // namespace stepless::test
