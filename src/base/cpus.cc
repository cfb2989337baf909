#include "base/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "base/cgroup.hpp"

namespace stepless {
namespace {

// The numbers in the affinity mask. A machine may have more CPUs than a cpu_set_t: the mask grows
// until the kernel is content.
std::vector<int> allowed_cpus() {
  for (int most = CPU_SETSIZE; most <= (1 << 20); most *= 4) {
    cpu_set_t* const mask = CPU_ALLOC(static_cast<std::size_t>(most));
    if (mask == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(most));
    std::vector<int> numbers;
    const bool read = ::sched_getaffinity(0, bytes, mask) == 0;
    for (int cpu = 0; read && cpu < most; ++cpu)
      if (CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, mask)) numbers.push_back(cpu);
    CPU_FREE(mask);
    if (read && !numbers.empty()) return numbers;
  }
  std::vector<int> all(std::max(1u, std::thread::hardware_concurrency()));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
  return all;
}

int within_quota(int cpus, const std::string& root) {
  const std::optional<double> quota = cgroup_cpus(root);
  if (quota && *quota < cpus) cpus = static_cast<int>(*quota);
  return std::max(1, cpus);
}

}  // namespace

int available_cpus(const std::string& root) {
  return within_quota(static_cast<int>(allowed_cpus().size()), root);
}

int physical_cores(const std::string& root) {
  std::set<std::string> cores;
  for (const int cpu : allowed_cpus()) {
    const std::string name = std::to_string(cpu);
    std::ifstream file(root + "/sys/devices/system/cpu/cpu" + name +
                       "/topology/thread_siblings_list");
    std::string siblings;
    // Without topology (some virtual machines) every CPU is a core of its own.
    cores.insert(file >> siblings ? siblings : "cpu " + name);
  }
  return within_quota(static_cast<int>(cores.size()), root);
}

}  // namespace stepless
