// How vocabularies write bytes: GPT-2's alphabet, where each of the 256 has a printable character,
// and SentencePiece's byte tokens.
#pragma once
#include <array>
#include <string>
#include <string_view>

namespace stepless {

/// The character that stands for a byte, in UTF-8.
std::string_view byte_level_char(unsigned char byte);
/// The byte a character stands for, or -1.
int byte_level_byte(char32_t c);

/// Every byte of `bytes` as its character.
std::string byte_level_text(std::string_view bytes);
/// Appends the bytes `text` stands for; false, and nothing appended, when a character stands for
/// none.
bool append_byte_level_bytes(std::string& out, std::string_view text);

/// The byte of <0xNN>, or -1 for any other token.
int byte_token_value(std::string_view token);

}  // namespace stepless
