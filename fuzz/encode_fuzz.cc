// Text through the committed tokenizers and every pipeline of the fixtures: there and back, in
// segments, streamed, whatever bytes it has.
#include <map>
#include <optional>

#include "base/json.hpp"
#include "fuzz/targets.hpp"
#include "stepless/error.hpp"
#include "tests/support/paths.hpp"
#include "text/detokenizer.hpp"
#include "text/tokenizer.hpp"
#include "text/utf8.hpp"

namespace stepless::fuzz {
namespace {

constexpr auto kUser = SpecialTokens::as_text;

/// What decode(encode(text)) is, as far as a pipeline promises anything.
enum class Return { text, underscores, nothing };

struct Subject {
  Tokenizer tokenizer;
  Return returns;
  std::string unknown = {};  // what a character that is no token becomes; "": nothing
};

class Subjects {
 public:
  Subjects()
      : llama2_(read_json(folder() + "llama2/tokenizer.json")),
        llama3_(read_json(folder() + "llama3/tokenizer.json")),
        pipelines_(read_json(folder() + "pipelines.json")["pipelines"]) {}

  const Subject& at(std::size_t number) {
    number %= pipelines_.size() + 3;
    const auto found = loaded_.find(number);
    return found != loaded_.end() ? found->second
                                  : loaded_.emplace(number, load(number)).first->second;
  }

 private:
  static std::string folder() { return test::golden_dir() + "/tokenizers/"; }

  Subject load(std::size_t number) const {
    if (number == 0) return {Tokenizer::from_json(llama3_, "llama3"), Return::text};
    if (number == 1) return {Tokenizer::from_json(llama2_, "llama2"), Return::underscores};
    if (number == 2)
      return {Tokenizer::load(test::models_dir() + "/tale-4bit/tokenizer.json"), Return::nothing};
    const Json& pipeline = pipelines_[number - 3];
    Json file = pipeline["base"] == "llama2" ? llama2_ : llama3_;
    for (const auto& [key, value] : pipeline["patch"].items()) {
      if (key == "model")
        file["model"].update(value);
      else
        file[key] = value;
    }
    const Json unknown = file["model"].value("unk_token", Json());
    return {Tokenizer::from_json(file, "pipeline"), Return::nothing,
            unknown.is_string() ? unknown.get<std::string>() : ""};
  }

  Json llama2_, llama3_, pipelines_;
  std::map<std::size_t, Subject> loaded_;  // each when it is first asked for
};

/// llama2 writes spaces as U+2581, so that one written in the text comes back as a space.
std::string with_spaces(std::string text) {
  constexpr std::string_view kMark = "\xE2\x96\x81";
  for (std::size_t at = text.find(kMark); at != std::string::npos; at = text.find(kMark, at + 1))
    text.replace(at, kMark.size(), " ");
  return text;
}

void check_ids(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  for (const TokenId id : ids)
    require(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary");
  const std::string decoded = tokenizer.decode(ids);
  require(is_utf8(decoded), "decoded text is UTF-8");
  Detokenizer stream(tokenizer, {}, false);
  std::string streamed;
  for (const TokenId id : ids) {
    streamed += stream.push(id);
    require(is_utf8(streamed), "no half characters are released");
  }
  require(streamed + stream.finish() == decoded, "streamed text is the decoded one");
}

void check_user_text(const Subject& subject, std::string_view text) {
  const std::vector<TokenId> ids = subject.tokenizer.encode(text, kUser);
  for (const TokenId id : ids)
    require(!subject.tokenizer.is_special(id) || subject.tokenizer.token(id) == subject.unknown,
            "user text becomes no special token");
  check_ids(subject.tokenizer, ids);
  const TextSegment whole[] = {{text, kUser}};
  require(subject.tokenizer.encode_segments(whole) == ids, "one segment is the text");
  if (subject.returns == Return::nothing) return;
  const std::string repaired = repair_utf8(text);
  require(subject.tokenizer.decode(ids) ==
              (subject.returns == Return::text ? repaired : with_spaces(repaired)),
          "text comes back");
}

}  // namespace

void encode(Input input) {
  static Subjects subjects;
  if (input.size() < 2) return;
  const Subject& subject = subjects.at(input[0]);
  const std::string_view text = text_of(input.subspan(2));
  try {
    check_ids(subject.tokenizer, subject.tokenizer.encode(text));
    check_user_text(subject, text);
    const std::size_t cut = std::min<std::size_t>(input[1], text.size());
    const TextSegment parts[] = {{text.substr(0, cut), SpecialTokens::parse},
                                 {text.substr(cut), kUser}};
    check_ids(subject.tokenizer, subject.tokenizer.encode_segments(parts));
  } catch (const Error&) {  // a pattern of the fixtures may give up on a text; none may hang on it
  }
}

}  // namespace stepless::fuzz
