// Attention over plain and packed pages, and over a rotating cache, against float64 over the stored
// codes, scales and biases. What a row must not read is poison.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>

#include "stepless/kv.hpp"
#include "tests/oracle/row_ops.hpp"
#include "tests/support/device.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct PackedShape {
  DType type = DType::f32, cache_type = DType::bf16;
  int bits = 4, group = 64;
  std::int64_t heads = 2, kv_heads = 1, dim = 64, page_tokens = 64, window = 0;
  double softcap = 0;
  bool sinks = false;
  std::int64_t q_room = 3, y_room = 5;  // elements between rows
};

/// Codes, scales and biases of one kind (keys or values): one row per position of every page.
struct PackedArray {
  PackedArray(const PackedShape& s, std::int64_t places)
      : bits(s.bits),
        group(s.group),
        dim(s.dim),
        codes(static_cast<std::size_t>(places * s.dim * s.bits / 8), 0xff),
        scales(s.cache_type, places, s.dim / s.group, 0),
        biases(s.cache_type, places, s.dim / s.group, 0) {}

  void fill(std::int64_t place, Random& random) {
    for (std::int64_t i = 0; i < dim * bits / 8; ++i)
      codes[static_cast<std::size_t>(place * dim * bits / 8 + i)] =
          static_cast<std::uint8_t>(random.below(256));
    const double steps = (1 << bits) - 1;
    for (std::int64_t g = 0; g < dim / group; ++g) {
      const double sign = random.below(2) == 0 ? 1 : -1;
      scales.set(place, g, sign * (1 + random.uniform()) * 3 / steps);
      biases.set(place, g, -sign * (1 + random.uniform()) * 2);
    }
  }

  std::vector<double> row(std::int64_t place) const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < dim; ++i) {
      const std::int64_t bit = (place * dim + i) * bits;
      const unsigned byte = codes[static_cast<std::size_t>(bit / 8)];
      const unsigned code = byte >> bit % 8 & ((1u << bits) - 1);
      values.push_back(scales.get(place, i / group) * code + biases.get(place, i / group));
    }
    return values;
  }

  int bits, group;
  std::int64_t dim;
  std::vector<std::uint8_t> codes;
  TypedRows scales, biases;
};

/// One sequence per length, each position in both forms, which hold different numbers.
class PackedScene {
 public:
  PackedScene(const PackedShape& shape, const std::vector<std::int64_t>& lengths)
      : shape_(shape), random_(7), sinks_(DType::f32, 1, shape.heads) {
    sinks_.fill(random_);
    std::int64_t pages = 1;
    for (const std::int64_t n : lengths) pages += (n + shape.page_tokens - 1) / shape.page_tokens;
    const std::int64_t places = pages * shape.kv_heads * shape.page_tokens;
    for (auto* array : {&k_, &v_})
      *array = std::make_unique<TypedRows>(shape.cache_type, places, shape.dim, 0);
    for (auto* array : {&packed_k_, &packed_v_})
      *array = std::make_unique<PackedArray>(shape, places);
    auto next = static_cast<std::int32_t>(pages);
    for (const std::int64_t n : lengths) {
      for (std::int64_t at = 0; at < n; at += shape.page_tokens) --next;
      std::vector<std::int32_t>&plain = plain_.emplace_back(), &packed = packed_.emplace_back();
      const auto own = (n + shape.page_tokens - 1) / shape.page_tokens;
      for (std::int32_t i = 0; i < own; ++i) {
        plain.push_back(next + i);  // the two tables run against each other
        packed.push_back(next + static_cast<std::int32_t>(own) - 1 - i);
      }
      for (std::int64_t p = 0; p < n; ++p)
        for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
          for (TypedRows* array : {k_.get(), v_.get()})
            for (std::int64_t i = 0; i < shape.dim; ++i)
              array->set(place(plain, p, h), i, random_.normal());
          packed_k_->fill(place(packed, p, h), random_);
          packed_v_->fill(place(packed, p, h), random_);
        }
    }
  }

  kernels::SeqRow seq(std::size_t sequence, std::int64_t position, std::int64_t packed_begin,
                      std::int64_t packed_end, std::int64_t kept = 0, std::int64_t resume = 0) {
    kernels::SeqRow row{plain_[sequence].data(), position};
    row.packed = packed_[sequence].data();
    row.packed_begin = packed_begin, row.packed_end = packed_end;
    row.kept = kept, row.resume = resume;
    return row;
  }
  void add(const kernels::SeqRow& row) { rows_.push_back(row); }
  void make_queries() {
    q_ = std::make_unique<TypedRows>(shape_.type, m(), shape_.heads * shape_.dim, shape_.q_room);
    q_->fill(random_);
  }
  std::int64_t m() const { return std::ssize(rows_); }

  /// Makes all sums of codes and queries as large as they get: the highest codes, queries of one
  /// size, whose signs change with every eight elements: scores stay small.
  void make_largest() {
    for (PackedArray* array : {packed_k_.get(), packed_v_.get()})
      std::ranges::fill(array->codes, std::uint8_t{0xff});
    make_queries();
    for (std::int64_t i = 0; i < m(); ++i)
      for (std::int64_t j = 0; j < shape_.heads * shape_.dim; ++j)
        q_->set(i, j, j / 8 % 2 == 0 ? 1.984375 : -1.953125);
  }

  /// Makes everything poison that the first row does not read: pages of the other form, and what a
  /// rotating cache leaves out.
  void poison_unread() {
    const kernels::SeqRow& row = rows_[0];
    for (std::int64_t p = 0; p <= row.position; ++p)
      for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
        const bool left_out = p >= row.kept && p < row.resume && row.kept > 0;
        if (left_out || is_packed(row, p))
          for (TypedRows* array : {k_.get(), v_.get()})
            for (std::int64_t i = 0; i < shape_.dim; ++i)
              array->set(place(plain_[0], p, h), i, NAN);
        if (!left_out && is_packed(row, p)) continue;
        for (PackedArray* array : {packed_k_.get(), packed_v_.get()})
          for (std::int64_t g = 0; g < shape_.dim / shape_.group; ++g)
            array->scales.set(place(packed_[0], p, h), g, NAN);
      }
  }

  /// Makes a position's packed values NaN, of the first sequence.
  void poison_packed(std::int64_t position) {
    for (std::int64_t h = 0; h < shape_.kv_heads; ++h)
      for (std::int64_t g = 0; g < shape_.dim / shape_.group; ++g)
        packed_v_->scales.set(place(packed_[0], position, h), g, NAN);
  }

  std::unique_ptr<TypedRows> run(const Kernel& kernel, std::int64_t step = 0) const {
    auto y =
        std::make_unique<TypedRows>(shape_.type, m(), shape_.heads * shape_.dim, shape_.y_room);
    kernels::AttnArgs args = {};
    args.q = q_->data(), args.y = y->data();
    args.q_stride = q_->stride(), args.y_stride = y->stride();
    args.type = shape_.type;
    args.seq = rows_.data(), args.rows = m(), args.heads = shape_.heads;
    args.cache = {k_->data(),      v_->data(), shape_.cache_type, shape_.page_tokens,
                  shape_.kv_heads, shape_.dim, shape_.dim};
    args.cache.packed = {packed_k_->codes.data(),
                         packed_k_->scales.data(),
                         packed_k_->biases.data(),
                         packed_v_->codes.data(),
                         packed_v_->scales.data(),
                         packed_v_->biases.data(),
                         static_cast<std::int32_t>(shape_.bits),
                         static_cast<std::int32_t>(shape_.group)};
    args.scale = scale();
    args.window = shape_.window;
    args.softcap = static_cast<float>(shape_.softcap);
    args.sinks = shape_.sinks ? sinks_.data() : nullptr;
    args.sinks_type = DType::f32;
    if (kernel.device != nullptr) {
      run_on_device(kernel, args, *y,
                    step == 0 ? m() : std::max<std::int64_t>(1, step / shape_.heads));
      return y;
    }
    const std::int64_t units = m() * shape_.heads;
    if (step == 0) step = units;
    for (std::int64_t at = 0; at < units; at += step)
      kernel.entry->run(&args, {at, std::min(at + step, units)});
    return y;
  }

  void expect_right(const TypedRows& y, double slack = 0.05) const {
    ASSERT_TRUE(y.untouched_between());
    for (std::int64_t i = 0; i < m(); ++i)
      for (std::int64_t h = 0; h < shape_.heads; ++h) {
        const std::vector<double> ref = reference(i, h);
        double error = 0, size = 0, rounding = 0;
        for (std::int64_t j = 0; j < shape_.dim; ++j) {
          const double want = ref[static_cast<std::size_t>(j)];
          error += std::pow(y.get(i, h * shape_.dim + j) - want, 2);
          rounding += std::pow(oracle::rounded(want, shape_.type) - want, 2);
          size += want * want;
        }
        // As for plain pages; scores reach 30, each with its own float32 rounding. The order of
        // prompts rounds decoded values to f16.
        ASSERT_LE(std::sqrt(error), std::sqrt(rounding) * 1.05 +
                                        (4e-6 + half_step(shape_.type) * slack) * std::sqrt(size))
            << "row " << i << ", head " << h;
      }
  }

 private:
  static Bytes bytes_of(const TypedRows& rows) {
    const std::int64_t count = (rows.rows() - 1) * rows.stride() + rows.width();
    return {rows.data(), rows.data() + count * size_of(rows.type())};
  }
  /// On the device, `step` rows at a time.
  void run_on_device(const Kernel& kernel, kernels::AttnArgs args, const TypedRows& y,
                     std::int64_t step) const {
    DeviceArrays device;
    const auto put = [&device](const auto* from, std::size_t count) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(from);
      return device.put({bytes, bytes + count * sizeof(*from)});
    };
    const auto put_table = [&](const std::vector<std::int32_t>& table) {
      return reinterpret_cast<std::int32_t*>(put(table.data(), table.size()));
    };
    std::vector<const std::int32_t*> plain, packed;
    for (const auto& table : plain_) plain.push_back(put_table(table));
    for (const auto& table : packed_) packed.push_back(put_table(table));
    std::vector<kernels::SeqRow> seq = rows_;
    for (kernels::SeqRow& row : seq) {
      const std::size_t s = sequence_of(row);
      row.pages = plain[s], row.packed = packed[s];
    }
    const auto* rows = reinterpret_cast<kernels::SeqRow*>(put(seq.data(), seq.size()));
    if (args.sinks != nullptr) args.sinks = device.put(bytes_of(sinks_));
    const std::uint8_t* const q = device.put(bytes_of(*q_));
    const Bytes before = bytes_of(y);
    std::uint8_t* const there = device.put(before);
    args.cache.k = device.put(bytes_of(*k_)), args.cache.v = device.put(bytes_of(*v_));
    const auto arrays = [&](const PackedArray& from) {
      return std::array{put(from.codes.data(), from.codes.size()),
                        device.put(bytes_of(from.scales)), device.put(bytes_of(from.biases))};
    };
    const auto keys = arrays(*packed_k_), values = arrays(*packed_v_);
    args.cache.packed = {keys[0],   keys[1],   keys[2],     values[0],
                         values[1], values[2], shape_.bits, shape_.group};
    const std::int64_t size = size_of(shape_.type);
    for (std::int64_t at = 0; at < m(); at += step) {
      args.seq = rows + at, args.rows = std::min(step, m() - at);
      args.q = q + at * args.q_stride * size, args.y = there + at * args.y_stride * size;
      device.run(kernel.device->workspace_bytes(&args), [&](const kernels::CudaContext& context) {
        return kernel.device->launch(&args, context);
      });
    }
    const Bytes after = device.get(there, std::ssize(before));
    std::copy(after.begin(), after.end(), y.data());
  }

  float scale() const { return static_cast<float>(1 / std::sqrt(static_cast<double>(shape_.dim))); }
  std::int64_t place(const std::vector<std::int32_t>& table, std::int64_t p, std::int64_t h) const {
    const std::int64_t page = table[static_cast<std::size_t>(p / shape_.page_tokens)];
    return (page * shape_.kv_heads + h) * shape_.page_tokens + p % shape_.page_tokens;
  }
  bool is_packed(const kernels::SeqRow& row, std::int64_t p) const {
    const std::int64_t page = p / shape_.page_tokens;
    return page >= row.packed_begin && page < row.packed_end;
  }
  std::size_t sequence_of(const kernels::SeqRow& row) const {
    std::size_t s = 0;
    while (plain_[s].data() != row.pages) ++s;
    return s;
  }
  std::vector<double> reference(std::int64_t index, std::int64_t head) const {
    const kernels::SeqRow& row = rows_[static_cast<std::size_t>(index)];
    const std::size_t s = sequence_of(row);
    const std::int64_t kv_head = head / (shape_.heads / shape_.kv_heads);
    oracle::AttentionHead one;
    one.q = q_->run(index, head * shape_.dim, shape_.dim);
    one.scale = static_cast<double>(scale());
    one.softcap = shape_.softcap;
    if (shape_.sinks) one.sink = sinks_.get(0, head);
    const std::int64_t first =
        shape_.window > 0 ? std::max<std::int64_t>(0, row.position - shape_.window + 1) : 0;
    for (std::int64_t p = first; p <= row.position; ++p) {
      if (row.kept > 0 && p >= row.kept && p < row.resume) continue;
      const bool packed = is_packed(row, p);
      const std::int64_t at = place(packed ? packed_[s] : plain_[s], p, kv_head);
      one.k.push_back(packed ? packed_k_->row(at) : k_->row(at));
      one.v.push_back(packed ? packed_v_->row(at) : v_->row(at));
    }
    return oracle::attention(one);
  }

  PackedShape shape_;
  Random random_;
  TypedRows sinks_;
  std::unique_ptr<TypedRows> k_, v_, q_;
  std::unique_ptr<PackedArray> packed_k_, packed_v_;
  std::vector<std::vector<std::int32_t>> plain_, packed_;
  std::vector<kernels::SeqRow> rows_;
};

class EachPackedAttn : public EachRow {
 protected:
  void SetUp() override {  // these scenes can be carried to a GPU
    if (row().device == nullptr) return EachRow::SetUp();
    if (!device_runs(row().is.isa)) GTEST_SKIP() << row().name << ": no GPU here";
  }
  /// Whether pages are those of the engine, which hold whole chunks.
  static bool whole_pages() {
    return row().device != nullptr && (row().is.isa == Isa::sm80 || row().is.isa == Isa::sm90);
  }
  static double slack() { return row().fields.order == Order::wgmma_pages ? 0.1 : 0.05; }
  static std::int64_t page_tokens() { return whole_pages() ? kKvPageTokens : 16; }
  static bool takes(int bits) { return row().is.bits == 0 || row().is.bits == bits; }
  /// The shape in types and bits that the row takes: bf16 where it takes no float32. A row of some
  /// types reads a cache of the queries' type.
  static PackedShape fitting(PackedShape shape) {
    if (row().is.isa == Isa::sm90) shape.q_room = 8, shape.y_room = 6;  // else others serve it
    if (row().is.bits != 0) shape.bits = row().is.bits;
    if (row().is.act) {
      shape.type = shape.cache_type = *row().is.act;
      return shape;
    }
    if (row().fields.x_types == kAllTypes) return shape;
    if (shape.type == DType::f32) shape.type = DType::bf16;
    if (shape.cache_type == DType::f16) shape.type = DType::f16;
    shape.cache_type = shape.type;
    return shape;
  }

  static void check(const PackedShape& any, std::int64_t position, std::int64_t begin,
                    std::int64_t end, std::int64_t kept = 0, std::int64_t resume = 0) {
    const PackedShape shape = fitting(any);
    if (!takes(any.bits) || shape.dim > row().fields.most_head ||
        shape.dim % row().fields.head_multiple != 0)
      return;  // why_not() says so
    if (whole_pages() && shape.page_tokens % kKvPageTokens != 0) return;
    SCOPED_TRACE(testing::Message()
                 << shape.bits << " bits, group " << shape.group << ", " << shape.heads << "/"
                 << shape.kv_heads << " heads of " << shape.dim << ", cache "
                 << static_cast<int>(shape.cache_type) << ", position " << position << ", packed "
                 << begin << " to " << end << ", left out " << kept << " to " << resume);
    PackedScene scene(shape, {position + 1, 3});
    scene.add(scene.seq(0, position, begin, end, kept, resume));
    scene.make_queries();
    scene.poison_unread();
    scene.expect_right(*scene.run(row()), slack());
  }
};

TEST_P(EachPackedAttn, EveryWidthGroupTypeAndHeadSize) {
  for (const int bits : {4, 8})
    for (const DType cache_type : kFloatTypes) {
      for (const auto& [group, dim] :
           {std::pair{32, 32}, {32, 96}, {64, 64}, {64, 192}, {128, 256}})
        check({.cache_type = cache_type, .bits = bits, .group = group, .dim = dim}, 150, 0, 2);
      check({.type = cache_type, .cache_type = cache_type, .bits = bits, .group = 32, .dim = 128},
            100, 0, 1);
    }
  check({.group = 128, .dim = kernels::kMaxHeadDim}, 70, 0, 1);
  check({.group = 32, .dim = kernels::kMaxHeadDim}, 70, 0, 1);
}

/// Integers of 16 bits hold the sums of some groups and not of others.
TEST_P(EachPackedAttn, LargestCodesAndQueries) {
  for (const int bits : {4, 8})
    for (const int group : {32, 64, 128})
      for (const std::int64_t heads : {1, 2, 3, 6}) {
        const PackedShape shape = fitting(
            {.type = DType::bf16, .bits = bits, .group = group, .heads = heads, .dim = 128});
        if (!takes(bits)) continue;
        SCOPED_TRACE(testing::Message() << bits << " bits, group " << group << ", " << heads);
        PackedScene scene(shape, {150});
        scene.add(scene.seq(0, 149, 0, 2));
        scene.make_largest();
        scene.expect_right(*scene.run(row()), slack());
      }
}

TEST_P(EachPackedAttn, EveryGroupOfHeads) {
  for (const std::int64_t shared : {1, 2, 3, 4, 5, 7, 8, 16, 17})
    for (const std::int64_t kv_heads : {1, 3})
      check({.heads = shared * kv_heads, .kv_heads = kv_heads}, 140, 1, 2);
}

TEST_P(EachPackedAttn, BordersOfPages) {
  for (const std::int64_t page_tokens : {8, 16, 64, 100, 128})
    for (const std::int64_t position : {page_tokens, 3 * page_tokens - 1, 3 * page_tokens + 2})
      for (std::int64_t begin = 0; begin <= 2; ++begin)
        for (std::int64_t end = begin; end <= position / page_tokens; ++end)
          check({.group = 32, .dim = 32, .page_tokens = page_tokens}, position, begin, end);
}

TEST_P(EachPackedAttn, RotatingLeavesOutByPosition) {
  for (const std::int64_t page_tokens : {16, 64})
    for (const std::int64_t resume : {5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 199, 200})
      for (const std::int64_t packed : {0, 1, 3})
        check({.group = 32, .dim = 32, .page_tokens = page_tokens}, 200, 0, packed, 4, resume);
  check({.dim = 64, .window = 50}, 200, 0, 3, 4, 100);  // a layer with a window of its own
  check({.dim = 64, .window = 150}, 200, 0, 3, 4, 100);
}

TEST_P(EachPackedAttn, CapsSinksAndLongRows) {
  for (const std::int64_t window : {0, 150})
    for (const std::int64_t dim : {64, 128}) {
      check({.dim = dim, .window = window, .softcap = 30}, 300, 0, 3);
      check({.heads = 6, .dim = dim, .window = window, .sinks = true}, 300, 1, 4);
      check({.heads = 3, .dim = dim, .window = window, .softcap = 2, .sinks = true}, 200, 0, 2);
    }
  // More than the parts of the KV axis.
  for (const int bits : {4, 8}) {
    check({.bits = bits, .heads = 6, .kv_heads = 2, .dim = 128}, 4500, 1, 69);
    check({.bits = bits, .heads = 3, .dim = 128, .window = 1000}, 2500, 0, 38);
  }
}

/// Rows that read the same pages in different forms, of two sequences, in any company.
TEST_P(EachPackedAttn, RowAloneEqualsRowInCompany) {
  const std::int64_t tokens = page_tokens();
  for (const DType cache_type : kFloatTypes)
    for (const auto& [bits, rotating] : {std::pair{4, false}, {4, true}, {8, false}, {8, true}}) {
      if (!takes(bits)) continue;
      const PackedShape shape = fitting({.type = DType::bf16,
                                         .cache_type = cache_type,
                                         .bits = bits,
                                         .heads = 6,
                                         .kv_heads = 2,
                                         .page_tokens = tokens});
      PackedScene scene(shape, {240, 70});
      for (std::int64_t p = 90; p < 240; p += p < 140 ? 1 : 3)
        scene.add(scene.seq(0, p, 1, std::max<std::int64_t>(1, p / tokens),
                            rotating && p > 100 ? 4 : 0, p - 96));
      for (std::int64_t p = 30; p < 36; ++p) scene.add(scene.seq(1, p, 0, p / tokens));
      scene.make_queries();
      const auto together = scene.run(row()), sliced = scene.run(row(), 13),
                 alone = scene.run(row(), 1);
      if (cache_type == DType::bf16) scene.expect_right(*together, slack());
      for (std::int64_t i = 0; i < scene.m(); ++i) {
        EXPECT_EQ(together->row_bytes(i), sliced->row_bytes(i)) << i;
        EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
      }
    }
}

/// Pages of an odd number of positions, heads that end within a block of codes: few rows read as
/// many do, and both are right.
TEST_P(EachPackedAttn, OddPagesAndHeads) {
  for (const auto& [group, dim] : {std::pair{32, 32}, {32, 96}, {64, 192}, {128, 128}})
    for (const int bits : {4, 8})
      for (const std::int64_t page_tokens : {33, 65}) {
        if (!takes(bits) || whole_pages()) continue;
        const PackedShape shape = fitting({.type = DType::bf16,
                                           .bits = bits,
                                           .group = group,
                                           .heads = 3,
                                           .dim = dim,
                                           .page_tokens = page_tokens});
        SCOPED_TRACE(testing::Message() << bits << " bits, group " << group << ", dim " << dim
                                        << ", pages of " << page_tokens);
        PackedScene scene(shape, {3 * page_tokens});
        for (const std::int64_t edge : {page_tokens, 2 * page_tokens, 3 * page_tokens - 1})
          for (std::int64_t p = edge - 2; p < std::min(edge + 2, 3 * page_tokens); ++p)
            scene.add(scene.seq(0, p, 0, 3));
        scene.make_queries();
        const auto together = scene.run(row()), alone = scene.run(row(), 1);
        scene.expect_right(*together, slack());
        for (std::int64_t i = 0; i < scene.m(); ++i)
          EXPECT_EQ(together->row_bytes(i), alone->row_bytes(i)) << i;
      }
}

/// Rows of a page that stand at both sides of a window's edge read a page before it packed and
/// plain; where one form has a NaN only its readers do.
TEST_P(EachPackedAttn, RowsOfATileReadAPageInBothForms) {
  const std::int64_t tokens = page_tokens();
  for (const int bits : {4, 8}) {
    if (!takes(bits)) continue;
    const PackedShape shape = fitting(
        {.type = DType::bf16, .bits = bits, .heads = 4, .kv_heads = 2, .page_tokens = tokens});
    PackedScene scene(shape, {300});
    for (std::int64_t p = 128; p < 290; ++p)
      scene.add(scene.seq(0, p, 0, std::max<std::int64_t>(0, (p + 1 - 100) / tokens)));
    scene.make_queries();
    const auto before = scene.run(row());
    scene.expect_right(*before, slack());
    const std::int64_t page = 100 / tokens;
    scene.poison_packed(page * tokens + 3);
    const auto after = scene.run(row());
    for (std::int64_t i = 0; i < scene.m(); ++i) {
      if (128 + i + 1 - 100 < (page + 1) * tokens)
        EXPECT_EQ(before->row_bytes(i), after->row_bytes(i)) << i;
      else
        EXPECT_TRUE(std::isnan(after->get(i, 0))) << i;
    }
  }
}

/// Whether a plain row serves what has no packed page where this one serves the rest.
bool stands_beside(const Kernel& plain, const Kernel& row) {
  if (plain.is.op != KernelOp::attn || plain.is.mode) return false;
  if (row.is.isa == Isa::avx512vnni) return plain.is.isa == Isa::avx512;  // plain pages are its own
  if (row.fields.order == Order::avx2_i16) return plain.is.isa == Isa::avx2;
  return plain.is.isa == row.is.isa && plain.fields.order == row.fields.order;
}

/// Rows that have no packed page to read give the bytes of the plain row.
TEST_P(EachPackedAttn, WithoutPackedPagesItIsThePlainRow) {
  for (const Kernel& plain : roll_call()) {
    if (!stands_beside(plain, row())) continue;
    for (const DType cache_type : kFloatTypes) {
      const PackedShape shape = fitting({.type = DType::bf16,
                                         .cache_type = cache_type,
                                         .group = 32,
                                         .heads = 14,
                                         .kv_heads = 2,
                                         .dim = row().fields.head_multiple > 32 ? 128 : 96});
      PackedScene scene(shape, {200});
      for (std::int64_t p = 120; p < 200; ++p) scene.add(scene.seq(0, p, 2, 2));
      scene.make_queries();
      const auto a = scene.run(row()), b = scene.run(plain);
      for (std::int64_t i = 0; i < scene.m(); ++i) EXPECT_EQ(a->row_bytes(i), b->row_bytes(i)) << i;
    }
  }
}

std::vector<const Kernel*> packed_rows() {
  std::vector<const Kernel*> rows = built_rows({KernelOp::attn});
  std::erase_if(rows, [](const Kernel* row) { return !row->is.mode; });
  return rows;
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachPackedAttn, testing::ValuesIn(packed_rows()), row_name);

}  // namespace
}  // namespace stepless::test
