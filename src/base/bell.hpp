// A word that threads wait on: a bounded spin, then sleep in the kernel. Under 1 us while hot, no
// CPU while idle (house.md, section 9).
#pragma once
#include <atomic>
#include <cstdint>

namespace stepless {

/// Tells the CPU that this is a loop that waits.
inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // "yield" is a no-op on most cores
#endif
}

/// On lines of its own: what one thread polls, no other may write beside.
class alignas(128) Bell {
 public:
  std::uint64_t load() const { return value_.load(std::memory_order_acquire); }
  /// Writes the word and wakes whoever sleeps. One thread at a time. Orders like a release.
  void ring(std::uint64_t value);
  /// Returns the first value seen that is not `old`. Spins for about `spin_us`, then sleeps.
  std::uint64_t wait_while(std::uint64_t old, int spin_us);

 private:
  std::uint64_t sleep_while(std::uint64_t old);

  std::atomic<std::uint64_t> value_{0};
  alignas(128) std::atomic<bool> sleepers_{false};  // whether there may be some
  std::atomic<std::uint32_t> rings_{0};             // that met sleepers; what the kernel compares
};

}  // namespace stepless
