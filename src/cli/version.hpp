// --version, as text and JSON.
#pragma once
#include <string>

#include "base/json.hpp"

namespace stepless::cli {

/// "0.1.0"
std::string program_version();
std::string version_text();
OrderedJson version_json();

}  // namespace stepless::cli
