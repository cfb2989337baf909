// Logits of small models: every format equals its decoded twin, and how a sequence is cut into
// steps changes no bit.
#include "runtime/forward.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/cpu/cpu_backend.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

using Tokens = std::vector<std::int32_t>;

const Tokens kPrompt = {5, 17, 93, 0, 41, 41, 66, 12, 80, 31, 2};

std::shared_ptr<const LoadedModel> load(const std::string& folder, std::optional<DType> act,
                                        std::int64_t step_rows = 16) {
  LoadOptions options;
  options.act = act;
  options.machine = this_machine(2);
  options.step_rows = step_rows;
  return load_model(folder, options);
}

std::vector<float> logits_of(const std::string& folder, std::optional<DType> act = DType::f32,
                             std::int64_t step_rows = 16, int threads = 1) {
  Forward forward(load(folder, act, step_rows), make_cpu_backend(threads), 64);
  return forward.append(kPrompt, static_cast<std::int64_t>(kPrompt.size()));
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  EXPECT_GT(norm, 1);
  return std::sqrt(sum / norm);
}

struct Format {
  const char* name;
  TinyOptions options;
};

const Format kFormats[] = {
    {"b2 g32", {DType::f32, QuantSpec{Mode::affine, 2, 32}}},
    {"b3 g64", {DType::bf16, QuantSpec{Mode::affine, 3, 64}, false}},
    {"b4 g64", {DType::bf16, QuantSpec{Mode::affine, 4, 64}}},
    {"b4 g32 biases", {DType::f16, QuantSpec{Mode::affine, 4, 32}, false, true}},
    {"b8 g64", {DType::f16, QuantSpec{Mode::affine, 8, 64}}},
    {"mxfp4", {DType::bf16, QuantSpec{Mode::mxfp4, 4, 32}}},
    {"mxfp8", {DType::f16, QuantSpec{Mode::mxfp8, 8, 32}, false}},
    {"nvfp4", {DType::bf16, QuantSpec{Mode::nvfp4, 4, 16}}},
    {"nvfp4 with a tensor scale", {DType::f32, QuantSpec{Mode::nvfp4, 4, 16}, false, false, 3.5f}},
};

TEST(Forward, EveryFormatGivesTheLogitsOfWhatItDecodesTo) {
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.name);
    const TinyModel packed = tiny_model(format.options);
    const auto got = logits_of(packed.write("packed"));
    const auto want = logits_of(packed.decoded().write("decoded"));
    EXPECT_LT(difference(got, want), 3e-6);
  }
}

TEST(Forward, DenseTypesGiveTheLogitsOfTheirValuesInF32) {
  for (const DType type : {DType::f16, DType::bf16})
    for (const bool tied : {false, true}) {
      const TinyModel dense = tiny_model({type, {}, tied, !tied});
      TinyModel wide = dense;
      for (auto& [name, tensor] : wide.tensors)
        tensor = tensor_of(DType::f32, tensor.shape, values_of(tensor));
      EXPECT_LT(difference(logits_of(dense.write("dense")), logits_of(wide.write("wide"))), 1e-6)
          << to_string(type);
      // The checkpoint's own type for activations is near, and another computation.
      const double own =
          difference(logits_of(dense.write("dense"), {}), logits_of(wide.write("wide")));
      EXPECT_LT(own, type == DType::f16 ? 5e-3 : 4e-2);
      EXPECT_GT(own, 1e-6);
    }
}

/// nvfp4: a block scale times t / 2688; the same model with both put into f32 weights by hand.
TEST(Forward, ATensorScaleMultipliesEveryBlock) {
  const float t = 1.75f;
  const TinyModel packed = tiny_model({DType::f32, QuantSpec{Mode::nvfp4, 4, 16}, true, false, t});
  TinyModel bare = packed;
  std::vector<std::string> scales;
  for (auto& [name, tensor] : packed.tensors)
    if (name.ends_with(".global_scale")) {
      EXPECT_EQ(values_of(tensor), std::vector<float>{t}) << name;
      bare.tensors.erase(name);
    }
  EXPECT_LT(bare.tensors.size(), packed.tensors.size());
  TinyModel by_hand = bare.decoded();
  for (auto& [name, tensor] : by_hand.tensors) {
    if (!bare.tensors.count(name.substr(0, name.size() - 6) + "scales")) continue;
    std::vector<float> values = values_of(tensor);
    for (float& value : values) value = value * (t / 2688.0f);
    tensor = tensor_of(DType::f32, tensor.shape, values);
  }
  EXPECT_LT(difference(logits_of(packed.write("scaled")), logits_of(by_hand.write("by-hand"))),
            3e-6);
}

TEST(Forward, FormatsThatTheBlockDoesNotNameAreInferred) {
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.name);
    TinyModel named = tiny_model(format.options), silent = named, each = named;
    silent.config.erase("quantization");
    for (const auto& [name, tensor] : named.tensors)
      if (name.ends_with(".scales"))
        each.config["quantization"][name.substr(0, name.size() - 7)] = named.config["quantization"];
    const auto want = logits_of(named.write("named"));
    EXPECT_EQ(logits_of(silent.write("silent")), want);
    EXPECT_EQ(logits_of(each.write("each")), want);
  }
}

TEST(Forward, MixedFormatsInOneModel) {
  TinyModel mixed = tiny_model({DType::bf16, {}, false});
  mixed.config["quantization"] = {{"bits", 4}, {"group_size", 64}};
  const auto pack = [&](const std::string& name, const QuantSpec& spec) {
    mixed.quantize(name, spec);
    mixed.config["quantization"][name] = {{"bits", spec.bits},
                                          {"group_size", spec.group_size},
                                          {"mode", std::string(to_string(spec.mode))}};
  };
  pack("model.embed_tokens", {Mode::affine, 8, 64});
  pack("model.layers.0.self_attn.q_proj", {Mode::affine, 4, 64});
  pack("model.layers.0.self_attn.k_proj", {Mode::affine, 4, 32});
  pack("model.layers.0.self_attn.v_proj", {Mode::affine, 6, 64});
  pack("model.layers.0.mlp.gate_proj", {Mode::mxfp4, 4, 32});
  pack("model.layers.0.mlp.down_proj", {Mode::affine, 5, 128});
  pack("model.layers.1.mlp.up_proj", {Mode::nvfp4, 4, 16});
  pack("lm_head", {Mode::mxfp8, 8, 32});
  mixed.config["quantization"]["model.layers.1.self_attn.q_proj"] = false;
  EXPECT_LT(difference(logits_of(mixed.write("mixed")), logits_of(mixed.decoded().write("plain"))),
            3e-6);
}

TEST(Forward, CutsAndThreadsChangeNoBit) {
  for (const auto act : {DType::f32, DType::f16, DType::bf16}) {
    const std::string folder =
        tiny_model({DType::bf16, QuantSpec{Mode::affine, 4, 64}}).write("cuts");
    const auto whole = logits_of(folder, act);
    for (const std::int64_t rows : {1, 2, 3, 5})
      EXPECT_EQ(logits_of(folder, act, rows), whole) << rows;
    EXPECT_EQ(logits_of(folder, act, 4, 2), whole) << "two threads";
    EXPECT_EQ(logits_of(folder, act, 11, 3), whole) << "three threads";
    Forward one_by_one(load(folder, act), make_cpu_backend(1), 64);
    std::vector<float> got;
    for (const std::int32_t token : kPrompt) {
      const auto logits = one_by_one.append(std::span(&token, 1), 1);
      got.insert(got.end(), logits.begin(), logits.end());
    }
    EXPECT_EQ(got, whole);
    EXPECT_EQ(one_by_one.position(), static_cast<std::int64_t>(kPrompt.size()));
    one_by_one.reset();
    EXPECT_EQ(one_by_one.append(kPrompt, 11), whole);
  }
}

TEST(Forward, CrossesPages) {
  const auto model = load(tiny_model().write("pages"), DType::f32);
  Tokens tokens;
  for (std::int32_t i = 0; i < 200; ++i) tokens.push_back((i * 37 + 5) % 96);
  Forward at_once(model, make_cpu_backend(1), 200), in_parts(model, make_cpu_backend(1), 256);
  const auto want = at_once.append(tokens, 5);
  const std::span all(tokens);
  in_parts.append(all.first(63), 0);
  in_parts.append(all.subspan(63, 2), 1);
  in_parts.append(all.subspan(65, 100), 0);
  EXPECT_EQ(in_parts.append(all.subspan(165), 5), want);
}

TEST(Forward, SequencesInOneStepAreTheirLoneRuns) {
  const auto model = load(tiny_model().write("several"), DType::bf16);
  Forward together(model, make_cpu_backend(2), 8, 3), alone(model, make_cpu_backend(1), 8);
  ASSERT_EQ(together.most_rows(), 16);
  const std::vector<Tokens> texts = {{5, 17, 93, 0}, {5, 17}, {41, 41, 66, 12, 80, 31}};
  std::vector<ForwardRow> rows;
  for (std::size_t p = 0; p < 6; ++p)  // interleaved, each in its order
    for (std::size_t s = 0; s < texts.size(); ++s)
      if (p < texts[s].size()) rows.push_back({static_cast<std::int64_t>(s), texts[s][p]});
  std::vector<float> got(rows.size() * 96);
  together.step(std::span(rows).first(7), got.data());
  together.step(std::span(rows).subspan(7), got.data() + 7 * 96);
  for (std::size_t s = 0; s < texts.size(); ++s) {
    alone.reset();
    const auto want = alone.append(texts[s], static_cast<std::int64_t>(texts[s].size()));
    std::vector<float> mine;
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (rows[i].sequence == static_cast<std::int64_t>(s))
        mine.insert(mine.end(), &got[i * 96], &got[i * 96] + 96);
    EXPECT_EQ(mine, want) << s;
  }
}

TEST(Forward, StepsThatDoNotFitChangeNothing) {
  Forward forward(load(tiny_model().write("steps"), {}), make_cpu_backend(1), 3, 2);
  std::vector<float> logits(16 * 96);
  const auto refused = [&](std::string_view words, const std::vector<ForwardRow>& rows) {
    expect_error(ErrorCode::invalid_argument, words, [&] { forward.step(rows, logits.data()); });
  };
  refused("17 rows in one step; at most 16", std::vector<ForwardRow>(17));
  refused("sequence 2; there are 2", {{0, 1}, {2, 1}});
  refused("sequence -1", {{-1, 1}});
  refused("token 96", {{0, 1}, {1, 96}});
  refused("0 + 4 tokens; the context is 3", {{1, 1}, {1, 1}, {1, 1}, {0, 1}, {1, 1}});
  EXPECT_EQ(forward.position(), 0);
}

TEST(Forward, RefusesWhatDoesNotFit) {
  Forward forward(load(tiny_model().write("refuses"), {}), make_cpu_backend(1), 12);
  forward.append(kPrompt, 1);
  expect_error(ErrorCode::invalid_argument, "11 + 2 tokens; the context is 12", [&] {
    forward.append(Tokens{1, 2}, 1);
  });
  forward.reset();
  for (const std::int32_t id : {-1, 96})
    expect_error(ErrorCode::invalid_argument, fmt::format("token {}", id),
                 [&] { forward.append(Tokens{id}, 1); });
  for (const std::int64_t last : {-1, 2})
    expect_error(ErrorCode::invalid_argument, "logits of",
                 [&] { forward.append(Tokens{1}, last); });
}

}  // namespace
}  // namespace stepless::test
