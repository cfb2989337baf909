// Launches of CUDA rows that do their neighbours' work as well give the bytes of separate launches.
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/roll_call.hpp"
#include "tests/support/device.hpp"
#include "tests/support/each_row.hpp"

namespace stepless::test {
namespace {

const Kernel& cuda_row(KernelOp op) {
  for (const Kernel& row : roll_call())
    if (row.is.op == op && row.is.isa == Isa::cuda && !row.is.mode) return row;
  throw std::runtime_error("no such CUDA row");
}

class Joined : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!device_runs(Isa::cuda)) GTEST_SKIP() << "no GPU here";
  }
  std::uint8_t* random(DType type, std::int64_t count, double scale = 1) {
    return arrays_.put(random_rows(type, count, scale, random_));
  }
  std::uint8_t* poisoned(std::int64_t bytes) {
    return arrays_.put(Bytes(static_cast<std::size_t>(bytes), 0xff));
  }
  template <class Args>
  void launch(KernelOp op, const Args& args) {
    const Kernel& kernel = cuda_row(op);
    arrays_.run(0, [&](const kernels::CudaContext& c) { return kernel.device->launch(&args, c); });
  }

  DeviceArrays arrays_;
  Random random_{7};
};

// ---- products

struct Products {
  std::vector<kernels::MatmulArgs> parts;
  std::int64_t all_n = 0;
};

class JoinedProducts : public Joined, public ::testing::WithParamInterface<const Kernel*> {
 protected:
  const kernels::CudaEntry& entry() const { return *GetParam()->device; }

  Products products(const Format& format, std::int64_t m, std::int64_t k,
                    const std::vector<std::int64_t>& sizes) {
    Products all;
    const std::uint8_t* const x = random(format.x_type, m * k);
    for (const std::int64_t n : sizes) {
      const oracle::Stored w = random_weight(format, n, k, random_);
      kernels::MatmulArgs a{};
      a.x = x, a.x_stride = k, a.m = m, a.n = n, a.k = k;
      // Every part's own: as random_weight() draws it, and larger from part to part.
      const auto part = static_cast<float>(all.parts.size() + 1);
      a.tensor_scale = format.spec.mode == Mode::nvfp4 ? w.tensor_scale * part : 1;
      a.w = arrays_.put(w.w), a.scales = arrays_.put(w.scales), a.biases = arrays_.put(w.biases);
      a.w_row_bytes = w.row_bytes();
      a.mode = format.spec.mode, a.bits = format.spec.bits, a.group_size = format.spec.group_size;
      a.x_type = a.w_type = a.y_type = format.x_type;
      a.y = poisoned(m * n * 2), a.y_stride = n;
      all.parts.push_back(a);
      all.all_n += (n + 31) / 32 * 32;
    }
    return all;
  }
  std::int64_t workspace(const Products& products) const {
    kernels::MatmulArgs a = products.parts[0];
    a.n = products.all_n;
    return entry().workspace_bytes == nullptr ? 0 : entry().workspace_bytes(&a);
  }
  void run(const Products& products, const kernels::GluArgs* glu) {
    arrays_.run(workspace(products), [&](const kernels::CudaContext& context) {
      return entry().joined.products(products.parts.data(), std::ssize(products.parts), glu,
                                     context);
    });
  }
  /// The same parts one by one, into results of their own.
  Products run_apart(const Products& products) {
    Products apart = products;
    for (kernels::MatmulArgs& a : apart.parts) {
      a.y = poisoned(a.m * a.n * 2);
      arrays_.run(workspace(products),
                  [&](const kernels::CudaContext& context) { return entry().launch(&a, context); });
    }
    return apart;
  }
  Bytes y_of(const kernels::MatmulArgs& a) const {
    return arrays_.get(static_cast<const std::uint8_t*>(a.y), a.m * a.n * 2);
  }
  kernels::GluArgs gate_of(const Format& format, std::int64_t m, std::int64_t n) {
    kernels::GluArgs glu{};
    glu.y = poisoned(m * n * 2), glu.type = format.x_type;
    glu.rows = m, glu.width = glu.gate_stride = glu.up_stride = glu.y_stride = n;
    return glu;
  }
  /// The sizes, as the row wants them.
  std::vector<std::int64_t> fitting(std::vector<std::int64_t> sizes) const {
    const std::int64_t step = GetParam()->fields.n_multiple;
    for (std::int64_t& n : sizes) n = (n + step - 1) / step * step;
    return sizes;
  }
  /// The row's formats whose x, scales and y have one type of 16 bits.
  std::vector<Format> formats() const {
    std::vector<Format> some;
    for (Format f : all_formats(GetParam()->is.op)) {
      if (f.x_type == DType::f32 || (!f.packed && f.y_type != f.x_type)) continue;
      f.y_type = f.x_type;
      if ((!f.packed || f.spec.mode == Mode::affine) && f.w_type != f.x_type) continue;
      if (accepts(*GetParam(), f)) some.push_back(f);
    }
    return some;
  }
  /// Rows at every edge of a tile with one k, few with others.
  template <class F>
  void each_case(F f) {
    const std::pair<std::int64_t, std::vector<std::int64_t>> cases[] = {
        {256, {1, 64, 600}},
        {768, {1, 8, 9, 16, 17, 32, 33, 48, 49, 64, 65, 130}},
        {2304, {1, 16, 130}},
        {3328, {8}},  // 13 and 17 units of 256: rows of few of x have blocks of their own for them
        {4352, {3}}};
    constexpr std::int64_t kLong = 3000, kFew = 8;
    for (const Format& format : formats())
      for (const auto& [k, rows] : cases)
        for (const std::int64_t m : rows) {
          if (k > kLong && GetParam()->fields.rows.most > kFew) continue;
          if (m < GetParam()->fields.rows.least || m > GetParam()->fields.rows.most) continue;
          SCOPED_TRACE(format.text() + ", m " + std::to_string(m) + ", k " + std::to_string(k));
          f(format, m, k);
        }
  }
};

TEST_P(JoinedProducts, PartsEqualSeparateLaunches) {
  each_case([&](const Format& format, std::int64_t m, std::int64_t k) {
    for (const std::vector<std::int64_t>& sizes : {fitting({40, 16, 49}), fitting({7, 2500}),
                                                   fitting({32, 32, 32, 33}), fitting({300, 9})}) {
      const Products together = products(format, m, k, sizes);
      run(together, nullptr);
      const Products apart = run_apart(together);
      for (std::size_t i = 0; i < sizes.size(); ++i)
        EXPECT_EQ(y_of(together.parts[i]), y_of(apart.parts[i])) << "part " << i;
    }
  });
}

/// More tiles than a GPU has blocks, of every weight a part of one.
TEST_P(JoinedProducts, ManyTilesEqualSeparateLaunches) {
  const Format format = formats().front();
  for (const std::int64_t m : {8, 17, 64, 130}) {
    if (m < GetParam()->fields.rows.least || m > GetParam()->fields.rows.most) continue;
    SCOPED_TRACE(m);
    const Products together = products(format, m, 768, fitting({9000, 40, 8450}));
    run(together, nullptr);
    const Products apart = run_apart(together);
    for (std::size_t i = 0; i < together.parts.size(); ++i)
      EXPECT_EQ(y_of(together.parts[i]), y_of(apart.parts[i])) << "part " << i;
  }
}

/// Few launches with an edge on every side, for compute-sanitizer.
TEST_P(JoinedProducts, AnEdgeOnEverySide) {
  const Format format = formats().front();
  const std::int64_t m = std::min<std::int64_t>(GetParam()->fields.rows.most, 67);
  const std::vector<std::int64_t> sizes = fitting({40, 16, 49});
  const Products together = products(format, m, 768, sizes);
  run(together, nullptr);
  const Products apart = run_apart(together);
  for (std::size_t i = 0; i < sizes.size(); ++i)
    EXPECT_EQ(y_of(together.parts[i]), y_of(apart.parts[i])) << "part " << i;
}

TEST_P(JoinedProducts, GateEqualsSeparateLaunches) {
  each_case([&](const Format& format, std::int64_t m, std::int64_t k) {
    for (const std::int64_t n : fitting({16, 49, 2500})) {
      const Products together = products(format, m, k, {n, n});
      kernels::GluArgs glu = gate_of(format, m, n);
      const bool clamped = n > 16 && n < 2500;
      glu.activation = clamped ? kernels::Activation::swish : kernels::Activation::silu;
      glu.alpha = 1.7f, glu.limit = clamped ? 1.5f : 0, glu.up_offset = clamped ? 1.0f : 0;
      run(together, &glu);
      const Bytes joined = arrays_.get(static_cast<std::uint8_t*>(glu.y), m * n * 2);
      const Products apart = run_apart(together);
      glu.gate = apart.parts[0].y, glu.up = apart.parts[1].y;
      launch(KernelOp::glu, glu);
      EXPECT_EQ(joined, arrays_.get(static_cast<std::uint8_t*>(glu.y), m * n * 2)) << "n " << n;
      EXPECT_EQ(y_of(together.parts[0]), Bytes(static_cast<std::size_t>(m * n * 2), 0xff))
          << "the gate itself is not stored";
    }
  });
}

std::vector<const Kernel*> rows_that_join_products() {
  std::vector<const Kernel*> rows;
  for (const Kernel* row : built_rows({KernelOp::qmm, KernelOp::mm}))
    if (row->device != nullptr && row->device->joined.products != nullptr) rows.push_back(row);
  return rows;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(JoinedProducts);
INSTANTIATE_TEST_SUITE_P(RollCall, JoinedProducts, testing::ValuesIn(rows_that_join_products()),
                         row_name);

// ---- norms in front of products

/// A sum of two values and its norm, of m rows.
struct NormedSum {
  kernels::AddArgs add{};
  kernels::NormArgs norm{};
};

class JoinedNorms : public JoinedProducts {
 protected:
  NormedSum normed_sum(DType type, std::int64_t m, std::int64_t k) {
    NormedSum all;
    kernels::AddArgs& add = all.add;
    add.a = random(type, m * k), add.b = random(type, m * k);
    add.y = poisoned(m * k * 2), add.type = add.b_type = add.y_type = type;
    add.rows = m, add.width = add.a_stride = add.b_stride = add.y_stride = k;
    add.a_scale = add.b_scale = 1;
    kernels::NormArgs& norm = all.norm;
    norm.x = add.y, norm.y = poisoned(m * k * 2), norm.weight = random(type, k);
    norm.x_type = norm.weight_type = norm.y_type = type, norm.weight_offset = 1;
    norm.rows = m, norm.k = norm.x_stride = norm.y_stride = k, norm.groups = 1;
    norm.epsilon = 1e-5f;
    return all;
  }
  Bytes read(const void* p, std::int64_t elements) const {
    return arrays_.get(static_cast<const std::uint8_t*>(p), elements * 2);
  }
  bool takes(std::int64_t m) const {
    return m >= GetParam()->fields.rows.least && m <= GetParam()->fields.rows.most;
  }
  /// Whether `launch`(context) was for such a shape.
  template <class F>
  bool serves(std::int64_t workspace_bytes, F launch) {
    constexpr std::int32_t kNotSupported = 801;  // cudaErrorNotSupported
    std::int32_t error = 0;
    arrays_.run(workspace_bytes, [&](const kernels::CudaContext& context) {
      error = launch(context);
      return error == kNotSupported ? 0 : error;
    });
    return error == 0;
  }
  /// The sum, the norm and the products that read it, in launches of their own.
  void run_norm_apart(const NormedSum& x, Products& products, const kernels::GluArgs* glu) {
    arrays_.run(0, [&](const kernels::CudaContext& context) {
      return cuda_row(KernelOp::norm).device->joined.norm_sum(x.add, x.norm, context);
    });
    for (kernels::MatmulArgs& a : products.parts) a.x = x.norm.y;
    run(products, glu);
  }
};

TEST_P(JoinedNorms, ProductsOfANormEqualSeparateLaunches) {
  const auto launch_all = entry().joined.normed_products;
  if (launch_all == nullptr) GTEST_SKIP() << "it makes no norms";
  int served = 0;
  for (const Format& format : formats())
    for (const std::int64_t k : {256, 1024, 2048, 3072, 4352})
      for (const std::int64_t m : {1, 2, 3, 9, 16, 17, 33, 49, 64, 192, 1088})
        for (const bool is_gate : {false, true}) {
          SCOPED_TRACE(format.text() + ", m " + std::to_string(m) + ", k " + std::to_string(k));
          if (!takes(m)) continue;
          if (m > 192 && k != 3072) continue;  // more rows than blocks that fit
          const NormedSum x = normed_sum(format.x_type, m, k);
          Products together =
              products(format, m, k, is_gate ? fitting({200, 200}) : fitting({40, 2500, 33}));
          for (kernels::MatmulArgs& a : together.parts) a.x = x.norm.y;
          const std::int64_t n = together.parts[0].n;
          const kernels::GluArgs glu = gate_of(format, m, n);
          if (!serves(workspace(together), [&](const kernels::CudaContext& context) {
                return launch_all(x.add, x.norm, together.parts.data(), std::ssize(together.parts),
                                  is_gate ? &glu : nullptr, context);
              }))
            continue;
          ++served;
          const Bytes sum = read(x.add.y, m * k), gated = read(glu.y, m * n);
          std::vector<Bytes> y;
          for (const kernels::MatmulArgs& a : together.parts) y.push_back(y_of(a));
          run_norm_apart(x, together, is_gate ? &glu : nullptr);
          EXPECT_EQ(sum, read(x.add.y, m * k));
          for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], y_of(together.parts[i]));
          EXPECT_EQ(gated, read(glu.y, m * n));
        }
  EXPECT_GT(served, 0) << "no shape was served";
}

TEST_P(JoinedNorms, AFeedForwardEqualsSeparateLaunches) {
  const auto launch_all = entry().joined.feed_forward;
  if (launch_all == nullptr) GTEST_SKIP() << "it joins no feed-forward";
  // (Of 64 rows, 9 parts of k and so many outputs there are more sums than tell by themselves.)
  const std::tuple<std::int64_t, std::int64_t, std::int64_t> cases[] = {
      {9, 1024, 256},   {16, 3072, 2304}, {17, 768, 512},   {32, 4352, 1280},
      {33, 256, 256},   {48, 2304, 768},  {49, 1024, 512},  {64, 256, 256},
      {64, 9216, 3840}, {65, 256, 256},   {192, 768, 2304}, {320, 4352, 512}};
  const bool of_few = GetParam()->fields.rows.most <= 64;
  for (const Format& format : formats())
    for (const auto& [m, k, n] : cases) {
      if (!takes(m)) continue;
      SCOPED_TRACE(format.text() + ", m " + std::to_string(m) + ", k " + std::to_string(k));
      const NormedSum x = normed_sum(format.x_type, m, k);
      Products both = products(format, m, k, {n, n}), down = products(format, m, n, fitting({300}));
      for (kernels::MatmulArgs& a : both.parts) a.x = x.norm.y;
      const kernels::GluArgs glu = gate_of(format, m, n);
      down.parts[0].x = glu.y;
      const std::int64_t room = std::max(workspace(both), workspace(down));
      const bool served = serves(room, [&](const kernels::CudaContext& context) {
        return launch_all(x.add, x.norm, both.parts.data(), glu, down.parts[0], context);
      });
      EXPECT_EQ(served, of_few ? format.spec.group_size == 64 : m % 64 == 0);
      if (!served) continue;
      const Bytes sum = read(x.add.y, m * k), y = y_of(down.parts[0]);
      run_norm_apart(x, both, &glu);
      EXPECT_EQ(sum, read(x.add.y, m * k));
      EXPECT_EQ(y, y_of(run_apart(down).parts[0]));
    }
}

/// Few launches with an edge on every side, for compute-sanitizer.
TEST_P(JoinedNorms, AnEdgeOnEverySide) {
  const auto launch_normed = entry().joined.normed_products;
  const auto launch_all = entry().joined.feed_forward;
  const std::int64_t m = std::min<std::int64_t>(GetParam()->fields.rows.most, 49), n = 768;
  if (launch_normed == nullptr) GTEST_SKIP() << "it makes no norms";
  for (const std::int64_t rows : {m, std::int64_t{64}}) {
    if (!takes(rows)) continue;
    const Format format = formats().front();
    const NormedSum x = normed_sum(format.x_type, rows, 1280);
    Products both = products(format, rows, 1280, {n, n}),
             down = products(format, rows, n, fitting({40}));
    for (kernels::MatmulArgs& a : both.parts) a.x = x.norm.y;
    const kernels::GluArgs glu = gate_of(format, rows, n);
    down.parts[0].x = glu.y;
    const std::int64_t room = std::max(workspace(both), workspace(down));
    const bool is_normed = serves(room, [&](const kernels::CudaContext& context) {
      return launch_normed(x.add, x.norm, both.parts.data(), 2, nullptr, context);
    });
    const Bytes gate = y_of(both.parts[0]), up = y_of(both.parts[1]);
    const bool is_whole =
        launch_all != nullptr && serves(room, [&](const kernels::CudaContext& context) {
          return launch_all(x.add, x.norm, both.parts.data(), glu, down.parts[0], context);
        });
    const Bytes y = y_of(down.parts[0]);
    run_norm_apart(x, both, nullptr);
    EXPECT_TRUE(!is_normed || (gate == y_of(both.parts[0]) && up == y_of(both.parts[1])));
    run(both, &glu);
    EXPECT_TRUE(!is_whole || y == y_of(run_apart(down).parts[0]));
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(JoinedNorms);
INSTANTIATE_TEST_SUITE_P(RollCall, JoinedNorms, testing::ValuesIn(rows_that_join_products()),
                         row_name);

// ---- a sum and its norm

TEST_F(Joined, NormOfASumEqualsSeparateLaunches) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    for (const std::int64_t k : {1, 8, 100, 3072, 4104, 16384, 20000}) {
      SCOPED_TRACE(testing::Message() << "k " << k << ", type " << static_cast<int>(type));
      const std::int64_t rows = 3, bytes = rows * k * size_of(type);
      kernels::AddArgs add{};
      add.a = random(type, rows * k), add.b = random(type, rows * k), add.y = poisoned(bytes);
      add.type = add.b_type = add.y_type = type;
      add.rows = rows, add.width = add.a_stride = add.b_stride = add.y_stride = k;
      add.a_scale = add.b_scale = 1;
      kernels::NormArgs norm{};
      norm.x = add.y, norm.y = poisoned(bytes), norm.weight = random(type, k);
      norm.x_type = norm.weight_type = norm.y_type = type;
      norm.rows = rows, norm.k = norm.x_stride = norm.y_stride = k, norm.groups = 1;
      norm.epsilon = 1e-5f;
      const Kernel& row = cuda_row(KernelOp::norm);
      arrays_.run(0, [&](const kernels::CudaContext& context) {
        return row.device->joined.norm_sum(add, norm, context);
      });
      const auto read = [&](void* p) { return arrays_.get(static_cast<std::uint8_t*>(p), bytes); };
      const Bytes sum = read(add.y), y = read(norm.y);
      add.y = poisoned(bytes), norm.x = add.y, norm.y = poisoned(bytes);
      launch(KernelOp::add, add);
      launch(KernelOp::norm, norm);
      EXPECT_EQ(sum, read(add.y));
      EXPECT_EQ(y, read(norm.y));
    }
}

// ---- queries and keys turned and put

struct PutCase {
  DType type;
  std::int64_t heads, kv_heads, dim, pairs;
  bool interleaved;
};

TEST_F(Joined, PutOfTurnedKeysEqualsSeparateLaunches) {
  const PutCase cases[] = {{DType::bf16, 3, 1, 64, 32, false},
                           {DType::f16, 24, 8, 128, 64, false},
                           {DType::f32, 4, 2, 80, 16, false},
                           {DType::bf16, 2, 2, 10, 5, true},
                           {DType::bf16, 5, 5, 256, 128, false}};
  for (const PutCase& c : cases) {
    SCOPED_TRACE(testing::Message() << "dim " << c.dim << ", pairs " << c.pairs);
    const std::int64_t rows = 3, pages = 4, page_tokens = 64, size = size_of(c.type);
    const std::int64_t kv_width = c.kv_heads * c.dim, width = c.heads * c.dim;
    const std::int64_t cache_bytes = pages * c.kv_heads * page_tokens * c.dim * size;
    const std::int32_t table[] = {2, 3, 1};
    Bytes table_bytes(sizeof table);
    std::memcpy(table_bytes.data(), table, sizeof table);
    const auto* pages_there = reinterpret_cast<std::int32_t*>(arrays_.put(table_bytes));
    std::vector<kernels::SeqRow> seq = {{pages_there, 0}, {pages_there, 63}, {pages_there, 130}};
    Bytes seq_bytes(seq.size() * sizeof seq[0]);
    std::memcpy(seq_bytes.data(), seq.data(), seq_bytes.size());
    const float* angles = reinterpret_cast<float*>(random(DType::f32, rows * 2 * c.pairs));
    kernels::RopeArgs q{random(c.type, rows * width),
                        poisoned(rows * width * size),
                        angles,
                        c.type,
                        rows,
                        c.heads,
                        c.dim,
                        c.pairs,
                        width,
                        width,
                        c.interleaved};
    kernels::RopeArgs k{random(c.type, rows * kv_width),
                        poisoned(rows * kv_width * size),
                        angles,
                        c.type,
                        rows,
                        c.kv_heads,
                        c.dim,
                        c.pairs,
                        kv_width,
                        kv_width,
                        c.interleaved};
    kernels::KvPutArgs put{};
    put.k = k.y, put.v = random(c.type, rows * kv_width), put.k_stride = put.v_stride = kv_width;
    put.type = c.type, put.rows = rows;
    put.seq = reinterpret_cast<kernels::SeqRow*>(arrays_.put(seq_bytes));
    put.cache = {poisoned(cache_bytes),
                 poisoned(cache_bytes),
                 c.type,
                 page_tokens,
                 c.kv_heads,
                 c.dim,
                 c.dim};
    const auto read = [&](const void* p, std::int64_t bytes) {
      return arrays_.get(static_cast<const std::uint8_t*>(p), bytes);
    };
    arrays_.run(0, [&](const kernels::CudaContext& context) {
      return cuda_row(KernelOp::kvput).device->joined.put_turned(q, k, put, context);
    });
    const Bytes turned = read(q.y, rows * width * size), keys = read(put.cache.k, cache_bytes),
                values = read(put.cache.v, cache_bytes);
    q.y = poisoned(rows * width * size);
    put.cache.k = poisoned(cache_bytes), put.cache.v = poisoned(cache_bytes);
    launch(KernelOp::rope, q);
    launch(KernelOp::rope, k);
    launch(KernelOp::kvput, put);
    EXPECT_EQ(turned, read(q.y, rows * width * size));
    EXPECT_EQ(keys, read(put.cache.k, cache_bytes));
    EXPECT_EQ(values, read(put.cache.v, cache_bytes));
  }
}

}  // namespace
}  // namespace stepless::test
