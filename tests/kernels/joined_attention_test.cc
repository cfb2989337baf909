// Attention that turns queries and keys on the way and puts the step's own rows itself gives the
// bytes of separate launches, in y and in the pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kernels/roll_call.hpp"
#include "tests/support/device.hpp"

namespace stepless::test {
namespace {

/// Rows of a sequence in the step, from a position on.
struct Stretch {
  std::int64_t first, rows, kept = 0, resume = 0;
};
struct Shape {
  std::string name;
  DType type;
  std::int64_t heads, kv_heads, dim, pairs, page_tokens, window;
  std::vector<Stretch> stretches;
  bool has_nan = false, has_sinks = false;
  float softcap = 0;

  std::int64_t width() const { return heads * dim; }
  std::int64_t kv_width() const { return kv_heads * dim; }
  std::int64_t pages(const Stretch& stretch) const {
    return (stretch.first + stretch.rows + page_tokens - 1) / page_tokens;
  }
};

std::vector<Stretch> apart(std::int64_t count, std::int64_t step) {
  std::vector<Stretch> stretches;
  for (std::int64_t i = 0; i < count; ++i) stretches.push_back({i * step, 1});
  return stretches;
}

std::vector<Shape> shapes() {
  const DType bf16 = DType::bf16, f16 = DType::f16;
  return {{"one", bf16, 24, 8, 128, 64, 64, 0, {{300, 1}}},
          {"edges", bf16, 24, 8, 128, 64, 256, 0, {{0, 1}, {63, 1}, {64, 1}, {256, 1}, {1024, 1}}},
          {"long", bf16, 24, 8, 128, 64, 64, 0, {{4500, 1}, {17, 1}}},
          {"drafts", bf16, 24, 8, 128, 64, 64, 0, {{300, 4}, {62, 5}, {1023, 3}, {0, 6}}},
          {"prompts", bf16, 24, 8, 128, 64, 256, 0, {{0, 40}, {100, 24}}},
          {"prompt", bf16, 8, 8, 128, 64, 64, 0, {{1000, 64}}},
          {"batch", f16, 32, 8, 64, 32, 256, 0, apart(64, 11)},
          {"nine_rows", bf16, 24, 8, 128, 64, 64, 0, apart(9, 77)},
          {"more_rows", bf16, 8, 2, 64, 32, 64, 0, apart(33, 47)},
          {"nine_heads", bf16, 18, 2, 128, 64, 64, 0, {{300, 1}, {500, 3}, {70, 1}}},
          {"sixteen_heads", f16, 32, 2, 64, 32, 64, 0, {{1300, 1}, {500, 3}, {70, 1}}},
          {"lone_heads", f16, 4, 4, 128, 64, 128, 0, {{2300, 1}, {64, 2}}},
          {"sinks", bf16, 24, 8, 64, 32, 64, 128, {{300, 1}, {500, 3}, {7, 1}}, false, true},
          {"softcap", bf16, 24, 8, 128, 64, 64, 0, {{300, 1}, {7, 1}}, false, false, 20},
          {"many_heads", bf16, 40, 2, 128, 64, 64, 0, {{300, 1}, {500, 3}, {70, 1}}},
          {"partly_turned", bf16, 8, 8, 80, 16, 64, 0, {{300, 1}, {500, 3}, {70, 20}}},
          {"tail", f16, 6, 3, 72, 8, 64, 0, {{300, 1}, {500, 3}, {70, 20}}},
          {"wide", bf16, 8, 4, 256, 128, 256, 512, {{3000, 1}, {500, 3}, {70, 20}}},
          {"window", bf16, 24, 8, 128, 64, 64, 100, {{300, 20}, {62, 5}, {1111, 1}, {0, 30}}},
          {"rotating", bf16, 6, 2, 128, 64, 64, 0, {{700, 20, 4, 600}, {1500, 1, 64, 1200}}},
          {"nan", bf16, 24, 8, 128, 64, 64, 40, {{300, 4}, {62, 5}, {700, 1}, {0, 40}}, true}};
}

const Kernel& row_of(const char* name) {
  for (const Kernel& row : roll_call())
    if (row.name == name) return row;
  throw std::runtime_error(std::string(name) + ": no such row");
}

class JoinedAttention : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (!device_runs(Isa::sm80)) GTEST_SKIP() << "no GPU here";
    fill();
  }
  std::uint8_t* random(DType type, std::int64_t count) {
    return arrays_.put(random_rows(type, count, 1, random_));
  }
  std::uint8_t* poisoned(std::int64_t bytes) {
    return arrays_.put(Bytes(static_cast<std::size_t>(bytes), 0xff));
  }
  template <class T>
  T* put(const std::vector<T>& values) {
    Bytes bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return reinterpret_cast<T*>(arrays_.put(bytes));
  }
  /// A sequence's pages lie apart and back to front.
  void fill() {
    const Shape& s = GetParam();
    std::vector<kernels::SeqRow> seq;
    std::int32_t pages = 0;
    for (const Stretch& stretch : s.stretches) pages += static_cast<std::int32_t>(s.pages(stretch));
    std::int32_t next = pages;
    for (const Stretch& stretch : s.stretches) {
      std::vector<std::int32_t> table(static_cast<std::size_t>(s.pages(stretch)));
      for (std::int32_t& page : table) page = --next;
      kernels::SeqRow row{put(table), stretch.first};
      row.kept = stretch.kept, row.resume = stretch.resume;
      for (std::int64_t i = 0; i < stretch.rows; ++i, ++row.position) seq.push_back(row);
    }
    const auto rows = std::ssize(seq);
    angles_ = reinterpret_cast<float*>(random(DType::f32, rows * 2 * s.pairs));
    rope(q_, s.heads, rows), rope(k_, s.kv_heads, rows);
    cache_bytes_ = pages * s.kv_width() * s.page_tokens * 2;
    put_.v = random(s.type, rows * s.kv_width());
    put_.k = k_.y, put_.k_stride = put_.v_stride = s.kv_width();
    put_.type = s.type, put_.rows = rows, put_.seq = put(seq);
    for (Bytes* cache : {&keys_, &values_})
      *cache = random_rows(s.type, cache_bytes_ / 2, 1, random_);
    if (s.has_nan) std::fill_n(values_.begin() + cache_bytes_ / 3, 64, std::uint8_t{0xff});
    attn_.q = q_.y, attn_.q_stride = attn_.y_stride = s.width();
    attn_.type = s.type, attn_.seq = put_.seq, attn_.rows = rows, attn_.heads = s.heads;
    attn_.scale = 0.09f, attn_.window = s.window, attn_.softcap = s.softcap;
    if (s.has_sinks) attn_.sinks = random(DType::bf16, s.heads), attn_.sinks_type = DType::bf16;
  }
  void rope(kernels::RopeArgs& args, std::int64_t heads, std::int64_t rows) {
    const Shape& s = GetParam();
    const std::int64_t width = heads * s.dim;
    args = {random(s.type, rows * width),
            poisoned(rows * width * 2),
            angles_,
            s.type,
            rows,
            heads,
            s.dim,
            s.pairs,
            width,
            width,
            false};
  }
  /// Pages and y as before the step.
  void reset() {
    const Shape& s = GetParam();
    put_.cache = {
        arrays_.put(keys_), arrays_.put(values_), s.type, s.page_tokens, s.kv_heads, s.dim, s.dim};
    attn_.cache = put_.cache;
    attn_.y = poisoned(attn_.rows * s.width() * 2);
  }
  std::vector<Bytes> results() const {
    const auto* const y = static_cast<const std::uint8_t*>(attn_.y);
    return {arrays_.get(y, attn_.rows * GetParam().width() * 2),
            arrays_.get(put_.cache.k, cache_bytes_), arrays_.get(put_.cache.v, cache_bytes_)};
  }

  DeviceArrays arrays_;
  Random random_{11};
  Bytes keys_, values_;
  std::int64_t cache_bytes_ = 0;
  const float* angles_ = nullptr;
  kernels::RopeArgs q_{}, k_{};
  kernels::KvPutArgs put_{};
  kernels::AttnArgs attn_{};
};

TEST_P(JoinedAttention, EqualsSeparateLaunches) {
  const kernels::CudaEntry& attn = *row_of("attn_full_b16_fany_h64_sm80").device;
  const auto launch = [&](const char* name, const void* args) {
    arrays_.run(0, [&](const auto& context) { return row_of(name).device->launch(args, context); });
  };
  reset();
  const std::int64_t room = attn.workspace_bytes(&attn_);
  launch("rope_fany_r1_cuda", &q_);
  launch("rope_fany_r1_cuda", &k_);
  launch("kvput_full_b16_fany_r1_cuda", &put_);
  arrays_.run(room, [&](const auto& context) { return attn.launch(&attn_, context); });
  const std::vector<Bytes> apart = results();
  reset();
  q_.y = k_.y = nullptr, attn_.q = put_.k = nullptr;
  arrays_.run(room, [&](const auto& context) {
    return attn.joined.attend_turned(q_, k_, put_, attn_, context);
  });
  const std::vector<Bytes> together = results();
  EXPECT_EQ(apart[0] == together[0], true) << "y";
  EXPECT_EQ(apart[1] == together[1], true) << "keys";
  EXPECT_EQ(apart[2] == together[2], true) << "values";
}

TEST_P(JoinedAttention, RefusesWhatItCannotTurn) {
  const kernels::CudaEntry& attn = *row_of("attn_full_b16_fany_h64_sm80").device;
  reset();
  constexpr std::int32_t kNotSupported = 801;  // cudaErrorNotSupported
  const auto error = [&](auto change) {
    kernels::RopeArgs q = q_, k = k_;
    kernels::AttnArgs a = attn_;
    change(q, k, a);
    return attn.joined.attend_turned(q, k, put_, a, {});
  };
  EXPECT_EQ(kNotSupported,
            error([](auto& q, auto& k, auto&) { q.interleaved = k.interleaved = true; }));
  EXPECT_EQ(kNotSupported, error([](auto& q, auto& k, auto&) { q.pairs = k.pairs = 4; }));
  EXPECT_EQ(kNotSupported, error([](auto&, auto&, auto& a) { a.rows = 65; }));
  EXPECT_EQ(kNotSupported, error([](auto&, auto&, auto& a) { a.cache.page_tokens = 40; }));
  EXPECT_EQ(kNotSupported, error([](auto&, auto&, auto& a) { a.cache.type = DType::f32; }));
}

INSTANTIATE_TEST_SUITE_P(Shapes, JoinedAttention, testing::ValuesIn(shapes()),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace stepless::test
