// Every case of golden/tokenizers, made by Hugging Face's library: ids, decoded text, and the text
// each token releases.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "text/detokenizer.hpp"
#include "text/tokenizer.hpp"

namespace stepless {
namespace {

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  // The set's folder: in the repository, or in the shared folder; empty when neither has it.
  static std::string root() {
    const std::string here = test::golden_dir() + "/tokenizers";
    if (std::filesystem::exists(here + "/" + GetParam())) return here;
    const auto shared = test::shared_dir();
    const std::string there = shared ? *shared + "/golden/tokenizers" : "";
    return !there.empty() && std::filesystem::exists(there + "/" + GetParam()) ? there : "";
  }
  void SetUp() override {
    const std::string folder = root();
    if (folder.empty()) GTEST_SKIP() << GetParam() << ": no shared folder";
    texts_ = read_json(folder + "/strings.json");
    cases_ = read_json(folder + "/" + GetParam() + "/cases.json");
    tokenizer_.emplace(Tokenizer::load(folder + "/" + GetParam() + "/tokenizer.json"));
  }

  std::string streamed(const std::vector<TokenId>& ids, const Json& expected) const {
    Detokenizer stream(*tokenizer_, {}, false);
    std::string all;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string piece = stream.push(ids[i]);
      if (expected.is_array()) {
        EXPECT_EQ(piece, expected[i].get<std::string>()) << "token " << i;
      }
      all += piece;
    }
    const std::string rest = stream.finish();
    if (expected.is_array()) {
      EXPECT_EQ(rest, expected.back().get<std::string>());
    }
    return all + rest;
  }

  Json texts_, cases_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_P(TokenizerGolden, Encodes) {
  ASSERT_GT(cases_["encode"].size(), 300u);
  for (const Json& c : cases_["encode"]) {
    const std::string text = texts_[c["text"].get<std::size_t>()].get<std::string>();
    SCOPED_TRACE("text " + c["text"].dump());
    const auto ids = c["ids"].get<std::vector<TokenId>>();
    ASSERT_EQ(tokenizer_->encode(text), ids) << text.substr(0, 200);
    std::vector<TokenId> with = c.value("prefix", std::vector<TokenId>());
    with.insert(with.end(), ids.begin(), ids.end());
    EXPECT_EQ(tokenizer_->encode_with_template(text), with);
    const std::string decoded = c.value("decoded", text);
    EXPECT_EQ(tokenizer_->decode(ids), decoded);
    EXPECT_EQ(tokenizer_->decode(ids, true), c.value("decoded_skip_special", decoded));
    EXPECT_EQ(streamed(ids, c.value("stream", Json())), decoded);
  }
}

TEST_P(TokenizerGolden, Decodes) {
  ASSERT_GT(cases_["decode"].size(), 10u);
  for (const Json& c : cases_["decode"]) {
    SCOPED_TRACE(c["ids"].dump());
    const auto ids = c["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer_->decode(ids), c["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer_->decode(ids, true), c["decoded_skip_special"].get<std::string>());
    if (c.contains("stream")) {
      EXPECT_EQ(streamed(ids, c["stream"]), c["decoded"].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, TokenizerGolden,
                         testing::Values("llama3", "qwen2", "qwen3_5", "gpt2", "tekken", "o200k",
                                         "deepseek", "smollm", "prefix_space", "llama2",
                                         "metaspace", "gemma", "phi3", "real_gpt2"),
                         [](const auto& set) { return std::string(set.param); });

}  // namespace
}  // namespace stepless
