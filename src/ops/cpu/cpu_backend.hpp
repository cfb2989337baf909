// The CPU backend: a team of threads walks the Program together, a barrier after each operation.
#pragma once
#include <memory>

#include "base/thread_team.hpp"
#include "ops/backend.hpp"

namespace stepless {

/// `threads`: size of the team, at least 1. Throws Error (invalid_argument).
std::unique_ptr<Backend> make_cpu_backend(int threads);
/// Backends that take turns may share a team: two would wait for each other's threads to sleep.
std::unique_ptr<Backend> make_cpu_backend(std::shared_ptr<ThreadTeam> team);

}  // namespace stepless
