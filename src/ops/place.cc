#include "ops/place.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "format/dtype.hpp"
#include "ops/joins.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kAlign = 64;

struct Life {
  std::int64_t first = -1, last = -1, bytes = 0;
};

/// Where one launch may serve several operations, its blocks read and write at once what they read
/// and write: all of it has places of its own.
void live_through_joins(const Program& program, std::vector<Life>& all) {
  const std::vector<Join> joins = joins_of(program);
  const std::vector<Life> own = all;
  for (std::size_t at = 0; at < joins.size(); ++at) {
    const auto first = static_cast<std::int64_t>(at);
    const std::int64_t last = first + static_cast<std::int64_t>(nodes_of(joins[at])) - 1;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (own[i].first < 0 || own[i].last < first || own[i].first > last) continue;
      all[i].first = std::min(all[i].first, first), all[i].last = std::max(all[i].last, last);
    }
  }
}

std::vector<Life> lives(Program& program, std::int64_t max_rows, std::int64_t max_sampled) {
  std::vector<Life> all(program.values.size());
  for (std::size_t i = 0; i < program.nodes.size(); ++i)
    visit_values(program.nodes[i].op, [&](ValueId id, bool) {
      Life& life = all[static_cast<std::size_t>(id)];
      if (life.first < 0) life.first = static_cast<std::int64_t>(i);
      life.last = static_cast<std::int64_t>(i);
    });
  live_through_joins(program, all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Value& value = program.values[i];
    const std::int64_t rows = value.rows == Rows::step ? max_rows : max_sampled;
    const std::int64_t row = checked_mul(value.width, size_of(value.type), "bytes of a row");
    all[i].bytes = round_up(checked_mul(row, rows, "bytes of a step's value"), kAlign);
  }
  return all;
}

}  // namespace

Program place(Program program, std::int64_t max_rows, std::int64_t max_sampled) {
  const std::vector<Life> all = lives(program, max_rows, max_sampled);
  std::vector<std::size_t> order(all.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return all[a].bytes > all[b].bytes; });
  std::vector<std::size_t> placed;
  program.arena_bytes = 0;
  for (const std::size_t i : order) {
    if (all[i].first < 0) continue;
    std::vector<std::pair<std::int64_t, std::int64_t>>
        taken;  // begin, end of those alive at the same time
    for (const std::size_t other : placed)
      if (all[other].first <= all[i].last && all[i].first <= all[other].last)
        taken.emplace_back(program.values[other].offset,
                           program.values[other].offset + all[other].bytes);
    std::sort(taken.begin(), taken.end());
    std::int64_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (offset + all[i].bytes <= begin) break;
      offset = std::max(offset, end);
    }
    program.values[i].offset = offset;
    program.arena_bytes = std::max(program.arena_bytes, offset + all[i].bytes);
    placed.push_back(i);
  }
  program.max_rows = max_rows;
  program.max_sampled = max_sampled;
  return program;
}

}  // namespace stepless
