#include "cli/describe.hpp"

#include <algorithm>
#include <map>
#include <sstream>

#include "cli/settings.hpp"

namespace stepless::cli {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::vector<std::string> choices_of(const CLI::Option& option) {
  if (option.get_expected_max() == 0) return {};
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.find('}');
  if (type.starts_with("BOOLEAN")) return {"true", "false"};
  if (open == std::string::npos || close == std::string::npos) return {};
  return split(type.substr(open + 1, close - open - 1), ',');
}

FlagText describe(const CLI::Option& option) {
  FlagText flag;
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) {
    flag.names.push_back("--" + name);
    for (const std::string& alias : aliases_of("--" + name)) flag.aliases.push_back(alias);
  }
  flag.positional = option.get_positional();
  if (flag.names.empty()) flag.names.push_back(option.get_name());
  // The name of the documents is the first long one: the others are its spellings elsewhere.
  if (!option.get_lnames().empty()) {
    const std::string first = "--" + option.get_lnames()[0];
    flag.names.erase(std::find(flag.names.begin(), flag.names.end(), first));
    flag.names.push_back(first);
  }
  flag.value = value_name(option);
  flag.choices = choices_of(option);
  flag.fallback = option.get_default_str();
  flag.text = option.get_description();
  flag.group = option.get_group();
  flag.repeatable = option.get_items_expected_max() > 1;
  return flag;
}

}  // namespace

/// CLI11 writes the type and then what is checked: INT:INT in [0 - 1024], TEXT:{a,b}.
std::string value_name(const CLI::Option& option) {
  if (option.get_expected_max() == 0 || option.get_positional()) return "";
  const std::string type = split(option.get_type_name() + ":", ':').at(0);
  static const std::map<std::string, std::string> kShort = {
      {"INT", "N"}, {"UINT", "N"}, {"FLOAT", "X"}, {"TEXT", "T"}, {"BOOLEAN", "BOOL"}};
  const auto at = kShort.find(type);
  return at == kShort.end() ? type : at->second;
}

std::vector<CommandText> describe_commands() {
  const auto tree = make_tree();
  std::vector<CommandText> all;
  for (const Command& command : commands()) {
    CommandText text{command.name, command.summary, split(command.examples, '\n'), {}};
    for (const CLI::Option* option : find_command(tree->root, command.name)->get_options())
      if (!option->get_group().empty()) text.flags.push_back(describe(*option));
    all.push_back(std::move(text));
  }
  return all;
}

std::vector<std::string> groups_of(const CommandText& command) {
  std::vector<std::string> groups;
  for (const FlagText& flag : command.flags)
    if (std::find(groups.begin(), groups.end(), flag.group) == groups.end())
      groups.push_back(flag.group);
  return groups;
}

const std::vector<std::pair<int, const char*>>& exit_codes() {
  static const std::vector<std::pair<int, const char*>> kCodes = {
      {0, "done"},
      {1, "failed while running"},
      {2, "a flag, a command or the config file is wrong"},
      {3, "the model is missing or corrupt"},
      {4, "it does not fit in memory"},
      {5, "results are not comparable"},
      {6, "a check failed"},
      {130, "ended by Ctrl-C"},
      {143, "ended by SIGTERM"}};
  return kCodes;
}

}  // namespace stepless::cli
