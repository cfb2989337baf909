// Reading and checking the "model" object of tokenizer.json.
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/bpe.hpp"
#include "text/byte_level.hpp"
#include "text/json_field.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

void refuse_affix(const Json& json, const char* name, const std::string& what) {
  const Json& value = field_or_null(json, name);
  if (value.is_null() || as_string(value, name, what).empty()) return;
  fail(ErrorCode::unsupported, "{}: {} {} is not supported; null is", what, name,
       in_quotes(value.get_ref<const std::string&>()));
}

}  // namespace

Bpe Bpe::from_json(const Json& json, Input input, std::string_view what) {
  const std::string name(what);
  // Files older than the "type" field hold BPE when they hold merges.
  const Json& type = field_or_null(json, "type");
  if (!type.is_null() && as_string(type, "type", name) != "BPE")
    fail(ErrorCode::unsupported, "{}: type {} is not supported; BPE is", name,
         in_quotes(type.get_ref<const std::string&>()));
  Bpe bpe;
  bpe.input_ = input;
  bpe.read_vocabulary(json, name);
  bpe.read_options(json, name);
  bpe.read_merges(json, name);
  bpe.index_symbols();
  bpe.check_byte_tokens(name);
  return bpe;
}

void Bpe::read_vocabulary(const Json& json, const std::string& what) {
  const Json& vocab = field(json, "vocab", what);
  if (!vocab.is_object())
    fail(ErrorCode::corrupt, "{}: vocab is {}; expected an object of token: id", what,
         vocab.type_name());
  const std::int64_t bound = Vocabulary::id_bound(static_cast<std::int64_t>(vocab.size()));
  const std::string name = what + " vocab";
  for (const auto& [token, id] : vocab.items())
    vocabulary_.add(token, Vocabulary::id_from_json(id, bound, token, name), name);
}

void Bpe::read_options(const Json& json, const std::string& what) {
  const Json& dropout = field_or_null(json, "dropout");
  if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0.0))
    fail(ErrorCode::unsupported, "{}: dropout {} is not supported (it makes ids random); null is",
         what, dropout.dump());
  refuse_affix(json, "continuing_subword_prefix", what);
  refuse_affix(json, "end_of_word_suffix", what);
  fuse_unknown_ = bool_field(json, "fuse_unk", what, false);
  byte_fallback_ = bool_field(json, "byte_fallback", what, false);
  ignore_merges_ = bool_field(json, "ignore_merges", what, false);
  const Json& unknown = field_or_null(json, "unk_token");
  if (unknown.is_null()) return;
  const std::string& token = as_string(unknown, "unk_token", what);
  const auto id = vocabulary_.find(token);
  if (!id)
    fail(ErrorCode::corrupt, "{}: unk_token {} is not in the vocabulary of {} tokens", what,
         in_quotes(token), vocabulary_.count());
  unknown_ = *id;
}

// "a b" or ["a", "b"]; rank is the position in the list.
void Bpe::read_merges(const Json& json, const std::string& what) {
  const Json& list = array_field(json, "merges", what);
  merges_ = MergeTable(list.size());
  std::uint32_t rank = 0;
  std::size_t at = 0;
  for (const Json& entry : list) {
    const std::string name = fmt::format("{} merges[{}]", what, at++);
    std::string left, right;
    if (entry.is_string()) {
      const std::string& text = entry.get_ref<const std::string&>();
      if (text.rfind("#version", 0) == 0) continue;
      const std::size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        fail(ErrorCode::corrupt, "{}: {}; expected two tokens and one space", name,
             in_quotes(text));
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (entry.is_array() && entry.size() == 2) {
      left = as_string(entry[0], "left", name);
      right = as_string(entry[1], "right", name);
    } else {
      fail(ErrorCode::corrupt, "{}: {}; expected \"a b\" or [\"a\", \"b\"]", name,
           in_quotes(entry.dump()));
    }
    const auto known = [&](const std::string& token) {
      const auto id = vocabulary_.find(token);
      if (!id)
        fail(ErrorCode::corrupt, "{}: {} + {}: token {} is not in the vocabulary", name,
             in_quotes(left), in_quotes(right), in_quotes(token));
      return *id;
    };
    merges_.set(known(left), known(right), {rank++, known(left + right)});
    if (input_ == Input::text) note_joined(left + right);
  }
}

void Bpe::note_joined(const std::string& token) {
  Utf8Char left = read_utf8(token, 0);
  for (std::size_t at = left.bytes; at < token.size();) {
    const Utf8Char right = read_utf8(token, at);
    joined_.insert(std::uint64_t{left.value} << 32 | right.value);
    at += right.bytes;
    left = right;
  }
}

void Bpe::index_symbols() {
  byte_symbol_.fill(-1);
  fallback_.fill(-1);
  ascii_symbol_.fill(-1);
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.empty()) continue;
    const Utf8Char c = read_utf8(token, 0);
    if (c.bytes == token.size()) {
      if (c.value < 128) {
        ascii_symbol_[c.value] = id;
      } else {
        char_symbol_.emplace(c.value, id);
      }
      if (const int byte = byte_level_byte(c.value); byte >= 0)
        byte_symbol_[static_cast<std::size_t>(byte)] = id;
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto id = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
    if (id) fallback_[static_cast<std::size_t>(byte)] = *id;
  }
}

// With byte_fallback, <0x41> is a byte. A token that only looks like one would be taken for another
// byte by a lenient reader: refused.
void Bpe::check_byte_tokens(const std::string& what) const {
  if (!byte_fallback_) return;
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.size() < 4 || token.size() > 8 || token.substr(0, 3) != "<0x" || token.back() != '>')
      continue;
    if (byte_token_value(token) >= 0) continue;
    fail(ErrorCode::corrupt, "{}: byte token {} (id {}); expected <0x and two hex digits and >",
         what, in_quotes(token), id);
  }
}

void Bpe::set_special(const std::vector<TokenId>& ids) {
  special_.assign(static_cast<std::size_t>(vocabulary_.size()), false);
  for (const TokenId id : ids)
    if (id < vocabulary_.size()) special_[static_cast<std::size_t>(id)] = true;
}

}  // namespace stepless
