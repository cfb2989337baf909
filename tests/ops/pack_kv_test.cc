// The pass that lets a program pack its pages: where it works, and what it refuses.
#include "ops/pack_kv.hpp"

#include <gtest/gtest.h>

#include "ops/backend.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Program program_of(const std::vector<std::int64_t>& dims) {
  Program program;
  for (const std::int64_t dim : dims) {
    const int layer = static_cast<int>(program.kv_layers.size());
    program.kv_layers.push_back({2, dim, dim});
    program.nodes.push_back({"kv.put", layer, KvPutOp{layer, 0, 1}, {}});
    program.nodes.push_back({"attn", layer, AttnOp{}, {}});
  }
  return program;
}

KvOptions bits(int n, int group = 0) {
  KvOptions options;
  options.bits = n;
  options.group_size = group;
  return options;
}

TEST(PackKv, PutsAPackAfterEveryPut) {
  const Program packed = pack_kv(program_of({64, 128}), bits(4));
  EXPECT_EQ(packed.kv_packing, (QuantSpec{Mode::affine, 4, 64}));
  ASSERT_EQ(packed.nodes.size(), 6u);
  for (const std::size_t layer : {0u, 1u}) {
    const Node& node = packed.nodes[layer * 3 + 1];
    ASSERT_TRUE(std::holds_alternative<KvPackOp>(node.op));
    EXPECT_EQ(std::get<KvPackOp>(node.op).kv_layer, static_cast<int>(layer));
    EXPECT_EQ(node.layer, static_cast<int>(layer));
    EXPECT_EQ(packed.nodes[layer * 3 + 2].name, "attn");
  }
}

TEST(PackKv, WithoutBitsNothingChanges) {
  const Program plain = pack_kv(program_of({64, 80}), {});
  EXPECT_EQ(plain.nodes.size(), 4u);
  EXPECT_FALSE(plain.kv_packing);
  EXPECT_FALSE(kv_shape(plain).packing);
}

TEST(PackKv, ASmallerGroupIsTriedOnlyIfNoneWasAskedFor) {
  EXPECT_EQ(pack_kv(program_of({96}), bits(8)).kv_packing, (QuantSpec{Mode::affine, 8, 32}));
  EXPECT_EQ(pack_kv(program_of({128}), bits(8, 128)).kv_packing->group_size, 128);
  expect_error(ErrorCode::invalid_argument,
               "kv bits: 8: heads of 96 elements in KV layer 1 are no multiple of a group of 64; a "
               "--kv-group-size of 32 fits",
               [] {
                 pack_kv(program_of({64, 96}), bits(8, 64));
               });
  expect_error(ErrorCode::invalid_argument,
               "heads of 80 elements in KV layer 0 are no multiple of a group of 32; this model's "
               "cache stays in 16 bits",
               [] { pack_kv(program_of({80}), bits(4)); });
}

TEST(PackKv, RefusesValuesByName) {
  const auto refused = [](const char* words, auto change) {
    KvOptions options = bits(4);
    change(options);
    expect_error(ErrorCode::invalid_argument, words, [&] { check_kv_options(options); });
  };
  for (const int n : {0, 2, 6, 32}) refused("kv bits: ", [&](KvOptions& o) { o.bits = n; });
  refused("kv group size: 16; 32, 64 or 128", [](KvOptions& o) { o.group_size = 16; });
  refused("quantized kv start: -1", [](KvOptions& o) { o.start = -1; });
  refused("kv window: -5", [](KvOptions& o) { o.window = -5; });
  for (const std::int64_t n : {1, 4, -1})
    refused("max kv size: ", [&](KvOptions& o) { o.max_size = n; });
  KvOptions least = bits(8, 128);
  least.max_size = 5;
  EXPECT_NO_THROW(check_kv_options(least));
}

}  // namespace
}  // namespace stepless::test
