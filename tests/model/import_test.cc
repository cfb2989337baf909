// Tensors as Hugging Face publishes them become those that a family asks for: byte for byte, and
// with nothing left over.
#include "model/import.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <span>

#include "format/dtype.hpp"
#include "model/families.hpp"
#include "tests/model/hollow_weights.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Config config_of(const std::string& name) {
  return Config::from_json(read_json(golden_dir() + "/programs/" + name + ".json"), "c.json");
}

/// Bytes that differ from tensor to tensor and along each.
Tensor numbered(const std::string& name, DType type, Shape shape) {
  Tensor tensor{{}, type, std::move(shape)};
  tensor.data.resize(static_cast<std::size_t>(bytes_of(tensor.shape, type, name)));
  std::uint64_t state = 99;
  for (const char c : name) state = state * 131 + static_cast<unsigned char>(c);
  for (std::byte& byte : tensor.data)
    byte = static_cast<std::byte>((state = state * 6364136223846793005u + 1) >> 56);
  return tensor;
}

struct Published {
  TensorMap tensors;
  std::map<std::string, Tensor> by_name;

  void add(const std::string& name, DType type, Shape shape) {
    by_name[name] = numbered(name, type, shape);
    tensors.add(name, by_name[name]);
  }
};

std::map<std::string, Tensor> imported(const std::string& family, const Published& published) {
  const Config config = config_of(family);
  std::map<std::string, Tensor> all;
  for (const ImportedTensor& one :
       import_tensors(find_family(config).import_rule, config, published.tensors)) {
    Tensor tensor{{}, one.type, one.shape};
    const auto part = static_cast<std::size_t>(source_bytes(one));
    tensor.data.resize(part * one.sources.size());
    EXPECT_EQ(static_cast<std::int64_t>(tensor.data.size()), bytes_of(one.shape, one.type, ""));
    for (std::size_t i = 0; i < one.sources.size(); ++i)
      copy_source(one, i, published.tensors, std::span(tensor.data).subspan(i * part, part));
    EXPECT_TRUE(all.emplace(one.name, std::move(tensor)).second) << one.name;
  }
  return all;
}

/// Names that the family's build() asks for.
std::set<std::string> asked_by(const std::string& family) {
  const Config config = config_of(family);
  HollowWeights weights;
  Builder builder(weights, DType::bf16, 384);
  find_family(config).build(builder, config);
  return weights.asked;
}

/// The bytes of several tensors, one after another.
std::vector<std::byte> joined(const Published& published, const std::vector<std::string>& names) {
  std::vector<std::byte> bytes;
  for (const std::string& name : names) {
    const Tensor& one = published.by_name.at(name);
    bytes.insert(bytes.end(), one.data.begin(), one.data.end());
  }
  return bytes;
}

TEST(ParseExpert, FindsTheIndexBetweenTwoDots) {
  const auto found = parse_expert("model.layers.3.mlp.experts.12.up_proj.weight");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->prefix, "model.layers.3.mlp");
  EXPECT_EQ(found->index, 12);
  EXPECT_EQ(found->rest, "up_proj.weight");
  for (const char* other : {"model.layers.3.mlp.gate.weight", "mlp.experts.gate_proj.weight",
                            "mlp.experts.-1.w1.weight", "mlp.experts.1", "mlp.experts.",
                            "mlp.experts.1w.weight", "mlp.experts.99999999999999999999.w1.weight"})
    EXPECT_FALSE(parse_expert(other).has_value()) << other;
}

TEST(Import, PlainNamesStayAndTheNeedlessGoes) {
  Published published;
  published.add("model.norm.weight", DType::bf16, {8});
  published.add("model.layers.0.self_attn.rotary_emb.inv_freq", DType::f32, {4});
  published.add("lm_head.weight", DType::bf16, {6, 8});
  const auto tied = imported("llama3_tied", published);
  ASSERT_EQ(tied.size(), 1u);
  EXPECT_EQ(tied.at("model.norm.weight").data, published.by_name.at("model.norm.weight").data);
  EXPECT_EQ(tied.at("model.norm.weight").shape, (Shape{8}));
  const auto untied = imported("llama3_untied", published);
  EXPECT_EQ(untied.size(), 2u);
  EXPECT_EQ(untied.at("lm_head.weight").data, published.by_name.at("lm_head.weight").data);
}

TEST(Import, EveryFamilyKeepsTheNamesOfMlxItself) {
  for (const char* name :
       {"llama3_tied", "mistral", "smollm3", "qwen2", "qwen3", "phi3", "granite", "olmo2", "gemma",
        "gemma2", "gemma3_text", "mixtral", "qwen3_moe", "qwen3_next", "gpt_oss"}) {
    Published published;
    for (const std::string& tensor : asked_by(name)) published.add(tensor, DType::bf16, {2});
    std::set<std::string> names;
    for (const auto& [tensor, value] : imported(name, published)) {
      names.insert(tensor);
      EXPECT_EQ(value.data, published.by_name.at(tensor).data) << tensor;
    }
    EXPECT_EQ(names, asked_by(name)) << name;
  }
}

struct MoeNames {
  const char* family;
  const char* block;
  std::vector<std::pair<std::string, std::string>> parts;  // published, ours
};

TEST(Import, ExpertsOneByOneAreStacked) {
  const MoeNames both[] = {
      {"mixtral",
       "block_sparse_moe",
       {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}}},
      {"qwen3_moe",
       "mlp",
       {{"gate_proj", "gate_proj"}, {"down_proj", "down_proj"}, {"up_proj", "up_proj"}}}};
  for (const MoeNames& moe : both) {
    const Config config = config_of(moe.family);
    const char* count = std::string(moe.family) == "mixtral" ? "num_local_experts" : "num_experts";
    const std::int64_t experts = config.integer(count, 1, 100);
    Published published;
    const std::string block = std::string("model.layers.1.") + moe.block;
    for (std::int64_t e = 0; e < experts; ++e)
      for (const auto& [theirs, ours] : moe.parts)
        published.add(block + ".experts." + std::to_string(e) + "." + theirs + ".weight",
                      DType::bf16, {3, 4});
    published.add(block + ".gate.weight", DType::bf16, {experts, 4});
    const auto got = imported(moe.family, published);
    EXPECT_EQ(got.size(), 4u);
    EXPECT_EQ(got.at(block + ".gate.weight").shape, (Shape{experts, 4}));
    for (const auto& [theirs, ours] : moe.parts) {
      std::vector<std::string> names;
      for (std::int64_t e = 0; e < experts; ++e)
        names.push_back(block + ".experts." + std::to_string(e) + "." + theirs + ".weight");
      const Tensor& stack = got.at(block + ".switch_mlp." + ours + ".weight");
      EXPECT_EQ(stack.shape, (Shape{experts, 3, 4}));
      EXPECT_EQ(stack.data, joined(published, names)) << ours;
    }
  }
}

/// Ten experts and more: by number, not by name.
TEST(Import, SlotsAreNumbers) {
  Json json = read_json(golden_dir() + "/programs/qwen3_moe.json");
  json["num_experts"] = 12;
  Published published;
  std::vector<std::string> names;
  for (int e = 0; e < 12; ++e) {
    names.push_back("m.experts." + std::to_string(e) + ".up_proj.weight");
    published.add(names.back(), DType::f16, {2, 2});
  }
  const Config config = Config::from_json(json, "c.json");
  const auto all = import_tensors(find_family(config).import_rule, config, published.tensors);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].sources, names);
}

TEST(Import, GptOssTakesTwoMatricesApart) {
  constexpr std::int64_t kExperts = 4, kInner = 3, kGroups = 2;
  const std::string stack = "model.layers.0.mlp.experts.";
  Published published;
  published.add(stack + "gate_up_proj_blocks", DType::u8, {kExperts, 2 * kInner, kGroups, 16});
  published.add(stack + "gate_up_proj_scales", DType::u8, {kExperts, 2 * kInner, kGroups});
  published.add(stack + "gate_up_proj_bias", DType::bf16, {kExperts, 2 * kInner});
  published.add(stack + "down_proj_blocks", DType::u8, {kExperts, 5, kGroups, 16});
  published.add(stack + "down_proj_scales", DType::u8, {kExperts, 5, kGroups});
  published.add(stack + "down_proj_bias", DType::bf16, {kExperts, 5});
  published.add("model.layers.0.mlp.router.bias", DType::bf16, {kExperts});
  published.add("model.layers.0.self_attn.sinks", DType::bf16, {4});
  const auto got = imported("gpt_oss", published);
  EXPECT_EQ(got.size(), 11u);
  struct Case {
    const char* end;
    const char* from;
    DType type;
    Shape shape;
    std::size_t line;  // bytes
  };
  const Case cases[] = {
      {"weight", "blocks", DType::u32, {kExperts, kInner, kGroups * 4}, kGroups * 16},
      {"scales", "scales", DType::u8, {kExperts, kInner, kGroups}, kGroups},
      {"bias", "bias", DType::bf16, {kExperts, kInner}, 2}};
  for (const Case& c : cases) {
    const std::vector<std::byte>& from =
        published.by_name.at(stack + "gate_up_proj_" + c.from).data;
    std::vector<std::byte> lines[2];
    for (std::size_t i = 0; i < from.size() / c.line; ++i)
      lines[i % 2].insert(lines[i % 2].end(),
                          from.begin() + static_cast<std::ptrdiff_t>(i * c.line),
                          from.begin() + static_cast<std::ptrdiff_t>((i + 1) * c.line));
    for (int odd = 0; odd < 2; ++odd) {
      const Tensor& one = got.at(stack + (odd == 1 ? "up" : "gate") + "_proj." + c.end);
      EXPECT_EQ(one.type, c.type);
      EXPECT_EQ(one.shape, c.shape) << c.end;
      EXPECT_EQ(one.data, lines[odd]) << c.end;
    }
    EXPECT_EQ(got.at(stack + "down_proj." + c.end).data,
              published.by_name.at(stack + "down_proj_" + c.from).data);
  }
  EXPECT_EQ(got.at(stack + "down_proj.weight").shape, (Shape{kExperts, 5, kGroups * 4}));
  EXPECT_EQ(got.at(stack + "down_proj.weight").type, DType::u32);
}

void refused(const std::string& family, ErrorCode code, const std::string& words,
             const Published& published) {
  SCOPED_TRACE(words);
  expect_error(code, words, [&] { imported(family, published); });
}

/// What qwen3_next's norms and convolutions ask for; any rule may.
TEST(Import, NormsAroundOneAndTurnedTaps) {
  const ImportRule rule = [](const Config& config, const TensorMap& published,
                             std::string_view name) {
    std::vector<Piece> pieces = import_plain(config, published, name);
    pieces[0].turned = name.ends_with("conv1d.weight");
    pieces[0].add = name.ends_with("norm.weight") ? 1 : 0;
    return pieces;
  };
  const Config config = config_of("qwen3_moe");
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    Published published;
    published.by_name["norm.weight"] = Tensor{{}, type, {5}};
    const float values[] = {0, -1, 0.5f, 0.015625f, -0.25f};
    Tensor& norm = published.by_name["norm.weight"];
    norm.data.resize(5 * static_cast<std::size_t>(size_of(type)));
    from_f32(values, type, norm.data.data(), 5);
    published.tensors.add("norm.weight", norm);
    published.add("conv1d.weight", type, {3, 1, 4});
    const auto all = import_tensors(rule, config, published.tensors);
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].name, "conv1d.weight");
    EXPECT_EQ(all[0].shape, (Shape{3, 4, 1}));
    std::vector<std::byte> taps(static_cast<std::size_t>(source_bytes(all[0])));
    copy_source(all[0], 0, published.tensors, taps);
    EXPECT_EQ(taps, published.by_name.at("conv1d.weight").data);
    std::vector<std::byte> bytes(norm.data.size());
    copy_source(all[1], 0, published.tensors, bytes);
    float sums[5];
    to_f32(bytes.data(), type, sums, 5);
    const float want[] = {1, 0, 1.5f, 1.015625f, 0.75f};
    for (int i = 0; i < 5; ++i) EXPECT_EQ(sums[i], want[i]) << i;
  }
  Published flat;
  flat.add("conv1d.weight", DType::bf16, {3, 2, 4});
  expect_error(ErrorCode::corrupt, "conv1d.weight: shape [3, 2, 4]; taps of each channel",
               [&] { import_tensors(rule, config, flat.tensors); });
  Published codes;
  codes.add("norm.weight", DType::u8, {3});
  expect_error(ErrorCode::corrupt, "norm.weight: u8",
               [&] { import_tensors(rule, config, codes.tensors); });
}

TEST(Import, StacksWithHoles) {
  const auto expert = [](int e) { return "m.experts." + std::to_string(e) + ".w1.weight"; };
  Published hole;
  for (const int e : {0, 1, 3}) hole.add(expert(e), DType::bf16, {2, 2});
  refused("mixtral", ErrorCode::corrupt, "m.switch_mlp.gate_proj.weight: expert 2 of 4", hole);
  Published last;
  for (const int e : {0, 1, 2}) last.add(expert(e), DType::bf16, {2, 2});
  refused("mixtral", ErrorCode::corrupt, "expert 3 of 4 is not there", last);
  Published first;
  for (const int e : {1, 2, 3}) first.add(expert(e), DType::bf16, {2, 2});
  refused("mixtral", ErrorCode::corrupt, "expert 0 of 4 is not there", first);
  Published beyond;
  for (int e = 0; e < 5; ++e) beyond.add(expert(e), DType::bf16, {2, 2});
  refused("mixtral", ErrorCode::corrupt, "m.experts.4.w1.weight: expert 4; config.json has 4",
          beyond);
  Published twice;
  for (int e = 0; e < 4; ++e) twice.add(expert(e), DType::bf16, {2, 2});
  twice.add("m.experts.01.w1.weight", DType::bf16, {2, 2});
  refused("mixtral", ErrorCode::corrupt, "one of them is too many", twice);
  Published both;
  for (int e = 0; e < 4; ++e) both.add(expert(e), DType::bf16, {2, 2});
  both.add("m.switch_mlp.gate_proj.weight", DType::bf16, {4, 2, 2});
  refused("mixtral", ErrorCode::corrupt, "one of them is too many", both);
}

TEST(Import, StacksOfUnequalParts) {
  for (const bool type : {false, true}) {
    Published uneven;
    for (int e = 0; e < 4; ++e)
      uneven.add("m.experts." + std::to_string(e) + ".w2.weight",
                 type && e == 2 ? DType::f32 : DType::bf16, {2, !type && e == 2 ? 3 : 2});
    refused("mixtral", ErrorCode::corrupt, "m.experts.2.w2.weight: ", uneven);
  }
  Published named;
  named.add("m.experts.0.w4.weight", DType::bf16, {2, 2});
  refused("mixtral", ErrorCode::corrupt, "m.experts.0.w4.weight: an expert of mixtral has", named);
}

TEST(Import, GptOssShapesThatDoNotFit) {
  const std::string stack = "model.layers.0.mlp.experts.";
  struct Case {
    const char* name;
    DType type;
    Shape shape;
    const char* words;
    ErrorCode code = ErrorCode::corrupt;
  };
  const Case cases[] = {
      {"gate_up_proj_blocks", DType::u8, {2, 5, 1, 16}, "an even second axis"},
      {"gate_up_proj_scales", DType::u8, {4}, "an even second axis"},
      {"down_proj_blocks", DType::bf16, {2, 4, 1, 16}, "codes of experts are bytes"},
      {"down_proj_blocks", DType::u8, {2, 4, 16}, "codes of experts are bytes"},
      {"down_proj_blocks", DType::u8, {2, 4, 1, 15}, "codes of experts are bytes"},
      {"gate_up_proj", DType::bf16, {2, 4, 6}, "gate_up_proj_blocks", ErrorCode::unsupported},
      {"down_proj", DType::bf16, {2, 4, 6}, "not packed", ErrorCode::unsupported}};
  for (const Case& c : cases) {
    Published published;
    published.add(stack + c.name, c.type, c.shape);
    refused("gpt_oss", c.code, stack + c.name, published);
    refused("gpt_oss", c.code, c.words, published);
  }
}

}  // namespace
}  // namespace stepless::test
