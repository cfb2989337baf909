// Chat templates: the Jinja subset that checkpoints use to turn messages into a prompt, run within
// limits. The output is what transformers renders; besides, every byte of it is known to be the
// template's or the user's.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "text/jinja_limits.hpp"

namespace stepless {

/// A piece of a rendered prompt. `from_user`: its bytes came from the request (messages, tools, …),
/// even if they were trimmed, cut or dumped as JSON since. Special tokens may be recognised only
/// inside pieces that are not the user's; the pre-tokenizer must still see the pieces joined, or
/// ids would differ from Hugging Face's.
struct TextRun {
  std::string text;
  bool from_user = false;
};

/// Immutable after parse(); render() may run on several threads at once.
class ChatTemplate {
 public:
  /// `what` names the template in messages, e.g. a file. Throws Error: corrupt (with the line),
  /// exhausted (a limit).
  static ChatTemplate parse(std::string source, std::string_view what,
                            const TemplateLimits& limits = {});

  /// `variables`: an object with messages, tools, add_generation_prompt, bos_token, … in the
  /// template's names. `now_unix`: what strftime_now shows, in seconds since 1970 on the wall
  /// clock; add the zone's offset for local time. Time: linear in the length of the messages.
  /// Throws Error: invalid_argument (raise_exception, with its message; a mistake of the template,
  /// with its line), exhausted (a limit).
  std::string render(const OrderedJson& variables, std::int64_t now_unix = 0) const;

  /// The same text in runs of alternating provenance. The user's are the variables messages, tools,
  /// documents and custom_tools, and those that `user_variables` names: pass the names of a
  /// request's chat_template_kwargs.
  std::vector<TextRun> render_runs(const OrderedJson& variables, std::int64_t now_unix = 0,
                                   std::span<const std::string> user_variables = {}) const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

  std::shared_ptr<const Parsed> parsed_;
};

/// ChatML, for models that come without a template and for --use-default-chat-template.
std::string_view default_chat_template();

}  // namespace stepless
