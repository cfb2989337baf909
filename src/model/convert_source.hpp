// The checkpoint that convert reads: opened, refused if it is of another kind, its tensors under
// MLX's names, each asked for by its family with the shape that config.json gives it.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "model/checkpoint.hpp"
#include "model/families.hpp"
#include "model/import.hpp"

namespace stepless {

struct ConvertSource {
  Config config;
  const Family* family = nullptr;
  TensorMap published;                            // as the files name them
  std::map<std::string, ImportedTensor> tensors;  // as MLX does
  std::map<std::string, Matrix> matrices;         // by layer; packed or not, n, k, experts
  std::set<std::string> vectors;                  // further tensors, by full name
  bool packed_by_mlx = false;                     // config.json has a quantization block of MLX's

  const ImportedTensor& tensor(const std::string& name) const { return tensors.at(name); }
  bool has(const std::string& name) const { return tensors.count(name) != 0; }
};

/// Throws Error: not_found, corrupt, unsupported (a format or family that is not converted, with
/// what to do instead).
ConvertSource open_convert_source(const std::string& folder);

}  // namespace stepless
