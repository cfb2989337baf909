#include "base/placement.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"

namespace stepless {
namespace {

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text << "\n";
}

TEST(Placement, ReadsTheCachesOfTheFirstAllowedCpu) {
  const std::string root = test::scratch_dir("placement");
  write(root + "/proc/self/status",
        "Name:\tx\nCpus_allowed:\tc\nCpus_allowed_list:\t2-3,8\nMems_allowed_list:\t0");
  const std::string cpu = root + "/sys/devices/system/cpu/cpu2/cache/index";
  const char* rows[][4] = {{"1", "Data", "48K", "2"},
                           {"1", "Instruction", "32K", "2"},
                           {"2", "Unified", "2M", "2"},
                           {"3", "Unified", "32768K", "0-7"}};
  for (std::size_t i = 0; i < std::size(rows); ++i)
    for (const auto& [name, at] :
         {std::pair{"level", 0}, std::pair{"type", 1}, {"size", 2}, {"shared_cpu_list", 3}})
      write(cpu + std::to_string(i) + "/" + name, rows[i][at]);
  EXPECT_EQ(placement(root).cpus, "2-3,8");
  EXPECT_EQ(placement(root).nodes, "0");
  const std::vector<CpuCache> caches = cpu_caches(root);
  ASSERT_EQ(caches.size(), 4u);
  EXPECT_EQ(caches[0].type, "Data");
  EXPECT_EQ(caches[0].bytes, 48 << 10);
  EXPECT_EQ(caches[2].bytes, 2 << 20);
  EXPECT_EQ(caches[3].level, 3);
  EXPECT_EQ(caches[3].bytes, 32 << 20);
  EXPECT_EQ(caches[3].shared_by, "0-7");
}

TEST(Placement, AKernelThatTellsNothingIsNoError) {
  const std::string root = test::scratch_dir("placement-none");
  EXPECT_EQ(placement(root).cpus, "");
  EXPECT_TRUE(cpu_caches(root).empty());
  write(root + "/sys/devices/system/cpu/cpu0/cache/index0/level", "1");
  write(root + "/sys/devices/system/cpu/cpu0/cache/index0/size", "lots");
  EXPECT_TRUE(cpu_caches(root).empty());
}

}  // namespace
}  // namespace stepless
