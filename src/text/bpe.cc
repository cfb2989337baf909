#include "text/bpe.hpp"

#include <algorithm>

#include "text/byte_level.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

constexpr std::uint32_t kEnd = 0xFFFFFFFFU;
constexpr TokenId kGone = -1;
// Up to here scanning all pairs per merge beats a heap.
constexpr std::size_t kShortWord = 24;
// Longer texts without word borders are looked through for places that no merge crosses.
constexpr std::size_t kSplitBytes = 32;

std::uint64_t pair_key(char32_t left, char32_t right) { return std::uint64_t{left} << 32 | right; }

}  // namespace

TokenId Bpe::symbol_of(char32_t c) const {
  if (c < 128) return ascii_symbol_[c];
  const auto at = char_symbol_.find(c);
  return at == char_symbol_.end() ? -1 : at->second;
}

bool Bpe::never_joined(char32_t left, char32_t right) const {
  return symbol_of(left) >= 0 && symbol_of(right) >= 0 && joined_.count(pair_key(left, right)) == 0;
}

void Bpe::encode(std::string_view word, Special special, BpeScratch& scratch,
                 std::vector<TokenId>& out) const {
  if (!scratch.cache.enabled() || word.size() > WordCache::kWordBytes)
    return encode_fresh(word, special, scratch, out);
  WordCache::Slot& slot = scratch.cache.slot(word);
  if (slot.holds(word)) {
    out.insert(out.end(), slot.ids.begin(), slot.ids.begin() + slot.count);
    return;
  }
  const std::size_t before = out.size();
  encode_fresh(word, special, scratch, out);
  // What depends on `special` stays out, so that one cache serves both kinds of text.
  const auto fresh = std::span(out).subspan(before);
  const bool plain = std::none_of(fresh.begin(), fresh.end(),
                                  [&](TokenId id) { return is_special(id) && id != unknown_; });
  if (plain && special == Special::allowed) slot.store(word, fresh);
}

void Bpe::encode_fresh(std::string_view word, Special special, BpeScratch& scratch,
                       std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    std::string_view spelled = word;
    if (input_ == Input::bytes) {
      scratch.mapped.clear();
      for (const char byte : word)
        scratch.mapped.append(byte_level_char(static_cast<unsigned char>(byte)));
      spelled = scratch.mapped;
    }
    const auto whole = vocabulary_.find(spelled);
    if (whole && (special == Special::allowed || !is_special(*whole))) return out.push_back(*whole);
  }
  if (input_ == Input::bytes || word.size() <= kSplitBytes)
    return encode_part(word, special, scratch, out);
  // No merge makes a token with these two characters side by side: both sides merge as they would
  // alone.
  const auto part = [&](std::string_view text) {
    const bool small = text.size() <= WordCache::kWordBytes && !ignore_merges_;
    small ? encode(text, special, scratch, out) : encode_part(text, special, scratch, out);
  };
  std::size_t begin = 0;
  Utf8Char left = read_utf8(word, 0);
  for (std::size_t at = left.bytes; at < word.size();) {
    const Utf8Char right = read_utf8(word, at);
    if (never_joined(left.value, right.value)) {
      part(word.substr(begin, at - begin));
      begin = at;
    }
    at += right.bytes;
    left = right;
  }
  part(word.substr(begin));
}

void Bpe::encode_part(std::string_view word, Special special, BpeScratch& scratch,
                      std::vector<TokenId>& out) const {
  scratch.symbols.clear();
  if (input_ == Input::text) {
    char_symbols(word, scratch.symbols);
  } else if (!byte_symbols(word, scratch.symbols)) {
    scratch.symbols.clear();
    char_symbols(byte_level_text(word), scratch.symbols);
  }
  if (scratch.symbols.size() <= kShortWord) {
    merge_short(special, scratch);
  } else {
    merge_long(special, scratch);
  }
  out.insert(out.end(), scratch.symbols.begin(), scratch.symbols.end());
}

bool Bpe::byte_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  for (const char byte : word) {
    const TokenId id = byte_symbol_[static_cast<unsigned char>(byte)];
    if (id < 0) return false;
    symbols.push_back(id);
  }
  return true;
}

// A character that is no token becomes its byte tokens, or the unknown token, or nothing. An
// unknown token waits for the next known character, as it does upstream; byte tokens do not release
// it.
void Bpe::char_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  bool waiting = false;
  for (std::size_t at = 0; at < word.size();) {
    const Utf8Char c = read_utf8(word, at);
    const std::string_view bytes = word.substr(at, c.bytes);
    at += c.bytes;
    if (const TokenId id = symbol_of(c.value); id >= 0) {
      if (waiting) symbols.push_back(unknown_);
      waiting = false;
      symbols.push_back(id);
      continue;
    }
    const auto fallback = [&](char byte) { return fallback_[static_cast<unsigned char>(byte)]; };
    if (byte_fallback_ &&
        std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return fallback(byte) >= 0; })) {
      for (const char byte : bytes) symbols.push_back(fallback(byte));
      continue;
    }
    if (unknown_ < 0) continue;
    if (waiting && !fuse_unknown_) symbols.push_back(unknown_);
    waiting = true;
  }
  if (waiting) symbols.push_back(unknown_);
}

Merge Bpe::merge_of(TokenId left, TokenId right, Special special) const {
  const Merge merge = merges_.find(left, right);
  if (special == Special::refused && merge && is_special(merge.result)) return {};
  return merge;
}

// Joins the pair of lowest rank, the leftmost among equals, until none is left.
void Bpe::merge_short(Special special, BpeScratch& scratch) const {
  std::vector<TokenId>& symbols = scratch.symbols;
  std::array<Merge, kShortWord> merges;
  std::size_t n = symbols.size();
  for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = merge_of(symbols[i], symbols[i + 1], special);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (!merges[best]) break;
    symbols[best] = merges[best].result;
    for (std::size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i] = merges[i + 1];
    }
    --n;
    if (best > 0) merges[best - 1] = merge_of(symbols[best - 1], symbols[best], special);
    if (best + 1 < n) merges[best] = merge_of(symbols[best], symbols[best + 1], special);
  }
  symbols.resize(n);
}

// The same with a linked list and a heap of (rank, position). An entry is stale once the pair at
// its position has another rank.
void Bpe::merge_long(Special special, BpeScratch& scratch) const {
  std::vector<TokenId>& symbols = scratch.symbols;
  // By name: clang 14 lets no lambda capture a structured binding.
  std::vector<std::uint32_t>& ranks = scratch.ranks;
  std::vector<std::uint32_t>& next = scratch.next;
  std::vector<std::uint32_t>& previous = scratch.previous;
  std::vector<std::uint64_t>& heap = scratch.heap;
  const auto n = static_cast<std::uint32_t>(symbols.size());
  ranks.assign(n, Merge::kNone);
  next.resize(n);
  previous.resize(n);
  heap.clear();
  const auto later = std::greater<std::uint64_t>();
  const auto look = [&](std::uint32_t at, bool push) {
    const std::uint32_t right = next[at];
    ranks[at] = right == kEnd ? Merge::kNone : merge_of(symbols[at], symbols[right], special).rank;
    if (ranks[at] == Merge::kNone) return;
    heap.push_back(std::uint64_t{ranks[at]} << 32 | at);
    if (push) std::push_heap(heap.begin(), heap.end(), later);
  };
  for (std::uint32_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kEnd : i - 1;
    next[i] = i + 1 == n ? kEnd : i + 1;
  }
  for (std::uint32_t i = 0; i < n; ++i) look(i, false);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const std::uint64_t top = heap.back();
    heap.pop_back();
    const auto at = static_cast<std::uint32_t>(top);
    if (symbols[at] == kGone || ranks[at] != static_cast<std::uint32_t>(top >> 32)) continue;
    const std::uint32_t right = next[at];
    symbols[at] = merges_.find(symbols[at], symbols[right]).result;
    symbols[right] = kGone;
    ranks[right] = Merge::kNone;
    next[at] = next[right];
    if (next[at] != kEnd) previous[next[at]] = at;
    look(at, true);
    if (previous[at] != kEnd) look(previous[at], true);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kGone), symbols.end());
}

}  // namespace stepless
