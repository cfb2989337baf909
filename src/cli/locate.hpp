// Where models are looked for (conventions.md 2.5). No download.
#pragma once
#include <string>

namespace stepless::cli {

/// The folder of a model by path, name or Hugging Face id. Throws Error (not_found) that lists
/// where it looked and how to get it.
std::string locate_model(const std::string& id, const std::string& models_dir);

}  // namespace stepless::cli
