// A persistent team for parallel regions. Waiting spins for a bounded time, then sleeps in the
// kernel: under 1 us while hot, no CPU while idle, and no collapse when the machine is busy
// (house.md, section 9).
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/cpus.hpp"

namespace stepless {

/// A 32-bit number that threads wait on. On a line of its own: what one thread polls, no other may
/// write beside.
class alignas(128) WaitWord {
 public:
  std::uint32_t load() const { return value_.load(std::memory_order_acquire); }
  /// Before the region starts only: wakes nobody.
  void reset(std::uint32_t value) { value_.store(value, std::memory_order_relaxed); }
  /// Counts up (wrapping) and wakes the sleepers. Orders like a release and an acquire.
  void increment();
  /// Counts down and wakes the sleepers at zero.
  void decrement();
  /// Returns the first value seen that is not `old`. Spins for about `spin_us`, then sleeps.
  std::uint32_t wait_while(std::uint32_t old, int spin_us);

 private:
  void wake_sleepers();
  std::atomic<std::uint32_t> value_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

/// For all threads of a team, inside run(). An exception in one thread ends the wait of the others.
class Barrier {
 public:
  /// What wait() throws when another thread of the region failed; the team catches it. Let it pass.
  struct Aborted {};

  Barrier(int threads, int spin_us) : threads_(threads), spin_us_(spin_us) {}
  /// Returns when every thread of the team has called it. What was written before is seen after.
  void wait() {
    if (threads_ > 1) wait_for_others();
  }

 private:
  friend class ThreadTeam;
  void wait_for_others();
  void abort();
  void restart();

  int threads_, spin_us_;
  std::atomic<bool> aborted_{false};
  alignas(128) std::atomic<int> arrived_{0};
  WaitWord generation_;
};

/// One caller at a time. Regions do not nest. A team of one runs the body as a plain call.
class ThreadTeam {
 public:
  /// Starts threads - 1 threads; the caller of run() is thread 0. Workers take no asynchronous
  /// signals. Throws Error: invalid_argument (not in 1..kMostThreads), exhausted (the system starts
  /// no more).
  explicit ThreadTeam(int threads);
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam();

  static constexpr int kMostThreads = 1024;

  int size() const { return size_; }
  Barrier& barrier() { return barrier_; }

  /// body(thread) on every thread 0 .. size()-1 at once; returns when all have ended. What one
  /// thread wrote is seen by the caller after, and what the caller wrote before is seen by all. If
  /// bodies throw, the first exception caught is thrown here, and the team stays usable.
  template <class F>
  void run(F&& body) {
    if (size_ == 1) {
      body(0);
      return;
    }
    using Body = std::remove_reference_t<F>;
    run_on_all([](void* at, int thread) { (*static_cast<Body*>(at))(thread); },
               const_cast<void*>(static_cast<const void*>(std::addressof(body))));
  }

 private:
  using Call = void (*)(void* body, int thread);
  void run_on_all(Call call, void* body);
  void work(int thread);
  void run_part(int thread);
  void stop() noexcept;

  int size_, spin_us_;
  Barrier barrier_;
  Call call_ = nullptr;
  void* body_ = nullptr;
  bool stopping_ = false;
  std::atomic<bool> busy_{false}, failed_{false};
  std::exception_ptr error_;
  WaitWord start_, left_;  // regions begun; workers still in the region
  std::vector<std::thread> workers_;
};

/// The part of `count` items that thread `thread` of `threads` takes: contiguous, cut at multiples
/// of `step`, and as even as that allows. May be empty.
struct Part {
  std::int64_t begin, end;
};
Part part_of(std::int64_t count, std::int64_t step, int thread, int threads);

}  // namespace stepless
