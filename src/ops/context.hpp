// What an operation on arrays runs with: threads, the machine, the user's wishes, scratch memory,
// plans already made.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <tuple>

#include "base/large_buffer.hpp"
#include "base/thread_team.hpp"
#include "dispatch/select.hpp"

namespace stepless {

/// Scratch buffers of a call; each may be used once at a time.
enum class Scratch : std::uint8_t { workspace, x, y, a, b, partials };

class Context {
 public:
  /// The team outlives the context.
  Context(ThreadTeam& team, Machine machine, Overrides overrides = {});
  /// A team of its own on this computer.
  explicit Context(int threads, Overrides overrides = {});

  ThreadTeam& team() { return *team_; }
  const Machine& machine() const { return machine_; }
  const Overrides& overrides() const { return overrides_; }

  /// At least `bytes`, 64-byte aligned, content unspecified; grows, never shrinks. Throws Error
  /// (exhausted).
  std::byte* scratch(Scratch which, std::int64_t bytes);

  /// The kernel of a problem: select() at its row bucket, once per problem. A wish for a kernel
  /// counts where it computes the problem's op.
  const Kernel& kernel_for(const Problem& problem);

 private:
  using Key = std::tuple<KernelOp, Mode, int, int, bool, DType, DType, DType, std::int64_t,
                         std::int64_t, std::int64_t>;
  std::unique_ptr<ThreadTeam> own_team_;
  ThreadTeam* team_;
  Machine machine_;
  Overrides overrides_;
  std::array<LargeBuffer, 6> scratch_;
  std::map<Key, const Kernel*> kernels_;
};

}  // namespace stepless
