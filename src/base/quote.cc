#include "base/quote.hpp"

#include <fmt/format.h>

namespace stepless {

std::string in_quotes(std::string_view name) {
  constexpr std::size_t kMost = 160;
  std::size_t shown = name.size();
  if (shown > kMost) {
    shown = kMost;
    while (shown > 0 && (static_cast<unsigned char>(name[shown]) & 0xc0u) == 0x80u) --shown;
  }
  std::string text = "'";
  for (const char c : name.substr(0, shown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      text += fmt::format("\\x{:02x}", byte);
    else
      text += c;
  }
  if (shown < name.size()) text += "...";
  return text + "'";
}

}  // namespace stepless
