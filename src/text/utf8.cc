#include "text/utf8.hpp"

#include <cstdint>
#include <cstring>

namespace stepless {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080U;

// Bytes from `at` on that are certainly ASCII; eight at a time.
std::size_t ascii_run(std::string_view text, std::size_t at) {
  std::size_t i = at;
  while (i + 8 <= text.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & kHighBits) != 0) break;
    i += 8;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i - at;
}

struct Lead {
  std::size_t bytes;        // of the whole character; 0: not a lead byte
  unsigned char low, high;  // what the second byte may be
};

Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Char read_utf8(std::string_view text, std::size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1, Utf8Kind::valid};
  const Lead lead = lead_of(first);
  if (lead.bytes == 0) return {0xFFFD, 1, Utf8Kind::invalid};
  char32_t value = first & (0x7FU >> lead.bytes);
  for (std::size_t i = 1; i < lead.bytes; ++i) {
    if (at + i >= text.size()) return {0xFFFD, i, Utf8Kind::incomplete};
    const auto byte = static_cast<unsigned char>(text[at + i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {0xFFFD, i, Utf8Kind::invalid};
    value = value << 6 | (byte & 0x3FU);
  }
  return {value, lead.bytes, Utf8Kind::valid};
}

std::size_t last_char(std::string_view text, std::size_t end) {
  std::size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) --at;
  return at;
}

bool is_ascii(std::string_view text) { return ascii_run(text, 0) == text.size(); }

bool is_utf8(std::string_view text) {
  std::size_t at = 0;
  while (true) {
    at += ascii_run(text, at);
    if (at == text.size()) return true;
    const Utf8Char c = read_utf8(text, at);
    if (c.kind != Utf8Kind::valid) return false;
    at += c.bytes;
  }
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  Utf8Stream stream;
  out.reserve(text.size());
  stream.push(text, out);
  stream.finish(out);
  return out;
}

void append_utf8(std::string& out, char32_t value) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | value >> 18);
    put(0x80 | (value >> 12 & 0x3F));
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!tail_.empty()) {
    joined = tail_;
    joined.append(bytes);
    bytes = joined;
    tail_.clear();
  }
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::size_t plain = ascii_run(bytes, at);
    out.append(bytes.substr(at, plain));
    at += plain;
    if (at == bytes.size()) break;
    const Utf8Char c = read_utf8(bytes, at);
    if (c.kind == Utf8Kind::incomplete) {
      tail_.assign(bytes.substr(at));
      return;
    }
    out.append(c.kind == Utf8Kind::valid ? bytes.substr(at, c.bytes) : kReplacementUtf8);
    at += c.bytes;
  }
}

void Utf8Stream::finish(std::string& out) {
  if (!tail_.empty()) out.append(kReplacementUtf8);
  tail_.clear();
}

}  // namespace stepless
