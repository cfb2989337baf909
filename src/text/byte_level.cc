#include "text/byte_level.hpp"

#include "text/utf8.hpp"

namespace stepless {
namespace {

// Printable bytes stand for themselves; the 68 others take U+0100, U+0101 … in their own order.
constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<char, 512> chars{};  // two bytes per byte; a character below 128 uses one
  std::array<short, 0x144> bytes{};
};

constexpr Tables make_tables() {
  Tables t;
  for (short& b : t.bytes) b = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int c = is_printable(byte) ? byte : next++;
    t.bytes[static_cast<std::size_t>(c)] = static_cast<short>(byte);
    const auto at = static_cast<std::size_t>(byte) * 2;
    if (c < 0x80) {
      t.chars[at] = static_cast<char>(c);
    } else {
      t.chars[at] = static_cast<char>(0xC0 | c >> 6);
      t.chars[at + 1] = static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  return t;
}

constexpr Tables kTables = make_tables();

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

int byte_token_value(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string_view byte_level_char(unsigned char byte) {
  const std::size_t at = std::size_t{byte} * 2;
  return {&kTables.chars[at], kTables.chars[at + 1] == 0 ? std::size_t{1} : std::size_t{2}};
}

int byte_level_byte(char32_t c) { return c < kTables.bytes.size() ? kTables.bytes[c] : -1; }

std::string byte_level_text(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 2);
  for (const char byte : bytes) out.append(byte_level_char(static_cast<unsigned char>(byte)));
  return out;
}

bool append_byte_level_bytes(std::string& out, std::string_view text) {
  const std::size_t before = out.size();
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = read_utf8(text, at);
    const int byte = c.kind == Utf8Kind::valid ? byte_level_byte(c.value) : -1;
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(byte));
    at += c.bytes;
  }
  return true;
}

}  // namespace stepless
