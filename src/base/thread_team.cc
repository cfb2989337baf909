#include "base/thread_team.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cassert>
#include <string>
#include <system_error>
#include <utility>

#include "base/checked.hpp"
#include "base/error.hpp"

namespace stepless {
namespace {

// Long enough to bridge what one thread does alone between two regions, short enough to leave a
// neighbour what it would take anyway.
constexpr int kSpinUs = 50;
// With more threads than CPUs the one we wait for needs our CPU: look, then sleep.
constexpr int kSpinUsCrowded = 2;

// Threads that count the same number: each waits for the line of the one before.
constexpr int kGroup = 4;

// A region's word is its number and its parts. A worker's claims are the number of their region
// and how many parts of its stretch were taken from the front and from the back. A number does not
// come back: at a million regions a second 48 bits last nine years.
constexpr int kNumberShift = 16, kFrontShift = 8;
constexpr std::uint64_t kMostTaken = 255;

std::uint64_t number_of(std::uint64_t word) { return word >> kNumberShift; }
std::int64_t parts_of(std::uint64_t region) { return static_cast<std::int64_t>(region & 0xffff); }

// Signals sent to the process go to the threads of the program. Faults stay deliverable: a blocked
// SIGBUS would kill instead of reaching the handler of MappedFile.
void block_asynchronous_signals(sigset_t* before) {
  sigset_t set;
  ::sigfillset(&set);
  for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS})
    ::sigdelset(&set, fault);
  ::pthread_sigmask(SIG_SETMASK, &set, before);
}

int groups_of(int threads) { return (threads + kGroup - 1) / kGroup; }

int checked_threads(int threads) {
  if (threads < 1 || threads > ThreadTeam::kMostThreads)
    fail(ErrorCode::invalid_argument, "threads: {}; expected 1 to {}", threads,
         ThreadTeam::kMostThreads);
  return threads;
}

}  // namespace

ThreadTeam::ThreadTeam(int threads)
    : size_(checked_threads(threads)),
      spin_us_(threads > available_cpus() ? kSpinUsCrowded : kSpinUs),
      claims_(std::make_unique<Claims[]>(static_cast<std::size_t>(threads))),
      group_done_(std::make_unique<Count[]>(static_cast<std::size_t>(groups_of(threads)))) {
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

std::int64_t ThreadTeam::most_parts() const {
  return std::min<std::int64_t>(static_cast<std::int64_t>(kMostTaken) * size_, 0xffff);
}

void ThreadTeam::stop() noexcept {
  if (workers_.empty()) return;
  stopping_.store(true, std::memory_order_relaxed);  // published by the bell
  region_.ring((number_of(region_.load()) + 1) << kNumberShift);
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadTeam::work(int worker) {
  std::uint64_t region = 0;
  while (true) {
    region = region_.wait_while(region, spin_us_);
    if (stopping_.load(std::memory_order_relaxed)) return;
    work_on(region, worker);
  }
}

/// The next part at one end of a worker's stretch; -1: none is left, or the region is over.
std::int64_t ThreadTeam::claim(std::uint64_t region, int owner, End end) {
  const Part stretch = part_of(parts_of(region), 1, owner, size_);
  const auto parts = static_cast<std::uint64_t>(stretch.end - stretch.begin);
  if (parts == 0) return -1;
  std::atomic<std::uint64_t>& claims = claims_[static_cast<std::size_t>(owner)].word;
  std::uint64_t word = claims.load(std::memory_order_acquire);
  while (true) {
    std::uint64_t taken = word & 0xffff;
    if (number_of(word) != number_of(region)) {
      // Of a region before, then nothing is taken yet; or of one after, and this one is over. A
      // region does not end before its parts are claimed: if it has, the exchange fails.
      if (region_.load() != region) return -1;
      taken = 0;
    }
    const std::uint64_t front = taken >> kFrontShift, back = taken & 0xff;
    if (front + back >= parts) return -1;
    const std::uint64_t more = end == End::front ? std::uint64_t{1} << kFrontShift : 1;
    if (claims.compare_exchange_weak(word, (number_of(region) << kNumberShift) | (taken + more),
                                     std::memory_order_acq_rel, std::memory_order_acquire))
      return end == End::front ? stretch.begin + static_cast<std::int64_t>(front)
                               : stretch.end - 1 - static_cast<std::int64_t>(back);
  }
}

/// Claims parts until none is left: first of the own stretch, whose bytes may still be in this
/// CPU's caches, then from the far ends of the others'.
void ThreadTeam::work_on(std::uint64_t region, int worker) {
  std::int64_t done = 0;
  for (std::int64_t part; (part = claim(region, worker, End::front)) >= 0; ++done) run_part(part);
  if (done > 0 && report(region, worker, done)) return;
  // To look at the others' claims slows them down: not while all are about to finish, as usual.
  bool& helps = claims_[static_cast<std::size_t>(worker)].helps;
  if (!helps && is_over_soon(region)) return;
  helps = false;
  for (int i = 1; i < size_; ++i) {
    const int other = worker + i < size_ ? worker + i : worker + i - size_;
    for (std::int64_t part; (part = claim(region, other, End::back)) >= 0;) {
      helps = true;
      run_part(part);
      if (report(region, other, 1)) return;
    }
    if (region_.load() != region) return;
  }
}

bool ThreadTeam::is_over_soon(std::uint64_t region) const {
  constexpr int kLooks = 16;  // about half a microsecond, less than a part takes
  for (int i = 0; i < kLooks; ++i) {
    if (region_.load() != region) return true;
    pause_cpu();
  }
  return false;
}

void ThreadTeam::run_part(std::int64_t part) {
  if (failed_.load(std::memory_order_relaxed)) return;
  try {
    regions_->run(part);
  } catch (...) {
    note_error();
  }
}

void ThreadTeam::note_error() {
  if (!failed_.exchange(true, std::memory_order_acq_rel)) error_ = std::current_exception();
}

/// Parts of a worker's stretch are done; true: they were the last, and the region is over.
bool ThreadTeam::report(std::uint64_t region, int owner, std::int64_t parts) {
  const auto ends = [](Count& count, std::int64_t more, std::int64_t all) {
    if (count.done.fetch_add(more, std::memory_order_acq_rel) + more != all) return false;
    count.done.store(0, std::memory_order_relaxed);  // published by what opens the next region
    return true;
  };
  const std::int64_t all = parts_of(region);
  const int group = owner / kGroup, last = std::min((group + 1) * kGroup, size_) - 1;
  const std::int64_t own =
      part_of(all, 1, last, size_).end - part_of(all, 1, group * kGroup, size_).begin;
  if (!ends(group_done_[static_cast<std::size_t>(group)], parts, own)) return false;
  // Groups that have parts: fewer parts than threads are those of the first threads.
  const auto groups = std::min<std::int64_t>(divide_up(all, kGroup), groups_of(size_));
  if (groups > 1 && !ends(groups_done_, 1, groups)) return false;
  open_next();
  return true;
}

/// Runs regions of one part: nobody else is needed. Others learn of the first with more.
void ThreadTeam::open_next() {
  std::int64_t parts = 0;
  try {
    if (!failed_.load(std::memory_order_relaxed))
      while ((parts = regions_->open()) == 1) regions_->run(0);
  } catch (...) {
    note_error();
    parts = 0;
  }
  assert(parts >= 0 && parts <= most_parts());
  const std::uint64_t number = number_of(region_.load()) + 1;
  region_.ring((number << kNumberShift) | static_cast<std::uint64_t>(parts));
}

void ThreadTeam::walk(Regions& regions) {
  if (size_ == 1) {
    for (std::int64_t parts; (parts = regions.open()) > 0;)
      for (std::int64_t part = 0; part < parts; ++part) regions.run(part);
    return;
  }
  if (busy_.exchange(true, std::memory_order_acquire))
    fail(ErrorCode::internal, "thread team: a region inside a region, or two callers at once");
  regions_ = &regions;
  open_next();
  for (std::uint64_t region; parts_of(region = region_.load()) != 0;) {
    work_on(region, 0);
    region_.wait_while(region, spin_us_);
  }
  // Nobody touches `regions` any more: a thread that comes late finds no part of them.
  std::exception_ptr error;
  if (failed_.exchange(false, std::memory_order_acq_rel)) error = std::exchange(error_, nullptr);
  busy_.store(false, std::memory_order_release);
  if (error != nullptr) std::rethrow_exception(error);
}

Part part_of(std::int64_t count, std::int64_t step, std::int64_t index, std::int64_t parts) {
  assert(count >= 0 && step > 0 && index >= 0 && index < parts);
  const std::int64_t steps = divide_up(count, step);
  const std::int64_t each = steps / parts, more = steps % parts;
  const std::int64_t first = each * index + std::min(index, more);
  const std::int64_t last = first + each + (index < more ? 1 : 0);
  return {std::min(first * step, count), std::min(last * step, count)};
}

}  // namespace stepless
