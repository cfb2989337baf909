#include "ops/cpu/parts.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "format/dtype.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kPartsPerThread = 4;

/// Bytes of a unit; elements that take much arithmetic count several times.
struct UnitWork {
  std::int64_t seen;

  std::int64_t operator()(const kernels::MatmulArgs& a) const { return a.w_row_bytes * a.m; }
  std::int64_t operator()(const kernels::AttnArgs& a) const {
    return (seen + 1) * (a.cache.k_dim + a.cache.v_dim) * size_of(a.cache.type);
  }
  std::int64_t operator()(const kernels::DeltaArgs& a) const { return a.rows * a.k_dim * 4; }
  std::int64_t operator()(const kernels::ConvArgs& a) const { return a.rows * (a.taps + 4) * 4; }
  std::int64_t operator()(const kernels::EmbedArgs& a) const { return a.table.k * 4; }
  std::int64_t operator()(const kernels::NormArgs& a) const { return a.groups * a.k * 6; }
  std::int64_t operator()(const kernels::AnglesArgs& a) const { return a.pairs * 128; }
  std::int64_t operator()(const kernels::RopeArgs& a) const { return a.heads * a.head_dim * 6; }
  std::int64_t operator()(const kernels::KvPutArgs& a) const { return a.k_stride + a.v_stride; }
  std::int64_t operator()(const kernels::KvPackArgs& a) const {
    return a.cache.page_tokens * (a.cache.k_dim + a.cache.v_dim) * 4;
  }
  std::int64_t operator()(const kernels::SplitArgs& a) const {
    std::int64_t width = 0;
    for (std::int64_t i = 0; i < a.parts; ++i) width += a.width[i];
    return a.groups * width * 4;
  }
  std::int64_t operator()(const kernels::GluArgs& a) const { return a.width * 16; }
  std::int64_t operator()(const kernels::AddArgs& a) const { return a.width * 6; }
  std::int64_t operator()(const kernels::TakeArgs& a) const { return a.width * 4; }
  std::int64_t operator()(const kernels::RouteArgs& a) const { return a.experts * 32; }
  std::int64_t operator()(const kernels::CombineArgs& a) const { return a.width * a.k * 4; }
  std::int64_t operator()(const kernels::SampleArgs& a) const { return a.vocab * 16; }
};

std::int64_t pieces_before(const Span& span, std::int64_t at) {
  if (span.work <= 0) return at >= span.first ? span.pieces : 0;
  return std::clamp<std::int64_t>(at - span.first, 0, span.work) * span.pieces / span.work;
}

}  // namespace

std::int64_t Cutting::parts(std::int64_t work, std::int64_t pieces) const {
  if (threads == 1) return 1;
  const std::int64_t most = std::min(pieces, kPartsPerThread * threads);
  return std::clamp<std::int64_t>(work / least_part_bytes, 1, std::max<std::int64_t>(most, 1));
}

kernels::Slice pieces_in(const Span& span, std::int64_t total, std::int64_t index,
                         std::int64_t parts) {
  const auto cut = [&](std::int64_t i) {
    return i == parts ? span.pieces
                      : pieces_before(span, total / parts * i + total % parts * i / parts);
  };
  return {index == 0 ? 0 : cut(index), cut(index + 1)};
}

std::int64_t pieces_of(const BoundCall& call) { return divide_up(call.units, call.unit_multiple); }

kernels::Slice units_of(const BoundCall& call, kernels::Slice pieces) {
  return {std::min(pieces.begin * call.unit_multiple, call.units),
          std::min(pieces.end * call.unit_multiple, call.units)};
}

std::int64_t piece_work(const BoundCall& call, std::int64_t seen) {
  return std::visit(UnitWork{seen}, call.args) * call.unit_multiple;
}

}  // namespace stepless
