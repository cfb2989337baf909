// A tokenizer.json small enough to break by hand: letters a to d, a few merges, one special token.
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "base/json.hpp"
#include "stepless/error.hpp"
#include "text/tokenizer.hpp"

namespace stepless::test {

inline Json tiny_tokenizer() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 7, "content": "<end>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
              "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "abc": 5, "cd": 6},
              "merges": ["a b", "ab c", "c d"]}})");
}

/// The error of loading `json`; fails the test when there is none.
inline Error load_error(const Json& json) {
  try {
    Tokenizer::from_json(json, "t.json");
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "loaded: " << json.dump();
  return Error(ErrorCode::internal, "");
}

}  // namespace stepless::test
