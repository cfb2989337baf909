// What a public Model handle points to.
#pragma once
#include "model/model.hpp"
#include "stepless/model.hpp"

namespace stepless {

struct Model::State {
  std::shared_ptr<const LoadedModel> loaded;
  ModelInfo info;
  int threads = 1;
};

}  // namespace stepless
