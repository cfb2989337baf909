// What a public Model handle points to.
#pragma once
#include <functional>
#include <optional>

#include "model/model.hpp"
#include "stepless/model.hpp"

namespace stepless {

struct Model::State {
  std::shared_ptr<const LoadedModel> loaded;
  ModelInfo info;
  int threads = 1;
  std::optional<int> gpu;                                     // the GPU that runs it; none: the CPU
  std::function<void(std::int64_t, std::int64_t)> uploading;  // ModelOptions's
  bool foreign = false;  // planned for a machine by name: to be explained, not run
};

}  // namespace stepless
