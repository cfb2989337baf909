#include "base/thread_team.hpp"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <climits>
#include <string>
#include <system_error>
#include <utility>

#include "base/checked.hpp"
#include "base/error.hpp"

namespace stepless {
namespace {

// Long enough to bridge the serial part between two regions, short enough to be lost in a
// scheduler's time slice.
constexpr int kSpinUs = 100;
// With more threads than CPUs the one we wait for needs our CPU: look, then sleep.
constexpr int kSpinUsCrowded = 2;

void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // "yield" is a no-op on most cores
#endif
}

static_assert(sizeof(std::atomic<std::uint32_t>) == 4);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t old) {
  // Returns at once when the word differs; may also return for no reason. The caller looks again.
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_PRIVATE, old, nullptr,
            nullptr, 0);
}

void wake_all(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX,
            nullptr, nullptr, 0);
}

// Signals sent to the process go to the threads of the program. Faults stay deliverable: a blocked
// SIGBUS would kill instead of reaching the handler of MappedFile.
void block_asynchronous_signals(sigset_t* before) {
  sigset_t set;
  ::sigfillset(&set);
  for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS})
    ::sigdelset(&set, fault);
  ::pthread_sigmask(SIG_SETMASK, &set, before);
}

}  // namespace

void WaitWord::increment() {
  value_.fetch_add(1, std::memory_order_seq_cst);
  wake_sleepers();
}

void WaitWord::decrement() {
  if (value_.fetch_sub(1, std::memory_order_seq_cst) == 1) wake_sleepers();
}

void WaitWord::wake_sleepers() {
  // Sleepers count themselves before the kernel compares the word. So either they are seen here, or
  // they see the new value.
  if (sleepers_.load(std::memory_order_seq_cst) != 0) wake_all(value_);
}

std::uint32_t WaitWord::wait_while(std::uint32_t old, int spin_us) {
  using Clock = std::chrono::steady_clock;
  constexpr int kLooks = 64;  // between two looks at the clock, which costs as much as two of them
  std::uint32_t now = load();
  Clock::time_point until{};
  while (now == old) {
    for (int i = 0; i < kLooks && now == old; ++i) {
      pause_cpu();
      now = load();
    }
    if (now != old) return now;
    const Clock::time_point time = Clock::now();
    if (until == Clock::time_point{}) until = time + std::chrono::microseconds(spin_us);
    if (time >= until) break;
    ::sched_yield();
  }
  while (now == old) {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    sleep_while(value_, old);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    now = load();
  }
  return now;
}

void Barrier::wait_for_others() {
  // The generation is read first: abort() sets the flag, then counts it up, so one of the two is
  // always seen.
  const std::uint32_t generation = generation_.load();
  if (aborted_.load(std::memory_order_acquire)) throw Aborted{};
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);  // nobody arrives again before the next line
    generation_.increment();
  } else {
    generation_.wait_while(generation, spin_us_);
  }
  if (aborted_.load(std::memory_order_acquire)) throw Aborted{};
}

void Barrier::abort() {
  aborted_.store(true, std::memory_order_release);
  generation_.increment();
}

void Barrier::restart() {
  arrived_.store(0, std::memory_order_relaxed);
  aborted_.store(false, std::memory_order_relaxed);
}

ThreadTeam::ThreadTeam(int threads)
    : size_(threads),
      spin_us_(threads > available_cpus() ? kSpinUsCrowded : kSpinUs),
      barrier_(threads, spin_us_) {
  if (threads < 1 || threads > kMostThreads)
    fail(ErrorCode::invalid_argument, "threads: {}; expected 1 to {}", threads, kMostThreads);
  if (threads == 1) return;
  sigset_t before;
  block_asynchronous_signals(&before);  // a new thread inherits the mask
  try {
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    for (int i = 1; i < threads; ++i) {
      workers_.emplace_back([this, i] { work(i); });
      ::pthread_setname_np(workers_.back().native_handle(), fmt::format("stepless-{}", i).c_str());
    }
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    const std::size_t started = workers_.size();
    stop();
    fail(ErrorCode::exhausted, "threads: {} asked, {} could be started: {}", threads, started + 1,
         error.code().message());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadTeam::~ThreadTeam() { stop(); }

void ThreadTeam::stop() noexcept {
  if (workers_.empty()) return;
  stopping_ = true;  // published by start_
  start_.increment();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadTeam::work(int thread) {
  std::uint32_t seen = 0;
  while (true) {
    // The caller begins no region before all workers left the last one: `seen` never falls behind
    // by two.
    seen = start_.wait_while(seen, spin_us_);
    if (stopping_) return;
    run_part(thread);
    left_.decrement();
  }
}

void ThreadTeam::run_part(int thread) {
  try {
    call_(body_, thread);
  } catch (const Barrier::Aborted&) {
    // Another thread failed first and has left its exception.
  } catch (...) {
    if (!failed_.exchange(true, std::memory_order_acq_rel)) error_ = std::current_exception();
    barrier_.abort();
  }
}

void ThreadTeam::run_on_all(Call call, void* body) {
  if (busy_.exchange(true, std::memory_order_acquire))
    fail(ErrorCode::internal, "thread team: a region inside a region, or two callers at once");
  call_ = call;
  body_ = body;
  left_.reset(static_cast<std::uint32_t>(size_ - 1));
  start_.increment();
  run_part(0);
  std::uint32_t left = left_.load();
  while (left != 0) left = left_.wait_while(left, spin_us_);
  const bool failed = failed_.load(std::memory_order_acquire);
  std::exception_ptr error;
  if (failed) {
    error = std::exchange(error_, nullptr);
    failed_.store(false, std::memory_order_relaxed);
    barrier_.restart();
  }
  busy_.store(false, std::memory_order_release);
  if (failed) std::rethrow_exception(error);
}

Part part_of(std::int64_t count, std::int64_t step, int thread, int threads) {
  assert(count >= 0 && step > 0 && thread >= 0 && thread < threads);
  const std::int64_t steps = divide_up(count, step);
  const std::int64_t each = steps / threads, more = steps % threads;
  const std::int64_t first = each * thread + std::min<std::int64_t>(thread, more);
  const std::int64_t last = first + each + (thread < more ? 1 : 0);
  return {std::min(first * step, count), std::min(last * step, count)};
}

}  // namespace stepless
