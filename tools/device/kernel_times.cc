// Times of the kernels that a program launches, by CUPTI: a library that the CUDA driver loads into
// it. At exit it prints each kernel's total, and what it added to the end of the one before, which
// a kernel that starts early and waits does not do for as long as it lasts. Where several kinds of
// kernels of a step stand is best seen in the list.
//
// To build it, then to run a program under it:
//
//   g++ -O2 -std=c++20 -shared -fPIC -I$CUDA/include -o kernel_times.so kernel_times.cc
//   -L$CUDA/lib64 -lcupti
//
//   CUDA_INJECTION64_PATH=$PWD/kernel_times.so [KERNEL_LIST=list.txt] PROGRAM ...
#include <cupti.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct Launch {
  uint64_t start, end;  // ns
  std::string name;
  int64_t blocks;
};
struct Total {
  uint64_t lasted = 0, added = 0, count = 0;
};

std::mutex mutex;
std::vector<Launch> launches;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* bytes, size_t* most_records) {
  constexpr size_t kBytes = 8 << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBytes));
  *bytes = kBytes, *most_records = 0;
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto& kernel = *reinterpret_cast<const CUpti_ActivityKernel9*>(record);
    launches.push_back({kernel.start, kernel.end, kernel.name != nullptr ? kernel.name : "?",
                        int64_t{kernel.gridX} * kernel.gridY * kernel.gridZ});
  }
  std::free(buffer);
}

void write_list(const char* path) {
  std::FILE* const file = std::fopen(path, "w");
  if (file == nullptr) return;
  for (const Launch& one : launches)
    std::fprintf(file, "%10.1f us  %8.1f us  %6lld blocks  %s\n",
                 static_cast<double>(one.start - launches[0].start) / 1e3,
                 static_cast<double>(one.end - one.start) / 1e3, static_cast<long long>(one.blocks),
                 one.name.c_str());
  std::fclose(file);
}

void report() {
  cuptiActivityFlushAll(1);
  const std::lock_guard lock(mutex);
  if (launches.empty()) return;
  std::sort(launches.begin(), launches.end(),
            [](const Launch& a, const Launch& b) { return a.start < b.start; });
  std::map<std::string, Total> totals;
  uint64_t before = launches[0].start;
  for (const Launch& one : launches) {
    Total& total = totals[one.name];
    total.lasted += one.end - one.start, ++total.count;
    if (one.end > before) total.added += one.end - before, before = one.end;
  }
  std::vector<std::pair<std::string, Total>> all(totals.begin(), totals.end());
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.second.added > b.second.added; });
  std::fprintf(stderr, "     added      lasted   times      each\n");
  for (const auto& [name, total] : all)
    std::fprintf(stderr, "%8.3f ms %8.3f ms %7llu %6.2f us  %.120s\n",
                 static_cast<double>(total.added) / 1e6, static_cast<double>(total.lasted) / 1e6,
                 static_cast<unsigned long long>(total.count),
                 static_cast<double>(total.added) / 1e3 / static_cast<double>(total.count),
                 name.c_str());
  if (const char* const path = std::getenv("KERNEL_LIST")) write_list(path);
}

}  // namespace

extern "C" int InitializeInjection() {
  cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  std::atexit(report);
  return 1;
}
