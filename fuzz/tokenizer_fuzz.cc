// tokenizer.json: what loads gives ids of its vocabulary and valid text, or stops with an Error.
#include "base/json.hpp"
#include "fuzz/targets.hpp"
#include "stepless/error.hpp"
#include "text/detokenizer.hpp"
#include "text/tokenizer.hpp"
#include "text/utf8.hpp"

namespace stepless::fuzz {
namespace {

constexpr std::string_view kTexts[] = {"", "abcd <end> it's 12\n\n\tx",
                                       "caf\xC3\xA9 \xE4\xBD\xA0\xFF  "};

void use(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<TokenId> ids = tokenizer.encode(text);
  for (const TokenId id : ids)
    require(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary");
  const std::string decoded = tokenizer.decode(ids);
  require(is_utf8(decoded), "decoded text is UTF-8");
  Detokenizer stream(tokenizer, {}, false);
  std::string streamed;
  for (const TokenId id : ids) streamed += stream.push(id);
  streamed += stream.finish();
  require(streamed == decoded, "streamed text is the decoded one");
  for (const TokenId id : tokenizer.encode(text, SpecialTokens::as_text))
    require(!tokenizer.is_special(id), "user text becomes no special token");
  tokenizer.encode_with_template(text);
}

}  // namespace

void tokenizer(Input input) {
  try {
    const Json json = parse_json(text_of(input), "tokenizer.json");
    const Tokenizer loaded = Tokenizer::from_json(json, "tokenizer.json");
    for (TokenId id = 0; id < loaded.vocab_size(); ++id)
      if (const std::string_view token = loaded.token(id); !token.empty())
        require(loaded.id_of(token) == id, "a token's id is its own");
    for (const std::string_view text : kTexts) {
      try {
        use(loaded, text);
      } catch (const Error&) {  // a regular expression that never ends; the next text may be fine
      }
    }
  } catch (const Error&) {
  }
}

}  // namespace stepless::fuzz
