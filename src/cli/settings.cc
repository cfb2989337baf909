#include "cli/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <set>

#include "base/error.hpp"
#include "cli/cli.hpp"

namespace stepless::cli {
namespace {

std::string environment_name(const std::string& flag) {
  std::string name = "STEPLESS_";
  for (const char c : flag)
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t corner = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, corner + (a[i - 1] == b[j - 1] ? 0 : 1)});
      corner = above;
    }
  }
  return row[b.size()];
}

bool is_secret(const std::string& name) { return name.find("key") != std::string::npos; }

std::string value_text(const CLI::Option& option) {
  if (option.count() == 0) {
    if (!option.get_default_str().empty()) return option.get_default_str();
    return option.get_expected_min() == 0 ? "false" : "";
  }
  return fmt::format("{}", CLI::detail::join(option.results(), " "));
}

/// Spellings of llama.cpp and vLLM, and the flag that each is.
const std::map<std::string, std::string>& long_names() {
  static const std::map<std::string, std::string> kLong = {{"-ub", "--prefill-step-size"},
                                                           {"-pg", "--pg"},
                                                           {"-oe", "--output-err"},
                                                           {"-npp", "--npp"},
                                                           {"-ntg", "--ntg"},
                                                           {"-npl", "--npl"},
                                                           {"-pps", "--pps"},
                                                           {"-md", "--draft-model"},
                                                           {"-sys", "--system-prompt"},
                                                           {"-dev", "--device"},
                                                           {"-tp", "--tensor-parallel"},
                                                           {"-ctk", "--ctk"},
                                                           {"-ctv", "--ctv"},
                                                           {"-qa", "--qa"},
                                                           {"-hf", "--hf"},
                                                           {"-fa", "--fa"}};
  return kLong;
}

}  // namespace

std::vector<std::string> settings_arguments(const CLI::App& command, const ConfigFile& config,
                                            std::map<std::string, std::string>& sources) {
  std::vector<std::string> arguments;
  for (const CLI::Option* option : command.get_options()) {
    const std::vector<std::string>& names = option->get_lnames();
    if (names.empty() || names[0] == "help") continue;
    if (option->count() > 0) {
      sources[names[0]] = kCommandLine;
      continue;
    }
    const std::set<CLI::Option*>& excluded = option->get_excludes();
    if (std::any_of(excluded.begin(), excluded.end(),
                    [](const CLI::Option* other) { return other->count() > 0; }))
      continue;
    for (const std::string& name : names) {
      const std::string variable = environment_name(name);
      if (const char* value = std::getenv(variable.c_str()); value != nullptr && *value != '\0') {
        arguments.push_back("--" + name + "=" + value);
        sources[names[0]] = variable;
        break;
      }
    }
    if (sources.count(names[0]) != 0) continue;
    for (const std::string& name : names) {
      const auto at = config.values.find(name);
      if (at == config.values.end()) continue;
      for (const std::string& value : at->second) arguments.push_back("--" + name + "=" + value);
      sources[names[0]] = config.places.at(name);
      break;
    }
  }
  return arguments;
}

// CLI11's own name of an option's variable is free to hold the source: it is never told to read it
// before a parse.
void note_sources(CLI::App& command, const std::map<std::string, std::string>& sources) {
  for (const auto& [name, source] : sources)
    if (source != kCommandLine) command.get_option("--" + name)->envname(source);
}

bool is_typed(const CLI::Option& option) {
  return option.count() > 0 && option.get_envname().empty();
}

void refuse_typed(const CLI::App& command, std::initializer_list<const char*> flags,
                  const std::string& why) {
  for (const char* flag : flags)
    if (is_typed(*command.get_option(flag))) usage_error(std::string(flag) + ": " + why);
}

std::string print_config(const CLI::App& command,
                         const std::map<std::string, std::string>& sources) {
  std::string out;
  for (const CLI::Option* option : command.get_options()) {
    const std::vector<std::string>& names = option->get_lnames();
    if (names.empty() || names[0] == "help" || names[0] == "print-config" ||
        option->get_group().empty())
      continue;
    const auto source = sources.find(names[0]);
    const std::string value =
        is_secret(names[0]) && option->count() > 0 ? "***" : value_text(*option);
    out += fmt::format("{:<28} {:<24} {}\n", names[0], value,
                       source == sources.end() ? "default" : source->second);
  }
  return out;
}

std::vector<std::string> rewrite_arguments(std::vector<std::string> arguments) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "-ngl") {
      const std::string layers = i + 1 < arguments.size() ? " " + arguments[++i] : "";
      if (layers == " 0") {
        out.insert(out.end(), {"--device", "cpu"});
      } else if (layers == " -1" || layers == " 99") {
        out.insert(out.end(), {"--device", "cuda"});
      } else {
        throw ExitError(Exit::usage, ErrorCode::invalid_argument,
                        "-ngl" + layers + ": a model runs on one device; 0 (cpu), 99 or -1 (cuda)");
      }
      continue;
    }
    if (i == 0 && word == "cache_prompt") {  // mlx-lm's name
      out.push_back("cache-prompt");
      continue;
    }
    const auto at = long_names().find(word);
    out.push_back(at == long_names().end() ? word : at->second);
  }
  return out;
}

std::string as_typed(std::string message) {
  for (const auto& [alias, name] : long_names())
    if (name == "-" + alias && message.starts_with(name) &&
        (message.size() == name.size() || message[name.size()] == ':' ||
         message[name.size()] == ' '))
      message.erase(0, 1);
  return message;
}

std::vector<std::string> aliases_of(const std::string& flag) {
  std::vector<std::string> aliases;
  for (const auto& [alias, name] : long_names())
    if (name == flag) aliases.push_back(alias);
  return aliases;
}

std::string nearest_name(const std::vector<std::string>& names, const std::string& wrong) {
  std::string best;
  std::size_t least = 4;  // further away is no typo
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(name, wrong);
    // Nor is a word of three letters with two of them wrong.
    if (distance >= least || distance * 2 > wrong.size()) continue;
    least = distance;
    best = name;
  }
  return best;
}

std::string nearest_flag(const CLI::App& command, const std::string& wrong) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    if (!option->get_group().empty())  // not to one that is refused
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return nearest_name(names, wrong.substr(0, wrong.find('=')));
}

}  // namespace stepless::cli
