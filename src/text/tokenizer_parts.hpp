// What a Tokenizer is made of; shared with its Detokenizers.
#pragma once
#include <string>
#include <vector>

#include "text/added_tokens.hpp"
#include "text/bpe.hpp"
#include "text/decoder.hpp"
#include "text/normalizer.hpp"
#include "text/post_processor.hpp"
#include "text/pretokenizer.hpp"
#include "text/tokenizer.hpp"

namespace stepless {

struct Tokenizer::Parts {
  Normalizer normalizer;
  PreTokenizer pretokenizer;
  Bpe model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  // By id, added tokens included.
  struct Entry {
    std::string token;    // raw
    std::string decoded;  // what the decoder reads: a normalized token is read in its normal form
    bool known = false, special = false;
  };
  std::vector<Entry> entries;
  std::unordered_map<std::string, TokenId> added_ids;

  const Entry* entry(TokenId id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= entries.size()) return nullptr;
    const Entry& e = entries[static_cast<std::size_t>(id)];
    return e.known ? &e : nullptr;
  }
};

}  // namespace stepless
