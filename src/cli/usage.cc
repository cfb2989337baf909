#include "cli/usage.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/quote.hpp"
#include "cli/describe.hpp"
#include "cli/settings.hpp"

namespace stepless::cli {
namespace {

/// CLI11 lists what it could not place after a colon; the first of these is the one to speak of.
std::string first_extra(const std::string& what, const std::vector<std::string>& arguments) {
  const std::size_t colon = what.find(": ");
  const std::string rest = colon == std::string::npos ? "" : what.substr(colon + 2);
  std::string best = rest.substr(0, rest.find(' '));
  for (const std::string& word : arguments)
    if (rest.starts_with(word) && word.size() > best.size()) best = word;
  return best;
}

std::string extra_message(const std::string& word, const CLI::App* command) {
  if (!word.starts_with("-"))
    return fmt::format("{}: not expected{}", in_quotes(word),
                       command == nullptr ? "" : "; " + command->get_name() + " takes flags");
  const std::string flag = word.substr(0, word.find('='));
  const std::string near = command == nullptr ? "" : nearest_flag(*command, flag);
  if (near.empty()) return flag + ": not known";
  return fmt::format("{}: not known; did you mean {}?", flag, near);
}

/// "Could not convert: --max-tokens = abc"
std::string conversion_message(const std::string& what, const CLI::App* command) {
  const std::size_t colon = what.find(": "), equals = what.find(" = ");
  if (colon == std::string::npos || equals == std::string::npos || command == nullptr) return what;
  const std::string name = what.substr(colon + 2, equals - colon - 2);
  const CLI::Option* option = command->get_option_no_throw(name);
  if (option == nullptr) return what;
  const std::string type = option->get_type_name();
  const char* right = type.starts_with("INT")       ? "a whole number"
                      : type.starts_with("UINT")    ? "a whole number, 0 or more"
                      : type.starts_with("BOOLEAN") ? "true or false"
                                                    : "a number";
  return fmt::format("{} {}: not {}", name, what.substr(equals + 3), right);
}

}  // namespace

std::string usage_message(const CLI::ParseError& error, const CLI::App* command,
                          const std::vector<std::string>& arguments) {
  const std::string what = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    return extra_message(first_extra(what, arguments), command);
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr)
    return conversion_message(what, command);
  if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr)
    if (const std::size_t at = what.find(" excludes "); at != std::string::npos)
      return what.substr(0, at) + " and " + what.substr(at + 10) + ": give one of them";
  return what;
}

std::string blamed_source(const CLI::ParseError& error,
                          const std::map<std::string, std::string>& sources) {
  const std::string what = std::string(error.what()) + " ";
  for (const auto& [name, source] : sources) {
    const std::size_t at = what.find("--" + name);
    if (source == kCommandLine || at == std::string::npos) continue;
    const char next = what[at + 2 + name.size()];
    if (next == ' ' || next == ':' || next == '=') return source + ": ";
  }
  return "";
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  std::string text = value_name(*option);
  if (!text.empty()) text.insert(0, " ");
  if (!option->get_default_str().empty()) text += "=" + option->get_default_str();
  return text;
}

std::string HelpFormatter::make_option_name(const CLI::Option* option, bool positional) const {
  std::string text = CLI::Formatter::make_option_name(option, positional);
  std::vector<std::string> aliases;
  for (const std::string& name : option->get_lnames())
    for (const std::string& alias : aliases_of("--" + name)) aliases.push_back(alias);
  if (!aliases.empty()) text += fmt::format(" [{}]", fmt::join(aliases, ", "));
  return text;
}

}  // namespace stepless::cli
