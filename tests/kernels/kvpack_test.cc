// Pages of the cache become what quantize() makes of their rows, and only the pages asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "stepless/quant.hpp"
#include "tests/support/device.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

constexpr std::int64_t kPages = 4, kTokens = 16, kHeads = 2;

/// A cache with both forms; packed arrays start as 0xee.
struct PackScene {
  PackScene(DType cache_type, int bits, int group, std::int64_t k_dim, std::int64_t v_dim)
      : type(cache_type),
        spec{Mode::affine, bits, group},
        k(cache_type, kPages * kHeads * kTokens, k_dim, 0),
        v(cache_type, kPages * kHeads * kTokens, v_dim, 0) {
    for (int i = 0; i < 6; ++i) {
      const std::int64_t dim = i < 3 ? k_dim : v_dim;
      const std::int64_t row = i % 3 == 0 ? dim * bits / 8 : dim / group * size_of(cache_type);
      arrays[i].assign(static_cast<std::size_t>(kPages * kHeads * kTokens * row), 0xee);
    }
  }

  void run(const Kernel& kernel, const std::vector<kernels::SeqRow>& rows) {
    kernels::KvPackArgs args = {};
    args.seq = rows.data();
    args.rows = std::ssize(rows);
    args.cache = {k.data(), v.data(), type, kTokens, kHeads, k.width(), v.width()};
    args.cache.packed = {arrays[0].data(), arrays[1].data(), arrays[2].data(), arrays[3].data(),
                         arrays[4].data(), arrays[5].data(), spec.bits,        spec.group_size};
    if (kernel.device != nullptr) return run_on_device(kernel, args);
    for (std::int64_t unit = 0; unit < args.rows * kHeads; ++unit)
      kernel.entry->run(&args, {unit, unit + 1});
  }

  /// On the device; the packed arrays come back.
  void run_on_device(const Kernel& kernel, kernels::KvPackArgs args) {
    DeviceArrays device;
    const auto put = [&device](const auto* from, std::int64_t count) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(from);
      return device.put({bytes, bytes + static_cast<std::size_t>(count) * sizeof(*from)});
    };
    std::vector<kernels::SeqRow> seq(args.seq, args.seq + args.rows);
    for (kernels::SeqRow& row : seq) {
      row.pages =
          reinterpret_cast<std::int32_t*>(put(row.pages, std::max<std::int64_t>(1, row.pack + 1)));
      if (row.pack >= 0)
        row.packed = reinterpret_cast<std::int32_t*>(put(row.packed, row.pack + 1));
    }
    args.seq = reinterpret_cast<kernels::SeqRow*>(put(seq.data(), args.rows));
    for (const auto& [to, from] : {std::pair{&args.cache.k, &k}, {&args.cache.v, &v}})
      *to = put(from->data(), from->rows() * from->stride() * size_of(type));
    std::uint8_t** const there[] = {&args.cache.packed.k,        &args.cache.packed.k_scales,
                                    &args.cache.packed.k_biases, &args.cache.packed.v,
                                    &args.cache.packed.v_scales, &args.cache.packed.v_biases};
    for (std::size_t i = 0; i < 6; ++i) *there[i] = device.put(arrays[i]);
    device.run(0, [&](const kernels::CudaContext& context) {
      return kernel.device->launch(&args, context);
    });
    for (std::size_t i = 0; i < 6; ++i) arrays[i] = device.get(*there[i], std::ssize(arrays[i]));
  }

  /// Bytes of one page in array i.
  std::vector<std::uint8_t> page(int i, std::int64_t id) const {
    const auto bytes = static_cast<std::ptrdiff_t>(arrays[i].size() / kPages);
    return {arrays[i].begin() + id * bytes, arrays[i].begin() + (id + 1) * bytes};
  }

  DType type;
  QuantSpec spec;
  TypedRows k, v;
  std::vector<std::uint8_t> arrays[6];  // codes, scales, biases of keys; of values
};

std::vector<std::uint8_t> bytes_of(const Tensor& tensor) {
  std::vector<std::uint8_t> bytes(tensor.data.size());
  std::memcpy(bytes.data(), tensor.data.data(), bytes.size());
  return bytes;
}

/// Rows of every character: normal, constant, zero, far from zero, tiny, large, one outlier.
void fill(TypedRows& rows, Random& random) {
  for (std::int64_t i = 0; i < rows.rows(); ++i)
    for (std::int64_t j = 0; j < rows.width(); ++j) {
      const double x = random.normal();
      const double of_kind[] = {x, 0.75, 0, 1000 + x / 100, x * 1e-6, x * 3000, j == 5 ? 40 : x};
      rows.set(i, j, of_kind[i % 7]);
    }
}

class EachKvPack : public EachRow {
 protected:
  void SetUp() override {  // pages can be carried to a GPU
    if (row().device == nullptr) return EachRow::SetUp();
    if (!device_runs(row().is.isa)) GTEST_SKIP() << row().name << ": no GPU here";
  }
};

TEST_P(EachKvPack, WritesWhatQuantizeWould) {
  const std::int32_t plain[] = {2, 1, 3}, packed[] = {1, 3, 2};
  for (const DType type : kFloatTypes)
    for (const int bits : {4, 8})
      for (const int group : {32, 64, 128}) {
        SCOPED_TRACE(testing::Message()
                     << static_cast<int>(type) << ", " << bits << " bits, group " << group);
        PackScene scene(type, bits, group, 128, 256);
        Random random(3);
        fill(scene.k, random);
        fill(scene.v, random);
        kernels::SeqRow asks{plain, 3 * kTokens};
        asks.packed = packed;
        asks.pack = 1;
        scene.run(row(), {kernels::SeqRow{plain, 5}, asks, kernels::SeqRow{plain, 6}});
        for (int i = 0; i < 6; ++i)
          for (const std::int64_t other : {0, 1, 2})
            for (const std::uint8_t byte : scene.page(i, other)) ASSERT_EQ(byte, 0xee);
        for (const bool of_keys : {true, false}) {
          const TypedRows& from = of_keys ? scene.k : scene.v;
          TensorView page;
          page.type = type;
          page.shape = {kHeads * kTokens, from.width()};
          page.data = reinterpret_cast<const std::byte*>(
              from.data() + plain[1] * kHeads * kTokens * from.width() * size_of(type));
          const QuantizedTensors want = quantize(page, scene.spec);
          const int first = of_keys ? 0 : 3;
          EXPECT_EQ(scene.page(first, packed[1]), bytes_of(want.packed));
          EXPECT_EQ(scene.page(first + 1, packed[1]), bytes_of(want.scales));
          EXPECT_EQ(scene.page(first + 2, packed[1]), bytes_of(*want.biases));
        }
      }
}

TEST_P(EachKvPack, AGroupThatIsNotFiniteStaysSo) {
  const std::int32_t plain[] = {1}, packed[] = {1};
  for (const DType type : kFloatTypes)
    for (const double bad : {double{NAN}, double{INFINITY}, -double{INFINITY}}) {
      PackScene scene(type, 8, 32, 64, 64);
      Random random(4);
      scene.k.fill(random);
      scene.v.fill(random);
      const std::int64_t first = kHeads * kTokens;  // of page 1
      scene.k.set(first + 2, 40, bad);
      kernels::SeqRow asks{plain, kTokens};
      asks.packed = packed;
      asks.pack = 0;
      scene.run(row(), {asks});
      for (std::int64_t g = 0; g < first * 2; ++g) {
        const double scale =
            oracle::value(scene.arrays[1].data() + (first * 2 + g) * size_of(type), type);
        EXPECT_EQ(std::isnan(scale), g == 2 * 2 + 1) << g;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachKvPack, testing::ValuesIn(built_rows({KernelOp::kvpack})),
                         row_name);

}  // namespace
}  // namespace stepless::test
