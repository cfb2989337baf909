#include "base/cgroup.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/cpus.hpp"
#include "base/memory.hpp"
#include "tests/support/paths.hpp"

namespace stepless {
namespace {

namespace fs = std::filesystem;

// A root folder of its own, with the /proc and /sys files a test needs.
class Root {
 public:
  explicit Root(const std::string& name) : path_(test::scratch_dir("cgroup/" + name)) {}
  Root& file(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(path_ + name).parent_path());
    std::ofstream(path_ + name) << text;
    return *this;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

constexpr const char* kV2Mount =
    "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

TEST(Cgroup, NoneMeansNoLimit) {
  const Root root("none");
  EXPECT_EQ(cgroup_cpus(root.path()), std::nullopt);
  EXPECT_EQ(cgroup_free_bytes(root.path()), std::nullopt);
}

TEST(Cgroup, V2TakesTheLeastOverTheParents) {
  Root root("v2");
  root.file("/proc/self/mountinfo", kV2Mount)
      .file("/proc/self/cgroup", "0::/a/b\n")
      .file("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
      .file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n")
      .file("/sys/fs/cgroup/a/b/memory.max", "1000\n")
      .file("/sys/fs/cgroup/a/b/memory.current", "900\n")
      .file("/sys/fs/cgroup/a/b/memory.stat", "anon 600\ninactive_file 100\nactive_file 200\n")
      .file("/sys/fs/cgroup/a/memory.max", "max\n")
      .file("/sys/fs/cgroup/a/memory.current", "950\n");
  EXPECT_EQ(cgroup_cpus(root.path()), 1.5);
  EXPECT_EQ(cgroup_free_bytes(root.path()), 400);
  EXPECT_EQ(available_cpus(root.path()),
            1);  // rounded down: a throttled team waits for its slowest
  root.file("/sys/fs/cgroup/a/b/cpu.max", "120000 100000\n");
  EXPECT_EQ(cgroup_cpus(root.path()), 1.2);  // whichever of the two is less
  root.file("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpus(root.path()), 0.5);
  EXPECT_EQ(available_cpus(root.path()), 1);
  EXPECT_EQ(physical_cores(root.path()), 1);
}

TEST(Cgroup, V2InsideAContainerWithoutItsOwnPath) {
  // The path is the host's; under the mount only the root's files exist.
  Root root("v2_container");
  root.file("/proc/self/mountinfo", kV2Mount)
      .file("/proc/self/cgroup", "0::/../../system.slice/docker-1\n")
      .file("/sys/fs/cgroup/cpu.max", "400000 100000\n");
  EXPECT_EQ(cgroup_cpus(root.path()), 4.0);
}

TEST(Cgroup, V1OfAHybridHost) {
  Root root("v1");
  root.file("/proc/self/mountinfo",
            "29 25 0:26 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n"
            "33 25 0:30 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:8 - cgroup cgroup "
            "rw,cpu,cpuacct\n"
            "34 25 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
      .file("/proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/docker/x\n0::/\n")
      .file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000")
      .file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
      .file("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "5000")
      .file("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "1500")
      .file("/sys/fs/cgroup/memory/m/memory.stat", "active_file 7\ntotal_active_file 500\n")
      .file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
      .file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "77");
  EXPECT_EQ(cgroup_cpus(root.path()), 3.0);
  EXPECT_EQ(cgroup_free_bytes(root.path()), 4000);
  root.file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(cgroup_cpus(root.path()), std::nullopt);
}

TEST(Cgroup, GarbageIsNoLimit) {
  Root root("garbage");
  root.file("/proc/self/mountinfo", std::string(kV2Mount) + "\n- - -\ncgroup2\n1 2 - cgroup2\n")
      .file("/proc/self/cgroup", "\n::\n0:\n0::\nx\n0::nopath\n")
      .file("/sys/fs/cgroup/cpu.max", "lots\n")
      .file("/sys/fs/cgroup/memory.max", "");
  EXPECT_EQ(cgroup_cpus(root.path()), std::nullopt);
  EXPECT_EQ(cgroup_free_bytes(root.path()), std::nullopt);
}

TEST(Cpus, SiblingsCountOnce) {
  const int cpus = available_cpus();
  EXPECT_GE(cpus, 1);
  EXPECT_LE(physical_cores(), cpus);
  Root root("siblings");
  for (int cpu = 0; cpu < 64; ++cpu)
    root.file(
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
        "0-63\n");
  // All of the first 64 CPUs are one core here.
  if (cpus <= 64) {
    EXPECT_EQ(physical_cores(root.path()), 1);
  }
}

TEST(Memory, TellsPlausibleNumbers) {
  EXPECT_GT(available_memory_bytes(), 1 << 20);
  EXPECT_GT(resident_bytes(), 1 << 20);
  EXPECT_GE(peak_resident_bytes(), resident_bytes() / 2);
  Root root("memory");
  EXPECT_EQ(available_memory_bytes(root.path()), INT64_MAX);
  root.file("/proc/meminfo", "MemTotal:  100 kB\nMemAvailable:   42 kB\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 42 * 1024);
  root.file("/proc/self/mountinfo", kV2Mount)
      .file("/proc/self/cgroup", "0::/\n")
      .file("/sys/fs/cgroup/memory.max", "5000\n")
      .file("/sys/fs/cgroup/memory.current", "6000\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 0);
}

}  // namespace
}  // namespace stepless
