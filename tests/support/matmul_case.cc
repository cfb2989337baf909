#include "tests/support/matmul_case.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/support/device.hpp"
#include "tests/support/guard.hpp"

namespace stepless::test {
namespace {

constexpr DType kFloats[] = {DType::f32, DType::f16, DType::bf16};

std::uint8_t type_bit(DType type) {
  return type == DType::f32 ? kTypeF32 : type == DType::f16 ? kTypeF16 : kTypeBf16;
}

std::uint8_t group_bit(int group) {
  return group == 16 ? kG16 : group == 32 ? kG32 : group == 64 ? kG64 : kG128;
}

std::vector<QuantSpec> all_specs() {
  std::vector<QuantSpec> specs;
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128}) specs.push_back({Mode::affine, bits, group});
  specs.push_back({Mode::mxfp4, 4, 32});
  specs.push_back({Mode::mxfp8, 8, 32});
  specs.push_back({Mode::nvfp4, 4, 16});
  return specs;
}

void append(Bytes& to, double number, DType type) {
  std::uint8_t code[4];
  oracle::store(number, type, code);
  to.insert(to.end(), code, code + oracle::element_bytes(type));
}

/// One group's scale and bias the way quantize() derives them from a group's edge (contract.md,
/// section 3).
void append_affine_group(oracle::Stored& stored, Random& random) {
  const int most = (1 << stored.spec.bits) - 1;
  const double edge = 0.3 * random.normal();
  const std::int64_t kind = random.below(8);
  double s = edge, b = 0;  // kind 0: no bias
  if (stored.spec.bits == 1) {
    s = std::fabs(0.3 * random.normal()) + 1e-7;
    b = edge;
  } else if (kind == 0) {
    s = edge / most;
  } else {
    // Codes count from the edge; a group far from zero lies thousands of steps away from it.
    const double steps = static_cast<double>(1 + random.below(kind == 1 ? 4000 : most));
    s = -edge / steps;
    b = edge;
  }
  append(stored.scales, s, stored.type);
  append(stored.biases, b, stored.type);
}

void append_group(oracle::Stored& stored, Random& random) {
  if (stored.spec.mode == Mode::affine) return append_affine_group(stored, random);
  const std::int64_t byte =
      stored.spec.mode == Mode::nvfp4 ? 0x18 + random.below(0x28) : 112 + random.below(8);
  stored.scales.push_back(static_cast<std::uint8_t>(random.below(16) == 0 ? 0 : byte));
}

struct Placed {
  Guarded w, scales, biases;
  Placed(const oracle::Stored& stored, Placement placement)
      : w(stored.w, gap(placement)),
        scales(stored.scales, gap(placement)),
        biases(stored.biases, gap(placement)) {}
  static std::int64_t gap(Placement placement) { return placement == Placement::odd ? 1 : 0; }
  void describe(const oracle::Stored& stored, kernels::MatmulArgs& args) const {
    args.w = w.data();
    args.w_row_bytes = stored.row_bytes();
    args.scales = stored.packed ? scales.data() : nullptr;
    args.biases = stored.biases.empty() ? nullptr : biases.data();
    args.tensor_scale = stored.tensor_scale;
    args.mode = stored.spec.mode;
    args.bits = stored.spec.bits;
    args.group_size = stored.spec.group_size;
    args.w_type = stored.type;
  }
};

std::int64_t workspace_bytes(const WorkspaceRule& rule, std::int64_t m, std::int64_t k) {
  const std::int64_t padded = (k + 127) / 128 * 128;
  return m * (rule.per_k * padded + rule.per_32k * padded / 32);
}

/// Where one slice ends and the next begins: multiples of the tile, the last end n.
std::vector<std::int64_t> cuts(const Kernel& kernel, std::int64_t n, Slices slices) {
  const std::int64_t tile = kernel.is.tile_n;
  std::vector<std::int64_t> all = {0};
  Random random(static_cast<std::uint64_t>(n));
  if (slices != Slices::whole)
    for (std::int64_t at = tile; at < n; at += tile)
      if (slices == Slices::tiles || random.below(3) == 0) all.push_back(at);
  all.push_back(n);
  return all;
}

void call(const Kernel& kernel, const void* args, std::int64_t rows, std::int64_t units,
          Slices slices) {
  if (kernel.entry->prepare != nullptr) {  // the second half first: rows do not lean on each other
    kernel.entry->prepare(args, {rows / 2, rows});
    if (rows > 1) kernel.entry->prepare(args, {0, rows / 2});
  }
  const std::vector<std::int64_t> at = cuts(kernel, units, slices);
  for (std::size_t i = at.size() - 1; i > 0; --i) kernel.entry->run(args, {at[i - 1], at[i]});
  if (kernel.entry->finish != nullptr) kernel.entry->finish(args);
}

/// Rows `stride` elements apart, without what lies between.
Bytes packed_rows(const Guarded& y, std::int64_t rows, std::int64_t row_bytes,
                  std::int64_t stride_bytes) {
  Bytes result;
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::uint8_t* const row = y.data() + i * stride_bytes;
    result.insert(result.end(), row, row + row_bytes);
    if (i + 1 < rows) {
      EXPECT_TRUE(std::all_of(row + row_bytes, row + stride_bytes,
                              [](std::uint8_t byte) { return byte == 0xff; }))
          << "written between rows " << i << " and " << i + 1;
    }
  }
  return result;
}

}  // namespace

std::string Format::text() const {
  const std::string weight = packed ? fmt::format("{} b{} g{} {}", to_string(spec.mode), spec.bits,
                                                  spec.group_size, to_string(w_type))
                                    : fmt::format("dense {}", to_string(w_type));
  return fmt::format("{}, x {}, y {}", weight, to_string(x_type), to_string(y_type));
}

std::vector<Format> all_formats(KernelOp op) {
  std::vector<Format> formats;
  const auto add = [&](Format f, DType result) {
    f.y_type = formats.size() % 3 == 2 ? kFloats[formats.size() / 3 % 3] : result;
    formats.push_back(f);
  };
  for (const DType x : kFloats)
    for (const DType w : kFloats) {
      if (op == KernelOp::mm) {
        for (const DType y : kFloats) formats.push_back({false, {}, x, w, y});
        continue;
      }
      for (const QuantSpec& spec : all_specs()) {
        const bool affine = spec.mode == Mode::affine;
        if (affine || w == DType::f32)
          add({true, spec, x, w, x}, affine ? oracle::promote(x, w) : x);
      }
    }
  return formats;
}

bool accepts(const Kernel& kernel, const Format& f) {
  const bool packed_op = kernel.is.op != KernelOp::mm;
  if (f.packed != packed_op) return false;
  if (kernel.is.act && *kernel.is.act != f.x_type) return false;
  if ((kernel.fields.x_types & type_bit(f.x_type)) == 0) return false;
  if (f.y_type == DType::f32 && (kernel.fields.f32_y_from & type_bit(f.x_type)) == 0) return false;
  if ((kernel.fields.y_types & type_bit(f.y_type)) == 0) return false;
  const bool typed = !f.packed || f.spec.mode == Mode::affine;
  if (typed && (kernel.fields.w_types & type_bit(f.w_type)) == 0) return false;
  if (!f.packed) return true;
  return (!kernel.is.mode || *kernel.is.mode == f.spec.mode) &&
         (kernel.is.bits == 0 || kernel.is.bits == f.spec.bits) &&
         (kernel.fields.groups & group_bit(f.spec.group_size)) != 0;
}

std::int64_t n_step(const Kernel& kernel, const Format& f) {
  const std::int64_t group = kernel.is.op == KernelOp::qmmn ? f.spec.group_size : 1;
  return std::lcm(group, static_cast<std::int64_t>(kernel.fields.n_multiple));
}

std::int64_t k_step(const Kernel& kernel, const Format& f) {
  const std::int64_t group = kernel.is.op == KernelOp::qmm ? f.spec.group_size : 1;
  return std::lcm(group, static_cast<std::int64_t>(kernel.fields.k_multiple));
}

Operands Operands::rows(std::int64_t first, std::int64_t count) const {
  Operands part{format, count, n, k, rows_of(x, m, first, count), w, op};
  return part;
}

oracle::Stored random_weight(const Format& f, std::int64_t rows, std::int64_t columns,
                             Random& random) {
  oracle::Stored stored;
  stored.packed = f.packed;
  stored.spec = f.spec;
  stored.type = f.w_type;
  stored.rows = rows;
  stored.columns = columns;
  if (!f.packed) {
    stored.w = random_rows(f.w_type, rows * columns, 0.1, random);
    return stored;
  }
  stored.w.resize(static_cast<std::size_t>(rows * stored.row_bytes()));
  for (std::uint8_t& byte : stored.w) {
    byte = static_cast<std::uint8_t>(random.next());
    if (f.spec.mode == Mode::mxfp8 && (byte & 127u) == 127u) byte = 0x42;  // no NaN
  }
  if (f.spec.mode == Mode::nvfp4 && random.below(2) == 0) stored.tensor_scale = 0.37f;
  for (std::int64_t g = 0; g < rows * columns / f.spec.group_size; ++g)
    append_group(stored, random);
  return stored;
}

oracle::Stored nearly_halfway_weight(int bits, std::int64_t rows, std::int64_t columns) {
  oracle::Stored stored;
  stored.spec = {Mode::affine, bits, 32};
  stored.type = DType::f16;
  stored.rows = rows;
  stored.columns = columns;
  stored.w.resize(static_cast<std::size_t>(rows * stored.row_bytes()));
  // 29 * 565 = 2^14 + 1 and 43 * 381 = 2^14 - 1, over 2^11: a 2^-11 from 8, where f16 near 2^14 has
  // a step of 16.
  const bool above = bits == 5;
  const int code = above ? 29 : 43;
  for (std::int64_t bit = 0; bit < rows * columns * bits; ++bit)
    if ((code >> (bit % bits) & 1) != 0)
      stored.w[static_cast<std::size_t>(bit / 8)] |= static_cast<std::uint8_t>(1 << (bit % 8));
  for (std::int64_t group = 0; group < rows * columns / 32; ++group) {
    append(stored.scales, (above ? 565 : 381) * 0x1p-11, DType::f16);
    append(stored.biases, above ? 16416 : 16400, DType::f16);  // an even, an odd significand
  }
  return stored;
}

Bytes random_rows(DType type, std::int64_t count, double scale, Random& random) {
  Bytes bytes;
  for (std::int64_t i = 0; i < count; ++i) append(bytes, scale * random.normal(), type);
  return bytes;
}

Operands random_operands(KernelOp op, const Format& f, std::int64_t m, std::int64_t n,
                         std::int64_t k, std::uint64_t seed) {
  Random random(seed);
  Operands made{f, m, n, k, {}, {}, op};
  made.x = random_rows(f.x_type, m * k, 1, random);
  made.w = op == KernelOp::qmmn ? random_weight(f, k, n, random) : random_weight(f, n, k, random);
  return made;
}

Bytes run_matmul(const Kernel& kernel, const Operands& o, Slices slices, Placement placement) {
  if (const std::int64_t most = kernel.fields.rows.most; o.m > most) {
    Bytes y = run_matmul(kernel, o.rows(0, most), slices, placement);
    const Bytes rest = run_matmul(kernel, o.rows(most, o.m - most), slices, placement);
    y.insert(y.end(), rest.begin(), rest.end());
    return y;
  }
  if (kernel.device != nullptr) return run_on_device(kernel, o);
  const std::int64_t x_size = oracle::element_bytes(o.format.x_type);
  const std::int64_t y_size = oracle::element_bytes(o.format.y_type);
  const std::int64_t x_stride = o.k + 3, y_stride = o.n + 5;
  Bytes spaced(static_cast<std::size_t>(((o.m - 1) * x_stride + o.k) * x_size), 0xff);
  for (std::int64_t i = 0; i < o.m; ++i)
    std::copy_n(&o.x[static_cast<std::size_t>(i * o.k * x_size)], o.k * x_size,
                &spaced[static_cast<std::size_t>(i * x_stride * x_size)]);
  const Guarded x(spaced);
  const Placed weight(o.w, placement);
  const Guarded y(((o.m - 1) * y_stride + o.n) * y_size);
  const std::int64_t room = workspace_bytes(kernel.fields.workspace, o.m, o.k);
  const Guarded workspace((room + 63) / 64 * 64);
  kernels::MatmulArgs args{};
  weight.describe(o.w, args);
  args.x = x.data();
  args.x_stride = x_stride;
  args.x_type = o.format.x_type;
  args.y = y.data();
  args.y_stride = y_stride;
  args.y_type = o.format.y_type;
  args.m = o.m;
  args.n = o.n;
  args.k = o.k;
  args.workspace = workspace.data();
  call(kernel, &args, o.m, o.n, slices);
  EXPECT_TRUE(y.surroundings_intact()) << "written beside y";
  EXPECT_TRUE(workspace.surroundings_intact()) << "written beside the workspace";
  return packed_rows(y, o.m, o.n * y_size, y_stride * y_size);
}

Bytes run_embed(const Kernel& kernel, const oracle::Stored& table,
                const std::vector<std::int32_t>& ids, DType y_type, Placement placement) {
  const auto m = static_cast<std::int64_t>(ids.size());
  const std::int64_t size = oracle::element_bytes(y_type), stride = table.columns + 5;
  const Placed weight(table, placement);
  const Guarded y(((m - 1) * stride + table.columns) * size);
  kernels::EmbedArgs args{};
  args.ids = ids.data();
  weight.describe(table, args.table);
  args.table.n = table.rows;
  args.table.k = table.columns;
  args.table.m = m;
  args.table.y = y.data();
  args.table.y_stride = stride;
  args.table.y_type = y_type;
  call(kernel, &args, m, m, Slices::tiles);
  EXPECT_TRUE(y.surroundings_intact()) << "written beside y";
  return packed_rows(y, m, table.columns * size, stride * size);
}

Reference reference(const Operands& o) {
  const oracle::Matrix w = oracle::decode(o.w);
  return {oracle::product(matrix_of(o.x, o.format.x_type, o.m),
                          o.op == KernelOp::qmmn ? oracle::transposed(w) : w),
          oracle::norm(w)};
}

oracle::Matrix matrix_of(const Bytes& bytes, DType type, std::int64_t rows) {
  oracle::Matrix matrix;
  matrix.data = oracle::values(bytes, type);
  matrix.rows = rows;
  matrix.columns = static_cast<std::int64_t>(matrix.data.size()) / rows;
  return matrix;
}

Bytes rows_of(const Bytes& y, std::int64_t rows, std::int64_t first, std::int64_t count) {
  const std::int64_t size = static_cast<std::int64_t>(y.size()) / rows;
  return Bytes(y.begin() + first * size, y.begin() + (first + count) * size);
}

}  // namespace stepless::test
