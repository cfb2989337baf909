#include "runtime/prefix_index.hpp"

#include <algorithm>
#include <cassert>

namespace stepless {
namespace {

std::uint64_t hash_of(std::int32_t parent, std::span<const std::int32_t> tokens) {
  // FNV-1a over words, with the high bits folded down; spreads, protects against nothing.
  std::uint64_t hash = 0xcbf29ce484222325u ^ static_cast<std::uint32_t>(parent);
  for (const std::int32_t token : tokens) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x100000001b3u;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

std::span<const std::int32_t> PrefixIndex::page_of(std::span<const std::int32_t> tokens,
                                                   std::int64_t page) const {
  return tokens.subspan(static_cast<std::size_t>(page * page_tokens_),
                        static_cast<std::size_t>(page_tokens_));
}

PrefixIndex::NodeId PrefixIndex::child(NodeId parent, std::span<const std::int32_t> page) const {
  const auto [first, last] = by_hash_.equal_range(hash_of(parent, page));
  for (auto at = first; at != last; ++at) {
    const Node& node = nodes_[static_cast<std::size_t>(at->second)];
    if (node.parent == parent && std::ranges::equal(node.tokens, page)) return at->second;
  }
  return kRoot;
}

std::vector<std::int32_t> PrefixIndex::find(std::span<const std::int32_t> tokens) const {
  std::vector<std::int32_t> pages;
  const std::int64_t whole = static_cast<std::int64_t>(tokens.size()) / page_tokens_;
  NodeId at = kRoot;
  for (std::int64_t i = 0; i < whole; ++i) {
    at = child(at, page_of(tokens, i));
    if (at == kRoot) break;
    pages.push_back(nodes_[static_cast<std::size_t>(at)].page);
  }
  return pages;
}

void PrefixIndex::touch(std::span<const std::int32_t> tokens) {
  const std::int64_t whole = static_cast<std::int64_t>(tokens.size()) / page_tokens_;
  NodeId at = kRoot;
  ++clock_;
  for (std::int64_t i = 0; i < whole; ++i) {
    at = child(at, page_of(tokens, i));
    if (at == kRoot) return;
    nodes_[static_cast<std::size_t>(at)].used = clock_;
  }
}

std::vector<std::int32_t> PrefixIndex::insert(std::span<const std::int32_t> tokens,
                                              std::span<const std::int32_t> pages) {
  std::vector<std::int32_t> taken;
  const std::int64_t whole = std::min(static_cast<std::int64_t>(tokens.size()) / page_tokens_,
                                      static_cast<std::int64_t>(pages.size()));
  NodeId at = kRoot;
  ++clock_;
  for (std::int64_t i = 0; i < whole; ++i) {
    const NodeId parent = at;
    at = child(parent, page_of(tokens, i));
    if (at == kRoot) {
      const std::int32_t page = pages[static_cast<std::size_t>(i)];
      if (page == 0) break;
      at = add(parent, page_of(tokens, i), page);
      taken.push_back(page);
    }
    nodes_[static_cast<std::size_t>(at)].used = clock_;
  }
  return taken;
}

PrefixIndex::NodeId PrefixIndex::add(NodeId parent, std::span<const std::int32_t> tokens,
                                     std::int32_t page) {
  NodeId id = static_cast<NodeId>(nodes_.size());
  if (unused_.empty()) {
    nodes_.emplace_back();
  } else {
    id = unused_.back();
    unused_.pop_back();
  }
  Node& node = nodes_[static_cast<std::size_t>(id)];
  node.parent = parent;
  node.page = page;
  node.depth = parent == kRoot ? 0 : nodes_[static_cast<std::size_t>(parent)].depth + 1;
  node.hash = hash_of(parent, tokens);
  node.tokens.assign(tokens.begin(), tokens.end());
  by_hash_.emplace(node.hash, id);
  return id;
}

void PrefixIndex::remove(NodeId id) {
  Node& node = nodes_[static_cast<std::size_t>(id)];
  const auto [first, last] = by_hash_.equal_range(node.hash);
  for (auto at = first; at != last; ++at)
    if (at->second == id) {
      by_hash_.erase(at);
      break;
    }
  node = Node{};
  unused_.push_back(id);
}

std::vector<PrefixIndex::NodeId> PrefixIndex::evictable_nodes(const Idle& idle) const {
  // A page in use keeps every page before it: what follows a forgotten page could not be found.
  std::vector<bool> kept(nodes_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].page == 0 || kept[i] || idle(nodes_[i].page)) continue;
    for (NodeId at = static_cast<NodeId>(i); at != kRoot && !kept[static_cast<std::size_t>(at)];
         at = nodes_[static_cast<std::size_t>(at)].parent)
      kept[static_cast<std::size_t>(at)] = true;
  }
  std::vector<NodeId> found;
  for (std::size_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i].page != 0 && !kept[i]) found.push_back(static_cast<NodeId>(i));
  return found;
}

std::int64_t PrefixIndex::evictable(const Idle& idle) const {
  return static_cast<std::int64_t>(evictable_nodes(idle).size());
}

std::int64_t PrefixIndex::idle_pages(const Idle& idle) const {
  return std::ranges::count_if(nodes_,
                               [&](const Node& node) { return node.page != 0 && idle(node.page); });
}

std::vector<std::int32_t> PrefixIndex::evict(std::int64_t count, const Idle& idle) {
  std::vector<NodeId> order = evictable_nodes(idle);
  // A node is used no earlier than those behind it, so this order takes the ends of runs first.
  std::ranges::sort(order, [&](NodeId a, NodeId b) {
    const Node &x = nodes_[static_cast<std::size_t>(a)], &y = nodes_[static_cast<std::size_t>(b)];
    return x.used != y.used ? x.used < y.used : x.depth > y.depth;
  });
  if (static_cast<std::int64_t>(order.size()) > count)
    order.resize(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
  std::vector<std::int32_t> pages;
  for (const NodeId id : order) {
    pages.push_back(nodes_[static_cast<std::size_t>(id)].page);
    remove(id);
  }
  return pages;
}

}  // namespace stepless
