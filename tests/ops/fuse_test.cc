// Which linear operations join, and that joining changes no bit of what is computed.
#include "ops/fuse.hpp"

#include <gtest/gtest.h>

#include "tests/ops/toy_program.hpp"
#include "tests/ops/toy_run.hpp"

namespace stepless::test {
namespace {

std::vector<std::string> linear_names(const Program& program) {
  std::vector<std::string> names;
  for (const Node& node : program.nodes)
    if (std::holds_alternative<LinearOp>(node.op)) names.push_back(node.name);
  return names;
}

TEST(Fuse, JoinsWhatReadsTheSameValue) {
  ToyWeights weights(DType::f32);
  const Program plain = toy_decoder(weights, DType::f32);
  EXPECT_EQ(linear_names(plain).size(), 2 * 7 + 1u);
  const Program fused = fuse(plain);
  const std::vector<std::string> layer = {"attn.q+k+v", "attn.o", "mlp.gate+up", "mlp.down"};
  std::vector<std::string> want = layer;
  want.insert(want.end(), layer.begin(), layer.end());
  want.push_back("lm_head");
  EXPECT_EQ(linear_names(fused), want);
  EXPECT_EQ(fused.nodes.size(), plain.nodes.size() - 6);
  for (const Node& node : fused.nodes) {
    const auto* linear = std::get_if<LinearOp>(&node.op);
    if (linear == nullptr || node.name != "attn.q+k+v") continue;
    ASSERT_EQ(linear->parts.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string name = std::vector<std::string>{"q", "k", "v"}[i];
      EXPECT_EQ(fused.matrices[static_cast<std::size_t>(linear->parts[i].weight)].name,
                "layers." + std::to_string(node.layer) + ".attn." + name);
    }
  }
}

TEST(Fuse, TwiceIsOnce) {
  ToyWeights weights(DType::f32);
  const Program once = fuse(toy_decoder(weights, DType::f32));
  EXPECT_EQ(linear_names(fuse(once)), linear_names(once));
}

TEST(Fuse, ChangesNoBit) {
  const std::optional<QuantSpec> specs[] = {
      {}, QuantSpec{Mode::affine, 4, 32}, QuantSpec{Mode::mxfp8, 8, 32}};
  for (const auto& spec : specs)
    for (const DType act : {DType::f32, DType::bf16}) {
      ToyWeights weights(DType::bf16, spec);
      const Program plain = toy_decoder(weights, act);
      for (const int threads : {1, 2}) {
        const auto want = run_toy(planned(plain, 12), {3, 1, 4, 1, 5, 9, 2, 6}, 1);
        EXPECT_EQ(run_toy(planned(fuse(plain), 12), {3, 1, 4, 1, 5, 9, 2, 6}, threads), want);
      }
    }
}

}  // namespace
}  // namespace stepless::test
