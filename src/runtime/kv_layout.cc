#include "runtime/kv_layout.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace stepless {
namespace {

std::int64_t newest(const KvLayout& layout) { return std::max<std::int64_t>(layout.window, 1); }

/// The first position after the kept ones that a row reads.
std::int64_t resume_of(const KvLayout& layout, std::int64_t position) {
  return position - (layout.max_size - kKeptPositions) + 1;
}

}  // namespace

KvLayout KvLayout::of(const KvShape& shape, const KvOptions& options) {
  return {shape.page_tokens, shape.packing.has_value(), options.start, options.window,
          options.max_size};
}

PageRange KvLayout::packed(std::int64_t position) const {
  if (!packs) return {};
  const std::int64_t begin = divide_up(start, page_tokens);
  const std::int64_t outside = position + 1 - newest(*this);  // positions beyond the window
  return {begin, std::max(begin, outside / page_tokens)};
}

PageRange KvLayout::hidden(std::int64_t position) const {
  if (max_size == 0) return {};
  const std::int64_t begin = divide_up(kKeptPositions, page_tokens);
  const std::int64_t resume = resume_of(*this, position);
  return {begin, std::max(begin, resume < 0 ? 0 : resume / page_tokens)};
}

std::int64_t KvLayout::packs_at(std::int64_t position) const {
  const std::int64_t now = packed(position).end;
  if (position == 0 || packed(position - 1).end == now) return -1;
  return hidden(position).holds(now - 1) ? -1 : now - 1;
}

kernels::SeqRow KvLayout::row(std::int64_t position, const std::int32_t* plain,
                              const std::int32_t* packed_pages) const {
  kernels::SeqRow row{plain, position};
  const PageRange range = packed(position);
  row.packed = packed_pages;
  row.packed_begin = range.begin;
  row.packed_end = range.end;
  row.pack = packs_at(position);
  if (max_size > 0 && resume_of(*this, position) > kKeptPositions) {
    row.kept = kKeptPositions;
    row.resume = resume_of(*this, position);
  }
  return row;
}

// While a step computes positions [c, c + n), plain are all pages up to its last position but those
// packed or rotated away before it: ceil((c + n) / t) - floor((c - back) / t), `back` positions
// before c still being read plain. Over all c that is at most ceil((back + n - 1) / t) + 1.
KvPages KvLayout::need(std::int64_t total, std::int64_t step_rows) const {
  const std::int64_t t = page_tokens, pages = divide_up(total, t);
  const std::int64_t rows = std::min(step_rows, total);
  const auto at_most = [&](std::int64_t back) { return divide_up(back + rows - 1, t) + 1; };
  KvPages need{pages, 0};
  if (packs) {
    const std::int64_t first = std::min(divide_up(start, t), pages);
    need.plain = std::min(pages, first + at_most(newest(*this)));
    const PageRange range = packed(total - 1);
    need.packed = range.end - range.begin;
  }
  if (max_size > 0) {
    const std::int64_t kept = divide_up(kKeptPositions, t);
    const std::int64_t seen = kept + at_most(max_size - kKeptPositions - 1);
    need.plain = std::min(need.plain, seen);
    need.packed = std::min(need.packed, seen);
  }
  return need;
}

double KvLayout::read_bytes(const KvShape& shape, std::int64_t position) const {
  const kernels::SeqRow reads = row(position, nullptr, nullptr);
  const PageRange range = packed(position), gone = hidden(position);
  const std::int64_t overlap =
      std::max<std::int64_t>(0, std::min(range.end, gone.end) - std::max(range.begin, gone.begin));
  const std::int64_t packed_tokens = (range.end - range.begin - overlap) * page_tokens;
  const std::int64_t left_out = reads.kept > 0 ? reads.resume - reads.kept : 0;
  const std::int64_t plain_tokens =
      std::max<std::int64_t>(position + 1 - left_out - packed_tokens, 0);
  return static_cast<double>(plain_tokens) * static_cast<double>(shape.token_bytes()) +
         static_cast<double>(packed_tokens) * static_cast<double>(shape.packed_token_bytes());
}

}  // namespace stepless
