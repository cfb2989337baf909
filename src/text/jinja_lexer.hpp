// Cuts a template into tokens, with the whitespace rules of transformers' environment: trim_blocks
// (the newline after a block tag goes), lstrip_blocks (so do blanks before one that starts its
// line), and the signs - and + that override.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_number.hpp"

namespace stepless::jinja {

enum class TokenKind : std::uint8_t {
  text,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  integer,
  real,
  string,
  sign,
  end,
};

struct Token {
  TokenKind kind;
  int line;
  std::string value;  // text, name, string (escapes resolved) or sign
  Int integer = 0;
  double real = 0;
};

/// Ends with a token `end`. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

/// What is wrong with a template, and where.
struct SyntaxError : std::runtime_error {
  SyntaxError(int line_number, const std::string& message)
      : std::runtime_error(message), line(line_number) {}
  int line;
};

}  // namespace stepless::jinja
