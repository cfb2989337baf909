// The few character properties that tokenizers ask for, as Rust's char and regex crates define
// them.
#pragma once
#include <string>

namespace stepless {

bool is_white_space(char32_t c);  // White_Space: Rust's char::is_whitespace and \s
bool is_word(char32_t c);     // \w: Alphabetic, marks, decimal digits, connectors, join controls
bool is_numeric(char32_t c);  // Nd, Nl, No
bool is_punctuation(char32_t c);  // P* of Unicode 8, and every ASCII punctuation character
bool is_mark(char32_t c);         // Mn, Mc, Me

/// Appends the full lower case of c (more than one character for U+0130 only).
void append_lower(std::string& out, char32_t c);

}  // namespace stepless
