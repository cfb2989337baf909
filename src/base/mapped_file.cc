#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/checked.hpp"
#include "base/error.hpp"

namespace stepless {
namespace {

// One mapping, as the handler sees it. `begin` is written last when a slot is taken and first when
// it is given back.
struct Slot {
  std::atomic<bool> taken{false};
  std::atomic<bool> damaged{false};
  std::atomic<std::uintptr_t> begin{0};  // 0: not to be looked at
  std::atomic<std::uintptr_t> end{0};
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);
static_assert(std::atomic<bool>::is_always_lock_free);

std::array<Slot, MappedFile::kMostMapped> g_slots;
std::atomic<int> g_slots_used{0};  // one past the highest slot ever taken: what the handler walks
struct sigaction g_previous {};

std::uintptr_t page_bytes() {
  static const std::uintptr_t bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

// By number: the thread sanitizer takes libc's mmap for a write, which races with other threads
// that read the pages. That they do, and find zeros, is what this is for.
bool map_zeros(std::uintptr_t page, std::size_t bytes) {
  return ::syscall(SYS_mmap, page, bytes, PROT_READ,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != -1;
}

// Zeros in place of the faulting page and of all after it: a cut file has lost its whole tail, and
// one fault is enough to say so. Only lock-free atomics and the mmap system call: a handler may do
// nothing else.
bool patch(std::uintptr_t address) {
  const int used = g_slots_used.load(std::memory_order_acquire);
  for (int i = 0; i < used; ++i) {
    Slot& slot = g_slots[static_cast<std::size_t>(i)];
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = slot.end.load(std::memory_order_relaxed);
    if (begin == 0 || address < begin || address >= end) continue;
    slot.damaged.store(true, std::memory_order_release);
    const std::uintptr_t page = address - address % page_bytes();
    return map_zeros(page, end - page);
  }
  return false;
}

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((g_previous.sa_flags & SA_SIGINFO) != 0)
    return g_previous.sa_sigaction(signal, info, context);
  if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN)
    return g_previous.sa_handler(signal);
  // The default action: the instruction runs again, faults again and ends the process as if we were
  // not here.
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(signal, &plain, nullptr);
  if (info->si_code <= 0) ::raise(signal);  // sent by kill(): there is no instruction to repeat
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const int kept = errno;
  // si_code > 0: the kernel reports a fault; otherwise si_addr means nothing.
  const bool ours = info->si_code > 0 && patch(reinterpret_cast<std::uintptr_t>(info->si_addr));
  errno = kept;
  if (!ours) pass_on(signal, info, context);
}

void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes();  // its initialisation takes a lock: not in the handler
    struct sigaction action {};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &g_previous);
  });
}

int take_slot(std::uintptr_t begin, std::uintptr_t end) {
  for (int i = 0; i < MappedFile::kMostMapped; ++i) {
    Slot& slot = g_slots[static_cast<std::size_t>(i)];
    bool free = false;
    if (!slot.taken.compare_exchange_strong(free, true, std::memory_order_acq_rel)) continue;
    slot.damaged.store(false, std::memory_order_relaxed);
    slot.end.store(end, std::memory_order_relaxed);
    slot.begin.store(begin, std::memory_order_release);
    int used = g_slots_used.load(std::memory_order_relaxed);
    while (used <= i && !g_slots_used.compare_exchange_weak(used, i + 1, std::memory_order_acq_rel))
      ;
    return i;
  }
  return -1;
}

void give_slot(int index) {
  Slot& slot = g_slots[static_cast<std::size_t>(index)];
  slot.begin.store(0, std::memory_order_release);
  slot.taken.store(false, std::memory_order_release);
}

}  // namespace

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  install_handler();
  try {
    // O_NONBLOCK: opening a named pipe would hang; what is no regular file is refused below.
    file_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file_ < 0)
      fail(ErrorCode::not_found, "{}: cannot be opened: {}", path_, std::strerror(errno));
    struct stat info {};
    if (::fstat(file_, &info) != 0 || !S_ISREG(info.st_mode))
      fail(ErrorCode::not_found, "{}: not a regular file", path_);
    if (info.st_size == 0) return;
    const std::size_t bytes = static_cast<std::size_t>(info.st_size);
    void* const at = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file_, 0);
    if (at == MAP_FAILED)
      fail(ErrorCode::exhausted, "{}: {} bytes cannot be mapped: {}", path_, bytes,
           std::strerror(errno));
    data_ = static_cast<const std::byte*>(at);
    size_ = info.st_size;
    // A wish. Where the page cache holds folios of 2 MiB (ext4 since Linux 6.16, XFS, Btrfs) and
    // the file is not in it yet, all of the mapping lies in huge pages; what is cached stays as it
    // is. Products of a few rows with such weights take 3 to 8 % less time (Emerald Rapids, in a
    // VM).
    ::madvise(at, bytes, MADV_HUGEPAGE);
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(at);
    const std::int64_t whole = round_up(size_, static_cast<std::int64_t>(page_bytes()));
    slot_ = take_slot(begin, begin + static_cast<std::uintptr_t>(whole));
    if (slot_ < 0)
      fail(ErrorCode::exhausted, "{}: {} files are mapped already, which is the most", path_,
           kMostMapped);
  } catch (...) {
    release();
    throw;
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  release();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  file_ = std::exchange(other.file_, -1);
  slot_ = std::exchange(other.slot_, -1);
  return *this;
}

MappedFile::~MappedFile() { release(); }

void MappedFile::release() noexcept {
  if (slot_ >= 0) give_slot(slot_);
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), static_cast<std::size_t>(size_));
  if (file_ >= 0) ::close(file_);
  data_ = nullptr;
  size_ = 0;
  file_ = slot_ = -1;
}

void MappedFile::advise_sequential() const {
  if (data_ != nullptr)
    ::madvise(const_cast<std::byte*>(data_), static_cast<std::size_t>(size_), MADV_SEQUENTIAL);
}

void MappedFile::drop(std::int64_t offset, std::int64_t bytes) const {
  if (data_ == nullptr || offset < 0 || bytes <= 0 || offset >= size_) return;
  const std::int64_t page = static_cast<std::int64_t>(page_bytes());
  const std::int64_t first = round_up(offset, page);
  std::int64_t last = offset + std::min(bytes, size_ - offset);
  if (last != size_) last -= last % page;  // the file's last page may go though it is not full
  if (first >= last) return;
  ::madvise(const_cast<std::byte*>(data_) + first, static_cast<std::size_t>(last - first),
            MADV_DONTNEED);
}

bool MappedFile::damaged() const {
  return slot_ >= 0 &&
         g_slots[static_cast<std::size_t>(slot_)].damaged.load(std::memory_order_acquire);
}

void MappedFile::check() const {
  if (data_ == nullptr) return;
  struct stat info {};
  const bool known = ::fstat(file_, &info) == 0;
  if (known && info.st_size >= size_ && !damaged()) return;
  if (known && info.st_size < size_)
    fail(ErrorCode::corrupt, "{}: was cut while in use, from {} to {} bytes; load the model again",
         path_, size_, info.st_size);
  fail(ErrorCode::corrupt,
       "{}: was cut while in use, or can no longer be read; load the model again", path_);
}

}  // namespace stepless
