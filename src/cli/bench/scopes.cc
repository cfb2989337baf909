#include "cli/bench/scopes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/cli.hpp"
#include "cli/settings.hpp"

namespace stepless::cli {

void Scopes::add(CLI::Option* option, std::vector<std::string> parts, const char* group) {
  option->group(group);
  all_.push_back({option, std::move(parts)});
}

void Scopes::check(const std::string& part) const {
  const auto shown = [](const std::string& name) {
    return name.empty() ? std::string("bench of a model") : "bench " + name;
  };
  for (const Scoped& flag : all_) {
    if (!is_typed(*flag.option) || std::ranges::find(flag.parts, part) != flag.parts.end())
      continue;
    std::vector<std::string> owners;
    for (const std::string& owner : flag.parts) owners.push_back(shown(owner));
    usage_error(fmt::format("--{}: no flag of {}; it belongs to {}", flag.option->get_lnames()[0],
                            shown(part), fmt::join(owners, ", ")));
  }
}

}  // namespace stepless::cli
