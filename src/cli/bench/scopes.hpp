// Which part of bench each flag is for: what a part would not look at is refused. The part "" is
// the table of a model.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace stepless::cli {

class Scopes {
 public:
  void add(CLI::Option* option, std::vector<std::string> parts, const char* group);
  /// A flag typed for a part that has no use for it is an error; one that the environment or the
  /// config file sets is for the parts that have. Throws Error (usage).
  void check(const std::string& part) const;

 private:
  struct Scoped {
    CLI::Option* option;
    std::vector<std::string> parts;
  };
  std::vector<Scoped> all_;
};

}  // namespace stepless::cli
