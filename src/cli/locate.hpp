// Where models are looked for (conventions.md 2.5). No download.
#pragma once
#include <string>
#include <vector>

namespace stepless::cli {

/// The folder of a model by path, name or Hugging Face id. Throws Error (not_found) that lists
/// where it looked and how to get it.
std::string locate_model(const std::string& id, const std::string& models_dir);

struct FoundModel {
  std::string id;      // what --model takes
  std::string folder;  // where its config.json is
};
/// Every model that can be named without a path, in the order of the search; of two with one id the
/// first, which is the one --model gets.
std::vector<FoundModel> find_models(const std::string& models_dir);

}  // namespace stepless::cli
