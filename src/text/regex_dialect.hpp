// Tokenizer files hold regular expressions in Oniguruma's Ruby syntax (Hugging Face's library runs
// them with it). This writes them in PCRE2's, so that every class, property and quantifier keeps
// its meaning.
#pragma once
#include <string>
#include <string_view>

namespace stepless {

/// The PCRE2 pattern (for UTF | UCP | MULTILINE) that matches what Oniguruma's `pattern` matches.
/// Throws Error: unsupported for a construct with no counterpart, corrupt for a pattern that is not
/// well formed; `what` names the field.
std::string pcre2_from_onig(std::string_view pattern, std::string_view what);

}  // namespace stepless
