// The "decoder" of tokenizer.json, as a machine fed one token at a time: a whole decode and a
// stream are the same code.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "text/regex.hpp"
#include "text/utf8.hpp"

namespace stepless {

/// What a decoder remembers between tokens. Copyable; a few bytes.
struct DecoderState {
  bool started = false;    // a token went by
  bool metaspace = false;  // … reached the Metaspace step
  std::string bytes;       // byte tokens that are no character yet
  bool broken = false;     // … and never will be
  Utf8Stream utf8;         // ByteLevel
  struct Tail {
    std::int64_t stripped = 0;
    bool begun = false;
    std::string held;
  };
  std::vector<Tail> tails;  // one per step behind the point where tokens become one text
};

class Decoder {
 public:
  enum class Mode {
    whole,   // byte tokens wait for the end of their run: exactly Hugging Face's decode
    stream,  // whole characters leave at once; what was released is never taken back
  };

  /// null joins the tokens with spaces. Throws Error: unsupported, corrupt.
  static Decoder from_json(const Json& json, std::string_view what);

  DecoderState start() const;
  /// Appends the text that `token` (its raw string) releases.
  void push(DecoderState& state, std::string_view token, Mode mode, std::string& out) const;
  void finish(DecoderState& state, std::string& out) const;

 private:
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct ByteFallback {};
  struct Strip {
    std::string content;
    std::int64_t start, stop;
  };
  struct Metaspace {
    Pattern mark;
    bool drop_first;
  };
  using Step = std::variant<Replace, ByteFallback, Strip, Metaspace>;
  enum class Join { spaces, fuse, byte_level };

  void add(const Json& json, const std::string& what);
  void add_step(Step step, const std::string& what);
  void join(Join how, const std::string& what);

  void token_step(DecoderState& state, std::size_t step, std::string_view token, Mode mode,
                  std::string& out) const;
  void byte_token(DecoderState& state, std::size_t step, unsigned char byte, Mode mode,
                  std::string& out) const;
  void end_bytes(DecoderState& state, std::size_t step, Mode mode, std::string& out) const;
  void joined(DecoderState& state, std::string_view token, std::string& out) const;
  static std::string strip_text(const Strip& step, DecoderState::Tail& tail, std::string ready,
                                bool last);
  static std::string replace_text(const Replace& step, DecoderState::Tail& tail,
                                  const std::string& ready, bool last);
  void text_step(DecoderState& state, std::size_t step, std::string_view text, bool last,
                 std::string& out) const;

  std::vector<Step> per_token_;  // before tokens become one text
  std::vector<Step> on_text_;    // after
  Join join_ = Join::fuse;
  bool one_text_ = false;
};

}  // namespace stepless
