// Which device a model runs on, and the backends that run it.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "api/model_state.hpp"
#include "base/thread_team.hpp"
#include "ops/backend.hpp"
#include "ops/gpu.hpp"

namespace stepless {

/// The GPU that options.device asks for; none: the CPU. Throws Error: invalid_argument (no such
/// word), unsupported (no GPU, or one that cannot: with the reason).
std::optional<Gpu> choose_gpu(const ModelOptions& options);

/// A backend for the model's device. `team` runs CPU models; null where none does.
std::unique_ptr<Backend> make_backend(const Model::State& state,
                                      const std::shared_ptr<ThreadTeam>& team);
/// The same with a team of its own.
std::unique_ptr<Backend> make_backend(const Model::State& state);

}  // namespace stepless
