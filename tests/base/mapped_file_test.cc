#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/memory.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

const std::int64_t kPage = ::sysconf(_SC_PAGESIZE);

// A file of `bytes` bytes, the byte at i being i % 251 + 1: never zero.
std::string make_file(const std::string& name, std::int64_t bytes) {
  const std::string path = test::scratch_dir("mapped") + "/" + name;
  std::string text(static_cast<std::size_t>(bytes), '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i % 251 + 1);
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

int byte_at(const MappedFile& file, std::int64_t at) {
  return std::to_integer<int>(static_cast<const volatile std::byte*>(file.data())[at]);
}

TEST(MappedFile, ShowsTheBytes) {
  const MappedFile file(make_file("plain", kPage + 5));
  ASSERT_EQ(file.size(), kPage + 5);
  for (std::int64_t i = 0; i < file.size(); ++i) ASSERT_EQ(byte_at(file, i), i % 251 + 1);
  EXPECT_FALSE(file.damaged());
  EXPECT_NO_THROW(file.check());
}

TEST(MappedFile, AnEmptyFileIsEmpty) {
  const MappedFile file(make_file("empty", 0));
  EXPECT_EQ(file.size(), 0);
  EXPECT_NO_THROW(file.check());
  EXPECT_NO_THROW(file.drop(0, 10));
  EXPECT_NO_THROW(MappedFile().check());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const std::string folder = test::scratch_dir("mapped");
  expect_error(ErrorCode::not_found, "/none: cannot be opened",
               [&] { MappedFile(folder + "/none"); });
  expect_error(ErrorCode::not_found, "not a regular file", [&] { MappedFile{folder}; });
  expect_error(ErrorCode::not_found, "not a regular file", [] { MappedFile("/dev/zero"); });
  const std::string pipe = folder + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error(ErrorCode::not_found, "not a regular file", [&] { MappedFile{pipe}; });
}

TEST(MappedFile, FollowsSymbolicLinks) {
  const std::string path = make_file("blob", 10);
  const std::string link = path + ".link";
  ASSERT_EQ(::symlink(path.c_str(), link.c_str()), 0);
  EXPECT_EQ(MappedFile(link).size(), 10);
}

TEST(MappedFile, MovesItsMapping) {
  MappedFile first(make_file("move", 100));
  const std::byte* const data = first.data();
  MappedFile second(std::move(first));
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(second.size(), 100);
  EXPECT_EQ(first.data(), nullptr);  // NOLINT(bugprone-use-after-move): emptied, as documented
  first = MappedFile(make_file("move2", 7));
  EXPECT_EQ(first.size(), 7);
  second = std::move(first);
  EXPECT_EQ(second.size(), 7);
  EXPECT_NO_THROW(second.check());
}

TEST(MappedFile, ACutFileReadsAsZerosAndFailsTheCheck) {
  const std::string path = make_file("cut", 8 * kPage);
  const MappedFile file(path), other(make_file("whole", 8 * kPage));
  EXPECT_EQ(byte_at(file, 0), 1);
  ASSERT_EQ(::truncate(path.c_str(), 2 * kPage), 0);
  EXPECT_FALSE(file.damaged());  // nothing was read yet
  for (std::int64_t i = 2 * kPage; i < file.size(); ++i) ASSERT_EQ(byte_at(file, i), 0);
  EXPECT_EQ(byte_at(file, kPage), kPage % 251 + 1);
  EXPECT_TRUE(file.damaged());
  expect_error(ErrorCode::corrupt, path + ": was cut while in use", [&] { file.check(); });
  // The others go on.
  EXPECT_FALSE(other.damaged());
  EXPECT_EQ(byte_at(other, 7 * kPage), 7 * kPage % 251 + 1);
  EXPECT_NO_THROW(other.check());
}

TEST(MappedFile, ACutIsNoticedBeforeAnyRead) {
  const std::string path = make_file("cut_unread", 3 * kPage);
  const MappedFile file(path);
  ASSERT_EQ(::truncate(path.c_str(), 3 * kPage - 1),
            0);  // inside the last page: reads do not fault
  EXPECT_EQ(byte_at(file, 3 * kPage - 1), 0);
  EXPECT_FALSE(file.damaged());
  expect_error(ErrorCode::corrupt, "to " + std::to_string(3 * kPage - 1) + " bytes",
               [&] { file.check(); });
}

TEST(MappedFile, ADamagedMappingStaysDamagedWhenTheFileGrowsBack) {
  const std::string path = make_file("regrown", 4 * kPage);
  const MappedFile file(path);
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  EXPECT_EQ(byte_at(file, 3 * kPage), 0);
  ASSERT_EQ(::truncate(path.c_str(), 4 * kPage), 0);
  expect_error(ErrorCode::corrupt, "was cut while in use", [&] { file.check(); });
}

TEST(MappedFile, DamageGoesWithAMoveAndNotToTheNextMapping) {
  const std::string path = make_file("damage_moves", 2 * kPage);
  MappedFile file(path);
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  EXPECT_EQ(byte_at(file, kPage), 0);
  MappedFile moved(std::move(file));
  EXPECT_TRUE(moved.damaged());
  moved = MappedFile();
  const MappedFile next(make_file("fresh", 2 * kPage));  // takes the free slot
  EXPECT_FALSE(next.damaged());
  EXPECT_NO_THROW(next.check());
}

TEST(MappedFile, SeveralThreadsMeetTheCutAtOnce) {
  const std::string path = make_file("cut_threads", 64 * kPage);
  const MappedFile file(path);
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> sum{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 4; ++t)
    readers.emplace_back([&, t] {
      while (!stop.load())
        for (std::int64_t page = t; page < 64; page += 4) sum += byte_at(file, page * kPage);
    });
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  while (!file.damaged()) std::this_thread::yield();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  for (std::int64_t i = 0; i < file.size(); ++i) ASSERT_EQ(byte_at(file, i), 0);
  expect_error(ErrorCode::corrupt, "was cut", [&] { file.check(); });
}

TEST(MappedFile, DropGivesPagesBackAndTheyReadTheSame) {
  const std::int64_t bytes = 4 << 20;
  const MappedFile file(make_file("drop", bytes));
  file.advise_sequential();
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < bytes; i += 512) sum += byte_at(file, i);
  const std::int64_t before = resident_bytes();
  file.drop(0, bytes);
#ifndef __SANITIZE_THREAD__
  EXPECT_LT(resident_bytes(), before - bytes / 2);
#endif
  EXPECT_GT(before, 0);
  std::int64_t again = 0;
  for (std::int64_t i = 0; i < bytes; i += 512) again += byte_at(file, i);
  EXPECT_EQ(again, sum);
  for (const std::int64_t offset : {std::int64_t{-1}, bytes, bytes + 1}) file.drop(offset, 100);
  file.drop(bytes - 1, INT64_MAX);
  file.drop(1, 1);
}

// Of the mapping at `address`, as the kernel lists them; empty: there is none.
std::string flags_of_mapping(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char dash = 0;
    std::istringstream range(line);
    if (range >> std::hex >> begin >> dash >> end && dash == '-') here = begin <= at && at < end;
    if (here && line.rfind("VmFlags:", 0) == 0) return line + " ";
  }
  return "";
}

TEST(MappedFile, AsksForHugePages) {
  if (::access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) != 0)
    GTEST_SKIP() << "this kernel has no transparent huge pages";
  const MappedFile file(make_file("huge", 4 << 20));
  EXPECT_NE(flags_of_mapping(file.data()).find(" hg "), std::string::npos);
}

TEST(MappedFileDeathTest, AFaultElsewhereStillEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, SIG_DFL);  // sanitizers have one of their own
        const MappedFile file(make_file("death", 10));
        const std::string path = make_file("death2", kPage);
        const int other = ::open(path.c_str(), O_RDWR);
        auto* at = static_cast<volatile char*>(
            ::mmap(nullptr, static_cast<std::size_t>(kPage), PROT_READ, MAP_SHARED, other, 0));
        if (::ftruncate(other, 0) == 0) std::exit(at[0]);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

void exit_with_42(int) { std::_Exit(42); }

TEST(MappedFileDeathTest, AFaultElsewhereReachesTheHandlerThatWasThere) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, exit_with_42);
        const MappedFile file(make_file("chain", 10));
        ::raise(SIGBUS);
      },
      ::testing::ExitedWithCode(42), "");
}

}  // namespace
}  // namespace stepless
