#include "text/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/regex_dialect.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

constexpr std::size_t kPatternBytes = 1 << 16;
constexpr std::size_t kJitStackBytes = 16 << 20;
// Steps of one match: some walks over the text, and what a pattern that does not backtrack wildly
// needs besides.
constexpr std::size_t kSteps = 20'000'000;
constexpr std::size_t kStepsPerByte = 16;
constexpr std::uint32_t kHeapKib = 64 << 10;

std::uint32_t step_limit(std::size_t bytes) {
  constexpr std::size_t kMost = 0xFFFFFFFFU;
  if (bytes > (kMost - kSteps) / kStepsPerByte) return static_cast<std::uint32_t>(kMost);
  return static_cast<std::uint32_t>(kSteps + kStepsPerByte * bytes);
}

std::string reason(int code) {
  std::array<PCRE2_UCHAR, 256> words{};
  pcre2_get_error_message(code, words.data(), words.size());
  return reinterpret_cast<const char*>(words.data());
}

PCRE2_SPTR bytes_of(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Pattern::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

struct MatchScratch::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  void ready() {
    if (context != nullptr) return;
    data = pcre2_match_data_create(1, nullptr);
    context = pcre2_match_context_create(nullptr);
    if (data == nullptr || context == nullptr)
      fail(ErrorCode::exhausted, "tokenizer: no memory left for matching");
    pcre2_set_heap_limit(context, kHeapKib);
  }
  // The 32 KiB that JIT code finds on the machine stack suffice nearly always.
  bool grow() {
    if (stack != nullptr) return false;
    stack = pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr);
    if (stack == nullptr) return false;
    pcre2_jit_stack_assign(context, nullptr, stack);
    return true;
  }
};

MatchScratch::MatchScratch() : state_(std::make_unique<State>()) {}
MatchScratch::~MatchScratch() = default;

Pattern Pattern::from_json(const Json& json, std::string_view what) {
  if (json.is_string()) return literal(json.get_ref<const std::string&>(), what);
  if (json.is_object() && json.size() == 1) {
    const auto entry = json.begin();
    if (entry->is_string() && entry.key() == "Regex")
      return regex(entry->get_ref<const std::string&>(), what);
    if (entry->is_string() && entry.key() == "String")
      return literal(entry->get_ref<const std::string&>(), what);
  }
  fail(ErrorCode::corrupt, "{}: pattern {}; expected {{\"Regex\": …}} or {{\"String\": …}}", what,
       in_quotes(json.dump()));
}

Pattern Pattern::literal(std::string_view text, std::string_view what) {
  if (text.empty())
    fail(ErrorCode::unsupported, "{}: an empty pattern; name a string to find", what);
  Pattern pattern;
  pattern.text_ = text;
  return pattern;
}

Pattern Pattern::regex(std::string_view onig, std::string_view what) {
  if (onig.empty()) fail(ErrorCode::unsupported, "{}: an empty pattern; name a regex", what);
  if (onig.size() > kPatternBytes)
    fail(ErrorCode::exhausted, "{}: a regex of {} bytes; at most {} are taken", what, onig.size(),
         kPatternBytes);
  const std::string ours = pcre2_from_onig(onig, what);
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  if (!context) fail(ErrorCode::exhausted, "{}: no memory left for a regex", what);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  std::size_t at = 0;
  const std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  auto compiled = std::make_shared<Code>();
  compiled->code = pcre2_compile(bytes_of(ours), ours.size(), options, &code, &at, context.get());
  if (compiled->code == nullptr)
    fail(ErrorCode::corrupt, "{}: regex {}: {}", what, in_quotes(onig), reason(code));
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // refused (hardened kernels): interpreted
  Pattern pattern;
  pattern.text_ = onig;
  pattern.code_ = std::move(compiled);
  return pattern;
}

std::size_t Pattern::next_char(std::string_view subject, std::size_t at) {
  return at < subject.size() ? at + read_utf8(subject, at).bytes : at + 1;
}

bool Pattern::find(std::string_view subject, std::size_t from, MatchScratch& scratch,
                   TextRange& match) const {
  if (code_ == nullptr) {
    const std::size_t at = subject.find(text_, from);
    match = {at, at + text_.size()};
    return at != std::string_view::npos;
  }
  MatchScratch::State& state = *scratch.state_;
  state.ready();
  pcre2_set_match_limit(state.context, step_limit(subject.size()));
  int result = 0;
  do {
    result = pcre2_match(code_->code, bytes_of(subject), subject.size(), from, PCRE2_NO_UTF_CHECK,
                         state.data, state.context);
  } while (result == PCRE2_ERROR_JIT_STACKLIMIT && state.grow());
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0)
    fail(ErrorCode::invalid_argument,
         "tokenizer: regex {} gave up on a text of {} bytes at byte {}: {}", in_quotes(text_),
         subject.size(), from, reason(result));
  const std::size_t* ends = pcre2_get_ovector_pointer(state.data);
  match = {ends[0], ends[1]};
  // \K inside a lookahead may set the start behind the end.
  if (match.begin > match.end || match.end < from)
    fail(ErrorCode::unsupported, "tokenizer: regex {} matches backwards", in_quotes(text_));
  return true;
}

}  // namespace stepless
