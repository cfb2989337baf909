// A fingerprint of bytes: tells accidents apart (another model, a damaged file), not attacks.
#pragma once
#include <cstdint>
#include <string>

namespace stepless {

/// Everything added counts, in order, with where each piece ends. The same on every machine.
class Fingerprint {
 public:
  void add(const void* data, std::int64_t bytes);
  void add(const std::string& text) { add(text.data(), static_cast<std::int64_t>(text.size())); }
  /// 32 hexadecimal digits.
  std::string text() const;

 private:
  void mix(std::uint64_t word);

  std::uint64_t a_ = 0x9e3779b97f4a7c15u, b_ = 0xc2b2ae3d27d4eb4fu;
};

}  // namespace stepless
