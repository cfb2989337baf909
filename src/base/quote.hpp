// Names that come from files, made fit for a message.
#pragma once
#include <string>
#include <string_view>

namespace stepless {

/// 'name', with control characters escaped and long names cut at a whole UTF-8 character.
std::string in_quotes(std::string_view name);

}  // namespace stepless
