#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>

#include "tests/kernels/prompt_operands.hpp"
#include "tests/oracle/row_ops.hpp"
#include "tests/support/device.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct AttnShape {
  DType type = DType::f32, cache_type = DType::f32;
  std::int64_t heads = 2, kv_heads = 1, k_dim = 64, v_dim = 64, page_tokens = 64;
  std::int64_t window = 0;
  double softcap = 0, q_scale = 1, v_scale = 1;
  bool sinks = false;
  DType sinks_type = DType::f32;
  std::int64_t q_room = 3, y_room = 5;  // elements between rows
};

/// Sequences of given lengths in one cache; everything no sequence has written is NaN, and the
/// cache ends at a page that may not be read.
class Scene {
 public:
  Scene(const AttnShape& shape, const std::vector<std::int64_t>& lengths, std::uint64_t seed = 1)
      : shape_(shape), random_(seed) {
    std::int64_t pages = 1;  // page 0 belongs to nobody
    for (const std::int64_t n : lengths) pages += (n + shape.page_tokens - 1) / shape.page_tokens;
    const std::int64_t places = pages * shape.kv_heads * shape.page_tokens;
    k_ = std::make_unique<TypedRows>(shape.cache_type, places, shape.k_dim, 0);
    v_ = std::make_unique<TypedRows>(shape.cache_type, places, shape.v_dim, 0);
    std::int32_t next = static_cast<std::int32_t>(pages);
    for (const std::int64_t n : lengths) {  // from the last page down: out of order
      std::vector<std::int32_t>& table = tables_.emplace_back();
      for (std::int64_t at = 0; at < n; at += shape.page_tokens) table.push_back(--next);
      for (std::int64_t p = 0; p < n; ++p)
        for (std::int64_t h = 0; h < shape.kv_heads; ++h) write(table, p, h);
    }
    sinks_ = std::make_unique<TypedRows>(shape.sinks_type, 1, shape.heads);
    sinks_->fill(random_, shape.q_scale);
  }

  void add(std::size_t sequence, std::int64_t position) {
    rows_.push_back({tables_[sequence].data(), position});
  }
  /// A row of a rotating cache: it does not read positions [kept, resume), whose pages are gone.
  void add_rotated(std::size_t sequence, std::int64_t position, std::int64_t kept,
                   std::int64_t resume) {
    add(sequence, position);
    rows_.back().kept = kept, rows_.back().resume = resume;
  }
  void set_value(std::size_t sequence, std::int64_t position, double value) {
    v_->set(place(tables_[sequence], position, 0), 0, value);
  }

  /// The last row's keys and values hold NaN beyond `position`, as if nothing had been written
  /// there.
  void forget_after(std::size_t sequence, std::int64_t position, std::int64_t length) {
    for (std::int64_t p = position + 1; p < length; ++p)
      for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
        const std::int64_t at = place(tables_[sequence], p, h);
        for (std::int64_t i = 0; i < shape_.k_dim; ++i) k_->set(at, i, NAN);
        for (std::int64_t i = 0; i < shape_.v_dim; ++i) v_->set(at, i, NAN);
      }
  }

  void make_queries() {
    q_ = std::make_unique<TypedRows>(shape_.type, m(), shape_.heads * shape_.k_dim, shape_.q_room);
    q_->fill(random_, shape_.q_scale);
  }

  std::int64_t m() const { return std::ssize(rows_); }
  TypedRows& q() { return *q_; }
  TypedRows& sinks() { return *sinks_; }
  std::unique_ptr<TypedRows> output() const {
    return std::make_unique<TypedRows>(shape_.type, m(), shape_.heads * shape_.v_dim,
                                       shape_.y_room);
  }

  void run(const Kernel& kernel, const TypedRows& y, kernels::Slice units) const {
    const kernels::AttnArgs args = args_of(y);
    if (kernel.device != nullptr) return run_on_device(kernel, args, y, units);
    kernel.entry->run(&args, units);
  }

  /// What `attend_as_x` stores in place of y, whose rows have no room between them.
  Bytes run_as_x(const Kernel& kernel, const TypedRows& y) const {
    DeviceArrays device;
    kernels::AttnArgs args = on_device(device, args_of(y));
    std::uint8_t* const there = device.put(Bytes(bytes_of(y).size(), 0xff));
    args.y = there;
    device.run(0, [&](const kernels::CudaContext& context) {
      return kernel.device->joined.attend_as_x(args, context);
    });
    return device.get(there, std::ssize(bytes_of(y)));
  }
  static Bytes bytes_of(const TypedRows& rows) {
    const std::int64_t count = (rows.rows() - 1) * rows.stride() + rows.width();
    return {rows.data(), rows.data() + count * size_of(rows.type())};
  }

  std::vector<double> reference(std::int64_t row, std::int64_t head) const {
    oracle::AttentionHead one;
    const kernels::SeqRow& seq = rows_[static_cast<std::size_t>(row)];
    const std::int64_t kv_head = head / (shape_.heads / shape_.kv_heads);
    one.q = q_->run(row, head * shape_.k_dim, shape_.k_dim);
    for (std::int64_t p = 0; p <= seq.position; ++p) {
      if (seq.kept > 0 && p >= seq.kept && p < seq.resume) continue;
      const std::int64_t page = seq.pages[p / shape_.page_tokens];
      const std::int64_t at =
          (page * shape_.kv_heads + kv_head) * shape_.page_tokens + p % shape_.page_tokens;
      one.k.push_back(k_->row(at));
      one.v.push_back(v_->row(at));
    }
    one.scale = static_cast<double>(static_cast<float>(scale()));
    one.softcap = shape_.softcap;
    one.window = shape_.window;
    if (shape_.sinks) one.sink = sinks_->get(0, head);
    return oracle::attention(one);
  }

 private:
  kernels::AttnArgs args_of(const TypedRows& y) const {
    kernels::AttnArgs args = {};
    args.q = q_->data();
    args.y = y.data();
    args.q_stride = q_->stride();
    args.y_stride = y.stride();
    args.type = shape_.type;
    args.seq = rows_.data();
    args.rows = m();
    args.heads = shape_.heads;
    args.cache = {k_->data(),      v_->data(),   shape_.cache_type, shape_.page_tokens,
                  shape_.kv_heads, shape_.k_dim, shape_.v_dim};
    args.scale = static_cast<float>(scale());
    args.softcap = static_cast<float>(shape_.softcap);
    args.window = shape_.window;
    args.sinks = shape_.sinks ? sinks_->data() : nullptr;
    args.sinks_type = shape_.sinks_type;
    return args;
  }
  /// Everything that they name but y.
  kernels::AttnArgs on_device(DeviceArrays& device, kernels::AttnArgs args) const {
    const auto put = [&device](const TypedRows& rows) { return device.put(bytes_of(rows)); };
    std::vector<kernels::SeqRow> seq = rows_;
    std::map<std::pair<const std::int32_t*, std::size_t>, const std::int32_t*> tables;
    for (kernels::SeqRow& row : seq) {
      const auto pages = static_cast<std::size_t>(row.position / shape_.page_tokens + 1);
      const std::int32_t*& table = tables[{row.pages, pages}];
      const auto* const from = reinterpret_cast<const std::uint8_t*>(row.pages);
      if (table == nullptr)
        table = reinterpret_cast<std::int32_t*>(device.put({from, from + pages * 4}));
      row.pages = table;
    }
    const auto* rows = reinterpret_cast<const std::uint8_t*>(seq.data());
    args.seq = reinterpret_cast<kernels::SeqRow*>(
        device.put({rows, rows + seq.size() * sizeof(kernels::SeqRow)}));
    args.q = put(*q_), args.cache.k = put(*k_), args.cache.v = put(*v_);
    if (args.sinks != nullptr) args.sinks = put(*sinks_);
    return args;
  }
  /// On the device, which computes whole rows: those that `units` touches. What it names comes
  /// back; a unit is a head of a row.
  void run_on_device(const Kernel& kernel, kernels::AttnArgs args, const TypedRows& y,
                     kernels::Slice units) const {
    DeviceArrays device;
    const Bytes poison(bytes_of(y).size(), 0xff);
    args = on_device(device, args);
    const std::int64_t first = units.begin / shape_.heads, size = size_of(shape_.type);
    args.rows = (units.end + shape_.heads - 1) / shape_.heads - first;
    args.seq += first;
    args.q = static_cast<const std::uint8_t*>(args.q) + first * args.q_stride * size;
    std::uint8_t* const there = device.put(poison);
    args.y = there + first * args.y_stride * size;
    device.run(kernel.device->workspace_bytes(&args), [&](const kernels::CudaContext& context) {
      return kernel.device->launch(&args, context);
    });
    const Bytes all = device.get(there, std::ssize(poison));
    const std::int64_t head_bytes = shape_.v_dim * size;
    Bytes rest = all;
    for (std::int64_t unit = 0; unit < m() * shape_.heads; ++unit) {
      const std::int64_t at =
          unit / shape_.heads * y.stride() * size + unit % shape_.heads * head_bytes;
      if (unit >= units.begin && unit < units.end)
        std::copy_n(all.begin() + at, head_bytes, y.data() + at);
      std::fill_n(rest.begin() + at, head_bytes, 0xff);
    }
    EXPECT_EQ(rest, poison) << "written between rows";
  }

  double scale() const { return 1 / std::sqrt(static_cast<double>(shape_.k_dim)); }
  std::int64_t place(const std::vector<std::int32_t>& table, std::int64_t p, std::int64_t h) const {
    const std::int64_t page = table[static_cast<std::size_t>(p / shape_.page_tokens)];
    return (page * shape_.kv_heads + h) * shape_.page_tokens + p % shape_.page_tokens;
  }
  void write(const std::vector<std::int32_t>& table, std::int64_t p, std::int64_t h) {
    const std::int64_t at = place(table, p, h);
    for (std::int64_t i = 0; i < shape_.k_dim; ++i) k_->set(at, i, random_.normal());
    for (std::int64_t i = 0; i < shape_.v_dim; ++i)
      v_->set(at, i, random_.normal() * shape_.v_scale);
  }

  AttnShape shape_;
  Random random_;
  std::unique_ptr<TypedRows> k_, v_, q_, sinks_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<kernels::SeqRow> rows_;
};

class EachAttn : public EachRow {
 protected:
  void SetUp() override {  // these scenes can be carried to a GPU
    if (row().device == nullptr) return EachRow::SetUp();
    if (!device_runs(row().is.isa)) GTEST_SKIP() << row().name << ": no GPU here";
  }

  /// The shape in types that the row takes: bf16 where it takes no float32. A row of some types
  /// reads a cache of the queries' type.
  static AttnShape fitting(AttnShape shape) {
    if (row().is.isa == Isa::sm90) shape.q_room = 8, shape.y_room = 6;  // else others serve it
    if (row().is.act) {
      shape.type = shape.cache_type = *row().is.act;
      return shape;
    }
    if (row().fields.x_types == kAllTypes) return shape;
    if (shape.type == DType::f32) shape.type = DType::bf16;
    shape.cache_type = shape.type;
    return shape;
  }

  /// ‖y - ref‖ per head: rounding to the type, and 1e-6 for float32 inside.
  static void expect_right(const AttnShape& shape, const Scene& scene, const TypedRows& y,
                           double f32_error = 1e-6) {
    EXPECT_TRUE(y.untouched_between());
    for (std::int64_t i = 0; i < scene.m(); ++i)
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        const auto ref = scene.reference(i, h);
        double error = 0, size = 0, rounding = 0;
        for (std::int64_t j = 0; j < shape.v_dim; ++j) {
          const double want = ref[static_cast<std::size_t>(j)];
          const double once = oracle::rounded(want, shape.type);
          error += std::pow(y.get(i, h * shape.v_dim + j) - want, 2);
          rounding += std::pow(once - want, 2);
          size += want * want;
        }
        const double allowed = std::sqrt(rounding) * 1.05 +
                               (f32_error + half_step(shape.type) * 0.05) * std::sqrt(size);
        ASSERT_LE(std::sqrt(error), allowed) << "row " << i << ", head " << h;
      }
  }

  static void check(const AttnShape& any, const std::vector<std::int64_t>& positions,
                    double f32_error = 1e-6) {
    const AttnShape shape = fitting(any);
    if (std::max(shape.k_dim, shape.v_dim) > row().fields.most_head) return;  // why_not() says so
    SCOPED_TRACE(testing::Message()
                 << shape.heads << "/" << shape.kv_heads << " heads of " << shape.k_dim << ", "
                 << shape.v_dim << ", pages of " << shape.page_tokens << ", window " << shape.window
                 << ", cache " << static_cast<int>(shape.cache_type));
    std::vector<std::int64_t> lengths;
    for (const std::int64_t p : positions) lengths.push_back(p + 1);
    Scene scene(shape, lengths);
    for (std::size_t s = 0; s < positions.size(); ++s) scene.add(s, positions[s]);
    scene.make_queries();
    const auto y = scene.output();
    scene.run(row(), *y, {0, scene.m() * shape.heads});
    expect_right(shape, scene, *y, f32_error);
  }
};

TEST_P(EachAttn, EveryTypeOfQueryAndCache) {
  for (const DType type : kFloatTypes)
    for (const DType cache_type : kFloatTypes)
      check({.type = type, .cache_type = cache_type, .heads = 4, .kv_heads = 2},
            {0, 5, 63, 64, 130});
}

TEST_P(EachAttn, EveryHeadSize) {
  for (const DType cache_type : kFloatTypes) {
    for (const std::int64_t dim : {1, 7, 16, 24, 31, 33, 64, 80, 96, 128, 256})
      check({.cache_type = cache_type, .k_dim = dim, .v_dim = dim}, {0, 70});
    check({.cache_type = cache_type, .k_dim = 192, .v_dim = 128}, {66});
    check({.cache_type = cache_type, .k_dim = 40, .v_dim = 72}, {66});
  }
  check({.k_dim = kernels::kMaxHeadDim, .v_dim = kernels::kMaxHeadDim}, {9});
}

TEST_P(EachAttn, EveryGroupOfHeads) {
  for (const std::int64_t shared : {1, 2, 3, 4, 5, 7, 8})
    for (const std::int64_t kv_heads : {1, 3})
      check({.cache_type = DType::bf16, .heads = shared * kv_heads, .kv_heads = kv_heads}, {3, 68});
}

TEST_P(EachAttn, BordersOfPagesAndChunks) {
  for (const std::int64_t page_tokens : {1, 5, 16, 64, 100, 128})
    check({.heads = 2, .k_dim = 16, .v_dim = 16, .page_tokens = page_tokens},
          {0, 4, 5, 15, 16, 17, 62, 63, 64, 65, 99, 100, 127, 128, 129, 200});
}

TEST_P(EachAttn, Windows) {
  for (const std::int64_t window : {1, 2, 16, 63, 64, 65, 130, 1000})
    for (const std::int64_t page_tokens : {16, 64})
      check({.heads = 2, .k_dim = 16, .v_dim = 16, .page_tokens = page_tokens, .window = window},
            {0, 1, 15, 16, 63, 64, 65, 127, 128, 140, 200});
}

TEST_P(EachAttn, SoftcapAndSinks) {
  for (const std::int64_t window : {0, 20}) {
    // Scores of 20 to 30: each of their roundings is 1e-6.
    check({.window = window, .softcap = 30, .q_scale = 8}, {0, 90, 128}, 4e-6);
    check({.window = window, .sinks = true}, {0, 90, 128});
    check({.window = window, .softcap = 2, .sinks = true}, {0, 90});
  }
}

/// As a checkpoint brings them: any float type, one per head, above the scores and below.
TEST_P(EachAttn, SinksOfEveryTypeAndHead) {
  for (const DType type : kFloatTypes)
    for (const double scale : {1.0, 8.0})
      for (const std::int64_t window : {0, 16})
        check({.heads = 6,
               .kv_heads = 2,
               .window = window,
               .q_scale = scale,
               .sinks = true,
               .sinks_type = type},
              {0, 15, 16, 63, 64, 130}, scale > 1 ? 6e-6 : 1e-6);
}

TEST_P(EachAttn, SinksFarOut) {
  const AttnShape shape = fitting({.type = DType::bf16, .heads = 2, .sinks = true});
  const AttnShape none = fitting({.type = DType::bf16, .heads = 2});
  std::vector<std::unique_ptr<TypedRows>> results;
  for (const AttnShape& one : {shape, none}) {
    Scene scene(one, {71});
    scene.add(0, 70);
    scene.make_queries();
    scene.sinks().set(0, 0, 1e4);    // takes all
    scene.sinks().set(0, 1, -1e30);  // takes nothing
    results.push_back(scene.output());
    scene.run(row(), *results.back(), {0, 2});
  }
  for (std::int64_t j = 0; j < shape.v_dim; ++j) {
    EXPECT_EQ(results[0]->get(0, j), 0);
    EXPECT_EQ(results[0]->get(0, shape.v_dim + j), results[1]->get(0, shape.v_dim + j));
  }
}

TEST_P(EachAttn, LongContext) {
  check({.cache_type = DType::bf16, .heads = 1, .k_dim = 32, .v_dim = 32}, {9000});
}

TEST_P(EachAttn, SharpScores) {
  // Scores of several hundred: one position takes nearly all, and float32 scores carry their own
  // rounding.
  check({.q_scale = 100}, {0, 100, 200}, 3e-5);
  check({.q_scale = 1e4}, {100}, 5e-3);
}

/// A prompt in one piece, in another order, cut into other slices, and token by token: the same
/// bytes.
TEST_P(EachAttn, RowAloneEqualsRowInCompany) {
  for (const std::int64_t window : {0, 30}) {
    const AttnShape shape = {.type = DType::bf16,
                             .cache_type = DType::bf16,
                             .heads = 6,
                             .kv_heads = 2,
                             .k_dim = 80,
                             .v_dim = 80,
                             .page_tokens = 16,
                             .window = window};
    Scene scene(shape, {140, 70, 1});
    for (std::int64_t p = 100; p < 140; ++p) scene.add(0, p);  // a prompt's rows
    scene.add(1, 69);
    scene.add(2, 0);
    for (std::int64_t p = 60; p < 66; ++p) scene.add(1, p);
    scene.make_queries();
    for (std::int64_t i = 0; i < shape.k_dim; ++i) scene.q().set(3, i, NAN);  // head 0 of row 3
    const auto together = scene.output(), sliced = scene.output(), alone = scene.output();
    const std::int64_t units = scene.m() * shape.heads;
    scene.run(row(), *together, {0, units});
    for (std::int64_t at = 0; at < units; at += 13)
      scene.run(row(), *sliced, {at, std::min(at + 13, units)});
    for (std::int64_t at = 0; at < units; ++at) scene.run(row(), *alone, {at, at + 1});
    for (std::int64_t i = 0; i < scene.m(); ++i) {
      EXPECT_EQ(together->row_bytes(i), sliced->row_bytes(i)) << i;
      EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
      EXPECT_EQ(std::isnan(together->get(i, 0)), i == 3) << i;
      EXPECT_FALSE(std::isnan(together->get(i, shape.v_dim)))
          << i;  // the next head of the same batch
    }
  }
}

TEST_P(EachAttn, PrefillRowEqualsDecodeRow) {
  for (const DType cache_type : kFloatTypes) {
    const AttnShape shape =
        fitting({.cache_type = cache_type, .heads = 2, .k_dim = 64, .v_dim = 64});
    constexpr std::int64_t kLength = 131;
    Scene prompt(shape, {kLength}, 7);
    for (std::int64_t p = 0; p < kLength; ++p) prompt.add(0, p);
    prompt.make_queries();
    const auto whole = prompt.output();
    prompt.run(row(), *whole, {0, kLength * 2});
    expect_right(shape, prompt, *whole);
    for (const std::int64_t p : {0, 1, 63, 64, 100, 128, 130}) {
      Scene step(shape, {kLength}, 7);  // the same keys and values, later ones not yet written
      step.forget_after(0, p, kLength);
      step.add(0, p);
      step.make_queries();
      for (std::int64_t j = 0; j < shape.heads * shape.k_dim; ++j)
        step.q().set(0, j, prompt.q().get(p, j));
      const auto y = step.output();
      step.run(row(), *y, {0, 2});
      EXPECT_EQ(y->row_bytes(0), whole->row_bytes(p)) << p;
    }
  }
}

/// Enough rows of one sequence that a kernel may treat them together, of any shape: right, and each
/// as alone.
TEST_P(EachAttn, PromptRowsOfEveryShape) {
  for (const DType cache_type : kFloatTypes)
    for (const auto& [k_dim, v_dim, page_tokens] :
         {std::tuple{24, 24, 64}, {33, 72, 48}, {96, 64, 128}, {256, 256, 20}, {128, 128, 64}}) {
      const AttnShape shape = fitting({.cache_type = cache_type,
                                       .heads = 2,
                                       .k_dim = k_dim,
                                       .v_dim = v_dim,
                                       .page_tokens = page_tokens,
                                       .window = page_tokens == 48 ? 70 : 0,
                                       .softcap = page_tokens == 128 ? 20.0 : 0.0,
                                       .sinks = page_tokens == 64});
      if (std::max(shape.k_dim, shape.v_dim) > row().fields.most_head) continue;
      SCOPED_TRACE(testing::Message()
                   << k_dim << ", " << v_dim << ", cache " << static_cast<int>(shape.cache_type));
      Scene scene(shape, {145});
      for (std::int64_t p = 119; p < 145; ++p) scene.add(0, p);
      scene.make_queries();
      const auto together = scene.output(), alone = scene.output();
      scene.run(row(), *together, {0, scene.m() * shape.heads});
      expect_right(shape, scene, *together, 4e-6);
      for (const std::int64_t i : {0, 1, 8, 9, 24, 25}) {
        scene.run(row(), *alone, {i * shape.heads, (i + 1) * shape.heads});
        EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
      }
    }
}

/// A prompt from its first row on, of more rows than a kernel treats together: right, and each as
/// alone, wherever in a chunk the last position lies that it sees.
TEST_P(EachAttn, PromptRowsFromTheFirstOn) {
  constexpr std::int64_t kLength = 300;
  const AttnShape shape =
      fitting({.cache_type = DType::bf16, .heads = 2, .kv_heads = 1, .k_dim = 32, .v_dim = 32});
  Scene scene(shape, {kLength});
  for (std::int64_t p = 0; p < kLength; ++p) scene.add(0, p);
  scene.make_queries();
  const auto together = scene.output(), alone = scene.output();
  scene.run(row(), *together, {0, scene.m() * shape.heads});
  expect_right(shape, scene, *together, 4e-6);
  for (std::int64_t i = 0; i < kLength; i += 5) {
    scene.run(row(), *alone, {i * shape.heads, (i + 1) * shape.heads});
    EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
  }
}

TEST_P(EachAttn, AsTheXOfAProductItHasTheSameBits) {
  if (row().device == nullptr || row().device->joined.attend_as_x == nullptr)
    GTEST_SKIP() << "its results are rows";
  for (const std::int64_t dim : {64, 128})
    for (const std::int64_t heads : {3, 6}) {
      AttnShape shape =
          fitting({.type = DType::bf16, .cache_type = DType::bf16, .heads = heads, .kv_heads = 3});
      shape.k_dim = shape.v_dim = dim, shape.y_room = 0;
      Scene scene(shape, {150, 70});
      for (std::int64_t p = 0; p < 150; ++p) scene.add(0, p);
      for (std::int64_t p = 28; p < 70; ++p) scene.add(1, p);
      scene.make_queries();
      const auto y = scene.output();
      scene.run(row(), *y, {0, scene.m() * shape.heads});
      EXPECT_EQ(rows_of_operands(scene.run_as_x(row(), *y), scene.m(), heads * dim),
                Scene::bytes_of(*y))
          << "dim " << dim << ", heads " << heads;
    }
}

/// Few launches with an edge on every side, for compute-sanitizer: tiles of rows, chunks and a page
/// begun, a prompt's rows and others.
TEST_P(EachAttn, AnEdgeOnEverySide) {
  const AttnShape shape =
      fitting({.cache_type = DType::bf16, .heads = 2, .kv_heads = 1, .k_dim = 32, .v_dim = 32});
  Scene scene(shape, {135, 70});
  for (std::int64_t p = 0; p < 135; ++p) scene.add(0, p);
  scene.add(1, 69);
  scene.make_queries();
  const auto together = scene.output();
  scene.run(row(), *together, {0, scene.m() * shape.heads});
  expect_right(shape, scene, *together, 4e-6);
}

/// Long rows among short ones, more than one share of the KV axis to whoever sums them.
TEST_P(EachAttn, ManySequencesAtOnce) {
  for (const std::int64_t window : {0, 700}) {
    const AttnShape shape = fitting({.cache_type = DType::bf16,
                                     .heads = 6,
                                     .kv_heads = 2,
                                     .k_dim = 16,
                                     .v_dim = 16,
                                     .window = window});
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = 0; i < 40; ++i) lengths.push_back(i % 7 == 3 ? 1200 + i : 1 + 5 * i);
    Scene scene(shape, lengths);
    for (std::size_t s = 0; s < lengths.size(); ++s) scene.add(s, lengths[s] - 1);
    scene.make_queries();
    const auto together = scene.output(), alone = scene.output();
    scene.run(row(), *together, {0, scene.m() * shape.heads});
    expect_right(shape, scene, *together, 2e-6);
    for (const std::int64_t i : {0, 3, 10, 11, 39}) {
      scene.run(row(), *alone, {i * shape.heads, (i + 1) * shape.heads});
      EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
    }
  }
}

/// A value that is NaN reaches the rows that read it, and no bit of those that stand beside them.
TEST_P(EachAttn, ValuesThatARowDoesNotReadDoNotReachIt) {
  const AttnShape shape = fitting({.heads = 4, .k_dim = 64, .v_dim = 64, .window = 50});
  constexpr std::int64_t kLength = 150, kBad = 70;
  std::unique_ptr<TypedRows> results[2];
  for (const bool bad : {false, true}) {
    Scene scene(shape, {kLength}, 3);
    if (bad) scene.set_value(0, kBad, NAN);
    for (std::int64_t p = 0; p < kLength; ++p) scene.add(0, p);
    scene.make_queries();
    results[bad] = scene.output();
    scene.run(row(), *results[bad], {0, kLength * shape.heads});
  }
  for (std::int64_t p = 0; p < kLength; ++p)
    if (p >= kBad && p < kBad + shape.window)
      EXPECT_TRUE(std::isnan(results[1]->get(p, 0))) << p;
    else
      EXPECT_EQ(results[0]->row_bytes(p), results[1]->row_bytes(p)) << p;
}

/// Values that only bf16 can hold, all of them or one.
TEST_P(EachAttn, ValuesOfEverySize) {
  for (const double scale : {1e-5, 1.0, 1e5}) {
    const AttnShape shape = {.type = DType::bf16,
                             .cache_type = DType::bf16,
                             .heads = 4,
                             .kv_heads = 2,
                             .v_scale = scale};
    constexpr std::int64_t kLength = 150;
    Scene scene(shape, {kLength});
    if (scale == 1) scene.set_value(0, 70, 1e5);
    for (std::int64_t p = 0; p < kLength; ++p) scene.add(0, p);
    scene.make_queries();
    const auto together = scene.output(), alone = scene.output();
    scene.run(row(), *together, {0, kLength * shape.heads});
    if (scale != 1) expect_right(shape, scene, *together);
    for (const std::int64_t i : {0, 63, 64, 69, 70, 149}) {
      scene.run(row(), *alone, {i * shape.heads, (i + 1) * shape.heads});
      EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
    }
  }
}

TEST_P(EachAttn, RotatingRowsLeaveOutTheMiddle) {
  const AttnShape shape = fitting({.heads = 4, .kv_heads = 2});
  constexpr std::int64_t kLength = 400;
  Scene scene(shape, {kLength});
  for (std::int64_t p = 80; p < kLength; ++p) scene.add_rotated(0, p, p < 95 ? 0 : 4, p - 90);
  scene.make_queries();
  const auto together = scene.output(), alone = scene.output();
  scene.run(row(), *together, {0, scene.m() * shape.heads});
  expect_right(shape, scene, *together);
  for (const std::int64_t i : {0, 16, 47, 50, 319}) {
    scene.run(row(), *alone, {i * shape.heads, (i + 1) * shape.heads});
    EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachAttn, testing::ValuesIn(built_rows({KernelOp::attn})),
                         row_name);

}  // namespace
}  // namespace stepless::test
