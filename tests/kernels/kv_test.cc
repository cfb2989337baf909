// Keys and values into the pages of their sequences.
#include <gtest/gtest.h>

#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct PutCase {
  DType type = DType::f32, cache_type = DType::f32;
  std::int64_t kv_heads = 2, k_dim = 8, v_dim = 8, page_tokens = 4;
};

class EachKvPut : public EachRow {};

TEST_P(EachKvPut, WritesTheRowsOwnPlacesAndNothingElse) {
  std::vector<PutCase> cases;
  for (const DType type : kFloatTypes)
    for (const DType cache_type : kFloatTypes) {
      cases.push_back({type, cache_type, 2, 8, 8, 4});
      cases.push_back({type, cache_type, 3, 257, 33, 16});
      cases.push_back({type, cache_type, 1, 1, 300, 1});
    }
  constexpr std::int64_t kPages = 9;
  for (const PutCase& c : cases) {
    SCOPED_TRACE(testing::Message() << "k " << c.k_dim << ", page " << c.page_tokens);
    // Two sequences: positions across a page border, and one alone. Page tables out of order.
    const std::int32_t first[] = {7, 2, 5}, second[] = {1, 8};
    const std::int64_t t = c.page_tokens;
    const std::vector<kernels::SeqRow> seq = {
        {first, t - 1}, {first, t}, {second, 0}, {first, 3 * t - 1}, {second, 2 * t - 1}};
    const auto rows = std::ssize(seq);
    Random random(6);
    TypedRows k(c.type, rows, c.kv_heads * c.k_dim), v(c.type, rows, c.kv_heads * c.v_dim, 1);
    k.fill(random);
    v.fill(random);
    TypedRows cache_k(c.cache_type, kPages * c.kv_heads * t, c.k_dim, 0);
    TypedRows cache_v(c.cache_type, kPages * c.kv_heads * t, c.v_dim, 0);
    kernels::KvPutArgs args = {};
    args.k = k.data();
    args.v = v.data();
    args.k_stride = k.stride();
    args.v_stride = v.stride();
    args.type = c.type;
    args.seq = seq.data();
    args.rows = rows;
    args.cache = {cache_k.data(), cache_v.data(), c.cache_type, t, c.kv_heads, c.k_dim, c.v_dim};
    row().entry->run(&args, {0, 2});
    row().entry->run(&args, {2, rows});

    const std::int32_t page[] = {7, 2, 1, 5, 8};
    std::vector<bool> written(static_cast<std::size_t>(cache_k.rows()));
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t h = 0; h < c.kv_heads; ++h) {
        const std::int64_t place =
            (page[i] * c.kv_heads + h) * t + seq[static_cast<std::size_t>(i)].position % t;
        written[static_cast<std::size_t>(place)] = true;
        for (std::int64_t j = 0; j < c.k_dim; ++j)
          ASSERT_EQ(cache_k.get(place, j),
                    oracle::rounded(k.get(i, h * c.k_dim + j), c.cache_type));
        for (std::int64_t j = 0; j < c.v_dim; ++j)
          ASSERT_EQ(cache_v.get(place, j),
                    oracle::rounded(v.get(i, h * c.v_dim + j), c.cache_type));
      }
    for (std::int64_t place = 0; place < cache_k.rows(); ++place) {
      if (written[static_cast<std::size_t>(place)]) continue;
      for (const TypedRows* cache : {&cache_k, &cache_v})
        for (const std::uint8_t byte : cache->row_bytes(place)) ASSERT_EQ(byte, 0xff) << place;
    }
    EXPECT_TRUE(cache_k.untouched_between() && cache_v.untouched_between());
  }
}

TEST_P(EachKvPut, ConversionsRoundToNearestEvenAtTheEdges) {
  // Halves, subnormals, overflow to infinity, signed zero, NaN.
  const double values[] = {1 + 0x1p-11, 1 + 3 * 0x1p-11, 1 + 0x1p-8,  1 + 3 * 0x1p-8, 65519,
                           65520,       0x1p-24,         0x1.8p-24,   0x1p-25,        0x1.004p-25,
                           -0.0,        1e-40,           3.3961e38,   -INFINITY,      NAN,
                           0x1.ffcp-15, 0x1.ffffp-15,    -0x1.8p-149, 6.1e-5,         -70000};
  constexpr std::int64_t kCount = std::size(values);
  for (const DType cache_type : kFloatTypes) {
    TypedRows k(DType::f32, 1, kCount), v(DType::f32, 1, kCount);
    for (std::int64_t j = 0; j < kCount; ++j) {
      k.set(0, j, values[j]);
      v.set(0, j, values[j]);
    }
    TypedRows cache_k(cache_type, 1, kCount, 0), cache_v(cache_type, 1, kCount, 0);
    const std::int32_t pages[] = {0};
    const kernels::SeqRow seq = {pages, 0};
    kernels::KvPutArgs args = {};
    args.k = k.data();
    args.v = v.data();
    args.type = DType::f32;
    args.seq = &seq;
    args.rows = 1;
    args.cache = {cache_k.data(), cache_v.data(), cache_type, 1, 1, kCount, kCount};
    row().entry->run(&args, {0, 1});
    for (std::int64_t j = 0; j < kCount; ++j) {
      const double want = oracle::rounded(k.get(0, j), cache_type);
      const double got = cache_k.get(0, j);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(got));
        continue;
      }
      EXPECT_EQ(got, want) << values[j];
      EXPECT_EQ(std::signbit(got), std::signbit(values[j])) << values[j];
      EXPECT_EQ(cache_v.get(0, j), want);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachKvPut, testing::ValuesIn(built_rows({KernelOp::kvput})),
                         row_name);

}  // namespace
}  // namespace stepless::test
