// The model families: one file each, one line each in families.inc.
#pragma once
#include <span>
#include <string_view>

#include "model/config.hpp"
#include "model/import.hpp"
#include "ops/builder.hpp"

namespace stepless {

struct Family {
  std::string_view model_type;
  void (*build)(Builder&, const Config&);
  ImportRule import_rule = import_plain;  // from Hugging Face's layout; `convert` asks for it
};

std::span<const Family> families();
/// Throws Error (unsupported) that names the type and lists the known ones.
const Family& find_family(const Config& config);

}  // namespace stepless
