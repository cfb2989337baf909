// What a family's calls become: nodes, values and weights by name, shared where they are the same.
#include "ops/builder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/ops/toy_program.hpp"

namespace stepless::test {
namespace {

const Value& value(const Program& program, ValueId id) {
  return program.values[static_cast<std::size_t>(id)];
}

template <class T>
std::vector<const T*> all_of(const Program& program) {
  std::vector<const T*> found;
  for (const Node& node : program.nodes)
    if (const T* op = std::get_if<T>(&node.op)) found.push_back(op);
  return found;
}

TEST(Builder, WeightsAreAskedForByFullNameOnce) {
  ToyWeights weights(DType::f32);
  const Program program = toy_decoder(weights, DType::f32);
  const auto times = [&](const std::string& name) {
    return std::count(weights.asked.begin(), weights.asked.end(), name);
  };
  EXPECT_EQ(times("embed"), 1) << "the tied head shares the table";
  EXPECT_EQ(times("layers.1.attn.q"), 1);
  EXPECT_EQ(times("layers.1.attn.q.bias"), 1);
  EXPECT_EQ(times("layers.0.attn.k_norm.weight"), 1);
  EXPECT_EQ(times("norm.weight"), 1);
  EXPECT_EQ(program.matrices.size(), 1 + 2 * 7u);
  const auto heads = all_of<LinearOp>(program);
  EXPECT_EQ(heads.back()->parts[0].weight, all_of<EmbedOp>(program)[0]->table);
}

TEST(Builder, EveryValueIsWrittenOnceBeforeItIsRead) {
  ToyWeights weights(DType::f32);
  Program program = toy_decoder(weights, DType::bf16, Mlp::mixture);
  std::set<ValueId> written;
  for (Node& node : program.nodes) {
    std::vector<ValueId> outputs;
    visit_values(node.op, [&](ValueId id, bool writes) {
      if (writes)
        outputs.push_back(id);
      else
        EXPECT_TRUE(written.count(id)) << node.name << " reads " << value(program, id).name;
    });
    for (const ValueId id : outputs)
      EXPECT_TRUE(written.insert(id).second) << value(program, id).name << " written twice";
  }
  EXPECT_EQ(written.size(), program.values.size());
  EXPECT_TRUE(std::holds_alternative<SampleOp>(program.nodes.back().op));
}

TEST(Builder, EqualRopesShareTheirAngles) {
  ToyWeights weights(DType::f32);
  EXPECT_EQ(all_of<AnglesOp>(toy_decoder(weights, DType::f32)).size(), 1u);
  Builder b(weights, DType::f32, kToyVocab);
  const ValueId h = b.embed("embed", kToyHidden);
  b.layer(3, "l.");
  const ValueId first = b.rope(h, toy_rope(100), 4, 16), second = b.rope(h, toy_rope(200), 4, 16);
  b.rope(first, toy_rope(100), 4, 16);
  b.rope(second, toy_rope(200), 4, 16);
  const Program program = b.finish();
  EXPECT_EQ(all_of<AnglesOp>(program).size(), 2u);
  const auto ropes = all_of<RopeOp>(program);
  ASSERT_EQ(ropes.size(), 4u);
  EXPECT_EQ(ropes[0]->angles, ropes[2]->angles);
  EXPECT_EQ(ropes[1]->angles, ropes[3]->angles);
  EXPECT_NE(ropes[0]->angles, ropes[1]->angles);
  EXPECT_EQ(program.nodes[0].layer, -1) << "angles belong to no layer";
}

TEST(Builder, ShapesAndTypesOfValues) {
  ToyWeights weights(DType::f32);
  const Program program = toy_decoder(weights, DType::f16);
  EXPECT_EQ(program.act, DType::f16);
  const auto attn = all_of<AttnOp>(program);
  ASSERT_EQ(attn.size(), 2u);
  EXPECT_EQ(value(program, attn[0]->y).width, 64);
  EXPECT_EQ(value(program, attn[0]->y).type, DType::f16);
  EXPECT_EQ(attn[1]->window, 3);
  EXPECT_EQ(attn[1]->kv_layer, 1);
  ASSERT_EQ(program.kv_layers.size(), 2u);
  EXPECT_EQ(program.kv_layers[0].kv_heads, 2);
  EXPECT_EQ(program.kv_layers[0].k_dim, 16);
  EXPECT_EQ(program.kv_layers[0].v_dim, 16);
  const Value& logits = value(program, all_of<SampleOp>(program)[0]->logits);
  EXPECT_EQ(logits.type, DType::f32);
  EXPECT_EQ(logits.width, kToyVocab);
  EXPECT_EQ(logits.rows, Rows::sampled);
  EXPECT_EQ(value(program, all_of<TakeOp>(program)[0]->x).rows, Rows::step);
  EXPECT_EQ(value(program, all_of<TakeOp>(program)[0]->y).rows, Rows::sampled);
  const auto adds = all_of<AddOp>(program);
  EXPECT_EQ(adds[0]->b, kNone) << "a bias is a row";
  EXPECT_NE(adds[0]->row, kNone);
  EXPECT_EQ(adds.back()->softcap, 30);
  EXPECT_EQ(adds.back()->a_scale, 0.5f);
}

TEST(Builder, RowsOfOneMatrixAsSeveralValues) {
  ToyWeights weights(DType::bf16, QuantSpec{Mode::affine, 4, 32});
  Builder b(weights, DType::f32, kToyVocab);
  const ValueId h = b.embed("embed", kToyHidden);
  const std::vector<ValueId> parts = b.linear_rows(h, "qkv", {16, 8, 24});
  const Program program = b.finish();
  ASSERT_EQ(parts.size(), 3u);
  const auto& linear = *all_of<LinearOp>(program)[0];
  ASSERT_EQ(linear.parts.size(), 3u);
  const TensorView& first = program.matrices[1].w;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const Matrix& w = program.matrices[static_cast<std::size_t>(linear.parts[i].weight)];
    EXPECT_EQ(w.n, value(program, parts[i]).width);
    EXPECT_EQ(w.w.shape, (Shape{w.n, 8}));
    EXPECT_EQ(w.scales.shape, (Shape{w.n, 2}));
    EXPECT_EQ(w.w.data, first.data + row * 32);
    EXPECT_EQ(w.scales.data, program.matrices[1].scales.data + row * 4);
    EXPECT_EQ(w.biases.data, program.matrices[1].biases.data + row * 4);
    row += w.n;
  }
}

TEST(Builder, BytesOfAMatrixAreThoseOfItsArrays) {
  ToyWeights weights(DType::bf16, QuantSpec{Mode::affine, 4, 32});
  const Matrix w = weights.matrix("w", 10, 64);
  EXPECT_EQ(w.bytes(), 10 * (32 + 4 + 4));
  ToyWeights dense(DType::f32);
  EXPECT_EQ(dense.matrix("w", 10, 64).bytes(), 10 * 64 * 4);
}

}  // namespace
}  // namespace stepless::test
