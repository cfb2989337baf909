// What Python's str methods do, on texts with provenance. Pieces cut from a text keep theirs.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_text.hpp"

namespace stepless::jinja {

enum class Side : std::uint8_t { left, right, both };

/// strip(), lstrip(), rstrip(): of the characters in `chars`, or of spaces when it is absent.
Text strip(const Text& text, const std::optional<std::string>& chars, Side side);
/// split() and rsplit(): at spaces when `separator` is absent; at most `most` cuts, all when
/// negative.
std::vector<Text> split(const Text& text, const std::optional<std::string>& separator,
                        std::int64_t most, Side from);
std::vector<Text> split_lines(const Text& text, bool keep_ends);
Text replace(const Text& text, const Text& old, const Text& with, std::int64_t most, Meter& meter);
/// A mapping of characters, such as to_upper. ASCII text keeps its provenance byte by byte.
Text map_case(const Text& text, std::string (*map)(std::string_view), Meter& meter);
/// The text with `left` and `right` copies of a character around it.
Text pad(const Text& text, std::int64_t left, std::int64_t right, const Text& fill, Meter& meter);
/// center(width): Python puts the odd character left or right by the width's parity.
Text center(const Text& text, std::int64_t width, const Text& fill, Meter& meter);

}  // namespace stepless::jinja
