// --version, as text and JSON.
#pragma once
#include <string>

#include "base/json.hpp"

namespace stepless::cli {

std::string version_text();
OrderedJson version_json();

}  // namespace stepless::cli
