// A persistent team for work cut into parts that threads claim: none waits for another that has
// not come, and one that loses its CPU delays the part it holds, no more (docs/decisions/0012).
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/bell.hpp"
#include "base/cpus.hpp"

namespace stepless {

/// Regions of work, one after the other, each cut into parts that are free of one another.
class Regions {
 public:
  /// Opens the next region and returns its parts, at most ThreadTeam::most_parts(); 0: that was
  /// all. Called by one thread at a time, when all parts of the region before are done; what those
  /// wrote is seen here, and what this writes by the parts to come.
  virtual std::int64_t open() = 0;
  /// Part 0 .. parts - 1 of the region that is open: each once, on any thread.
  virtual void run(std::int64_t part) = 0;

 protected:
  ~Regions() = default;
};

/// One caller at a time. Regions do not nest. A team of one makes plain calls.
class ThreadTeam {
 public:
  /// Starts threads - 1 threads; the caller of run() and walk() works too. Workers take no
  /// asynchronous signals. Throws Error: invalid_argument (not in 1..kMostThreads), exhausted (the
  /// system starts no more).
  explicit ThreadTeam(int threads);
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam();

  static constexpr int kMostThreads = 1024;

  int size() const { return size_; }
  /// The most parts that a region may have.
  std::int64_t most_parts() const;

  /// All regions, one after the other. Whoever finishes the last part of one opens the next, a
  /// region of a single part it runs itself. If parts throw, the first exception caught is thrown
  /// here once the parts that had begun are done, and the team stays usable.
  void walk(Regions& regions);

  /// body(part) for each of 0 .. parts - 1, on any threads; returns when all are done. What was
  /// written before is seen by them, and what they wrote by the caller after.
  template <class F>
  void run(std::int64_t parts, F&& body) {
    Single<std::remove_reference_t<F>> single(parts, body);
    walk(single);
  }

 private:
  template <class F>
  class Single final : public Regions {
   public:
    Single(std::int64_t parts, F& body) : parts_(parts), body_(body) {}
    std::int64_t open() override { return std::exchange(parts_, 0); }
    void run(std::int64_t part) override { body_(part); }

   private:
    std::int64_t parts_;
    F& body_;
  };
  /// What was claimed of a worker's own stretch of the parts, and of which region.
  struct alignas(128) Claims {
    std::atomic<std::uint64_t> word{0};
    bool helps = false;  // of this worker: whether it found parts of others the last time it looked
  };
  /// A number that many threads count up, on a line of its own. Whoever reaches the end sets it
  /// back: the line is in that CPU's cache, and whoever opens a region needs none of them.
  struct alignas(128) Count {
    std::atomic<std::int64_t> done{0};
  };
  enum class End : std::uint8_t { front, back };

  void work(int worker);
  void work_on(std::uint64_t region, int worker);
  std::int64_t claim(std::uint64_t region, int owner, End end);
  void run_part(std::int64_t part);
  bool report(std::uint64_t region, int owner, std::int64_t parts);
  bool is_over_soon(std::uint64_t region) const;
  void open_next();
  void note_error();
  void stop() noexcept;

  int size_, spin_us_;
  Regions* regions_ = nullptr;
  std::exception_ptr error_;
  std::atomic<bool> busy_{false}, failed_{false}, stopping_{false};
  std::unique_ptr<Claims[]> claims_;     // (size)
  std::unique_ptr<Count[]> group_done_;  // parts that are done, by groups of their owners
  std::vector<std::thread> workers_;
  Bell region_;        // its number, and its parts: 0 between walks
  Count groups_done_;  // groups all of whose parts are done
};

/// The part of `count` items that is number `index` of `parts`: contiguous, cut at multiples of
/// `step`, and as even as that allows. May be empty.
struct Part {
  std::int64_t begin, end;
};
Part part_of(std::int64_t count, std::int64_t step, std::int64_t index, std::int64_t parts);

}  // namespace stepless
