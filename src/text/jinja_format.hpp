// Text from patterns: the % operator and str.format() of Python, and the dates of strftime_now.
#pragma once
#include <string>
#include <string_view>

#include "text/jinja_interp.hpp"

namespace stepless::jinja {

/// pattern % values, where values is a tuple, a dict (for %(name)s) or one value.
Text format_percent(Interp& interp, const Text& pattern, const Value& values);
/// pattern.format(*args.list, **args.named)
Text format_braces(Interp& interp, const Text& pattern, const Args& args);
/// datetime.strftime in the C locale; `unix_seconds` count from 1970 in the zone whose time shall
/// be shown.
std::string format_time(std::string_view pattern, std::int64_t unix_seconds);

}  // namespace stepless::jinja
