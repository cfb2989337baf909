#include "base/large_buffer.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/log.hpp"
#include "base/quote.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

bool all_zero(const LargeBuffer& buffer) {
  for (std::int64_t i = 0; i < buffer.size(); i += 7)
    if (buffer.data()[i] != std::byte{0}) return false;
  return true;
}

TEST(LargeBuffer, IsAlignedZeroAndWholeToItsLastByte) {
  constexpr std::int64_t kHuge = 2 << 20;
  for (const Pages pages : {Pages::normal, Pages::huge})
    for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{64}, std::int64_t{4097},
                                     kHuge - 1, kHuge, kHuge + 1, 3 * kHuge}) {
      const LargeBuffer buffer(bytes, "test", pages);
      ASSERT_EQ(buffer.size(), bytes);
      const auto address = reinterpret_cast<std::uintptr_t>(buffer.data());
      EXPECT_EQ(address % (pages == Pages::huge && bytes >= kHuge ? kHuge : 4096), 0u);
      EXPECT_TRUE(all_zero(buffer));
      for (std::int64_t i = 0; i < bytes; i += 509) buffer.data()[i] = std::byte{1};
      buffer.data()[bytes - 1] = std::byte{1};
    }
}

TEST(LargeBuffer, Moves) {
  LargeBuffer first(100, "test");
  first.as<float>()[3] = 2.5f;
  LargeBuffer second(std::move(first));
  EXPECT_EQ(second.as<float>()[3], 2.5f);
  first = std::move(second);
  EXPECT_EQ(first.as<float>()[3], 2.5f);
  EXPECT_EQ(first.size(), 100);
  EXPECT_EQ(LargeBuffer(0, "none").data(), nullptr);
}

TEST(LargeBuffer, SaysWhatDidNotFit) {
  expect_error(ErrorCode::exhausted, "KV pages: 1125899906842624 bytes",
               [] { LargeBuffer(std::int64_t{1} << 50, "KV pages"); });
  expect_error(ErrorCode::exhausted, "KV pages",
               [] { LargeBuffer(INT64_MAX, "KV pages", Pages::huge); });
  expect_error(ErrorCode::invalid_argument, "arena: -1", [] { LargeBuffer(-1, "arena"); });
}

TEST(Quote, MakesNamesFitForMessages) {
  EXPECT_EQ(in_quotes("model.norm.weight"), "'model.norm.weight'");
  EXPECT_EQ(in_quotes("a\nb\x1b[31m\x7f"), "'a\\x0ab\\x1b[31m\\x7f'");
  EXPECT_EQ(in_quotes(""), "''");
  EXPECT_EQ(in_quotes(std::string(160, 'a')), "'" + std::string(160, 'a') + "'");
  EXPECT_EQ(in_quotes(std::string(161, 'a')), "'" + std::string(160, 'a') + "...'");
  // A cut never leaves half a character.
  EXPECT_EQ(in_quotes(std::string(159, 'a') + "\u00e9\u00e9"),
            "'" + std::string(159, 'a') + "...'");
}

TEST(Log, AnEmptySinkDrops) {
  std::string got;
  const LogSink sink = [&](LogLevel level, std::string_view line) {
    got = std::string(to_string(level)) + ": " + std::string(line);
  };
  log_to(sink, LogLevel::warning, "two");
  log_to({}, LogLevel::error, "lost");
  EXPECT_EQ(got, "warning: two");
}

}  // namespace
}  // namespace stepless
