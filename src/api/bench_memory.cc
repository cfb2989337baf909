#include "api/bench_memory.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"
#include "base/measure.hpp"
#include "stepless/tensor.hpp"

namespace stepless {
namespace {

constexpr std::uint64_t kAllBits = ~std::uint64_t{0};
constexpr std::uint64_t repeated(std::uint64_t byte) { return byte * 0x0101010101010101u; }

/// Bytes of scales: E8M0 from 2^-8 on, E4M3 from 1/4 to 4; both 8 values and never NaN.
void fill_scale_bytes(std::uint8_t* to, std::int64_t bytes, Mode mode) {
  fill_random(to, bytes, repeated(0x07), repeated(mode == Mode::nvfp4 ? 0x28 : 0x78));
}

}  // namespace

void fill_random(std::uint8_t* to, std::int64_t bytes, std::uint64_t keep, std::uint64_t set) {
  std::uint64_t state = 88172645463325252u;
  for (std::int64_t i = 0; i < bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t word = (state & keep) | set;
    std::memcpy(to + i, &word, static_cast<std::size_t>(std::min<std::int64_t>(8, bytes - i)));
  }
}

void fill_floats(std::uint8_t* to, std::int64_t bytes, DType type) {
  // The exponent's high bits are set, its low ones and the sign are random.
  if (type == DType::f32)
    fill_random(to, bytes, 0x83FFFFFF83FFFFFFu, 0x3C0000003C000000u);
  else if (type == DType::f16)
    fill_random(to, bytes, 0x9FFF9FFF9FFF9FFFu, 0x2000200020002000u);
  else
    fill_random(to, bytes, 0x83FF83FF83FF83FFu, 0x3C003C003C003C00u);
}

WeightCopies::WeightCopies(const Problem& problem, bool warm, std::int64_t least)
    : problem_(problem),
      rows_(problem.op == KernelOp::qmmn ? problem.k : problem.n),
      columns_(problem.op == KernelOp::qmmn ? problem.n : problem.k),
      count_(least) {
  const std::int64_t bits = problem.packed ? problem.quant.bits : 8 * size_of(problem.w_type);
  row_bytes_ = checked_mul(columns_, bits, "a row of the weight") / 8;
  code_bytes_ = checked_mul(rows_, row_bytes_, "the weight");
  const bool affine = problem.packed && problem.quant.mode == Mode::affine;
  if (problem.packed)
    scale_bytes_ = rows_ * (columns_ / problem.quant.group_size) * size_of(problem.w_type);
  if (!warm) count_ = std::max({least, std::int64_t{2}, 3 * last_cache_bytes() / bytes() + 1});

  codes_ = LargeBuffer(checked_mul(count_, code_bytes_, "copies of the weight"),
                       "cold copies of the weight", Pages::huge);
  auto* const codes = codes_.as<std::uint8_t>();
  if (!problem.packed)
    fill_floats(codes, codes_.size(), problem.w_type);
  else  // in mxfp8 without the bit that makes 0x7F and 0xFF, which are NaN
    fill_random(codes, codes_.size(), problem.quant.mode == Mode::mxfp8 ? repeated(0xBF) : kAllBits,
                0);
  if (scale_bytes_ == 0) return;
  scales_ = LargeBuffer(count_ * scale_bytes_, "cold copies of the scales", Pages::huge);
  if (!affine) {
    fill_scale_bytes(scales_.as<std::uint8_t>(), scales_.size(), problem.quant.mode);
    return;
  }
  fill_floats(scales_.as<std::uint8_t>(), scales_.size(), problem.w_type);
  biases_ = LargeBuffer(count_ * scale_bytes_, "cold copies of the biases", Pages::huge);
  fill_floats(biases_.as<std::uint8_t>(), biases_.size(), problem.w_type);
}

std::int64_t WeightCopies::bytes() const {
  const bool biased = problem_.packed && problem_.quant.mode == Mode::affine;
  return code_bytes_ + scale_bytes_ * (biased ? 2 : 1);
}

QuantizedView WeightCopies::stacked() const {
  const Shape scales = {count_, rows_, columns_ / problem_.quant.group_size};
  QuantizedView view;
  view.spec = problem_.quant;
  view.packed = {codes_.data(), DType::u32, {count_, rows_, row_bytes_ / 4}};
  view.scales = {scales_.data(), problem_.w_type, scales};
  if (biases_.size() > 0) view.biases = {biases_.data(), problem_.w_type, scales};
  return view;
}

void WeightCopies::set_next(kernels::MatmulArgs& args) {
  const std::int64_t copy = next_;
  next_ = (next_ + 1) % count_;
  args.w = codes_.as<std::uint8_t>() + copy * code_bytes_;
  args.w_row_bytes = row_bytes_;
  args.scales = scale_bytes_ == 0 ? nullptr : scales_.as<std::uint8_t>() + copy * scale_bytes_;
  args.biases = biases_.size() == 0 ? nullptr : biases_.as<std::uint8_t>() + copy * scale_bytes_;
  args.tensor_scale = 1;
  args.mode = problem_.quant.mode;
  args.bits = problem_.quant.bits;
  args.group_size = problem_.quant.group_size;
  args.x_type = problem_.x_type;
  args.w_type = problem_.w_type;
  args.y_type = problem_.y_type;
}

}  // namespace stepless
