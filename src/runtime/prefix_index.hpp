// Which KV pages hold which tokens: whole pages, found again by exactly the tokens that led to
// them. Pure: pages are numbers here, and who holds them is counted elsewhere (KvPool).
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

namespace stepless {

/// A forest: a node is one page; its path from a root is the tokens from position 0 on. A hash only
/// says where to look; the tokens themselves are always compared, so that nobody ever reads a page
/// that other tokens made.
class PrefixIndex {
 public:
  /// Says of a page whether nobody but the index holds it.
  using Idle = std::function<bool(std::int32_t page)>;

  explicit PrefixIndex(std::int64_t page_tokens) : page_tokens_(page_tokens) {}

  std::int64_t page_tokens() const { return page_tokens_; }
  std::int64_t size() const { return static_cast<std::int64_t>(nodes_.size() - unused_.size()); }

  /// The pages of the longest known run of whole pages that `tokens` begin with. Changes nothing.
  std::vector<std::int32_t> find(std::span<const std::int32_t> tokens) const;
  /// Marks that run as used just now.
  void touch(std::span<const std::int32_t> tokens);
  /// Makes the whole pages of `tokens` known, as far as they are not yet, up to the first that is 0
  /// (none); marks all as used just now. Returns the pages that the index holds from now on.
  std::vector<std::int32_t> insert(std::span<const std::int32_t> tokens,
                                   std::span<const std::int32_t> pages);

  /// How many pages evict() could give: idle ones behind which nothing is in use.
  std::int64_t evictable(const Idle& idle) const;
  /// How many pages the index alone holds.
  std::int64_t idle_pages(const Idle& idle) const;
  /// Forgets up to `count` such pages, those used longest ago first and never one before those that
  /// follow it, and returns them.
  std::vector<std::int32_t> evict(std::int64_t count, const Idle& idle);

 private:
  using NodeId = std::int32_t;
  static constexpr NodeId kRoot = -1;
  struct Node {
    NodeId parent = kRoot;
    std::int32_t page = 0;  // 0: the node is unused
    std::int32_t depth = 0;
    std::int64_t used = 0;  // when, as a count; never less than that of a node behind it
    std::uint64_t hash = 0;
    std::vector<std::int32_t> tokens;
  };

  std::span<const std::int32_t> page_of(std::span<const std::int32_t> tokens,
                                        std::int64_t page) const;
  NodeId child(NodeId parent, std::span<const std::int32_t> page) const;  // kRoot: none
  NodeId add(NodeId parent, std::span<const std::int32_t> tokens, std::int32_t page);
  void remove(NodeId node);
  std::vector<NodeId> evictable_nodes(const Idle& idle) const;

  std::int64_t page_tokens_, clock_ = 0;
  std::vector<Node> nodes_;
  std::vector<NodeId> unused_;
  std::unordered_multimap<std::uint64_t, NodeId> by_hash_;
};

}  // namespace stepless
