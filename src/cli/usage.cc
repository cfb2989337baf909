#include "cli/usage.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstdlib>

#include "base/quote.hpp"
#include "cli/describe.hpp"
#include "cli/settings.hpp"

namespace stepless::cli {
namespace {

/// CLI11 lists what it could not place after a colon, in no useful order; the one to speak of is
/// the first flag of them, else the first word.
std::string first_extra(const std::string& what, const std::vector<std::string>& arguments) {
  const std::size_t colon = what.find(": ");
  const std::string rest = colon == std::string::npos ? "" : what.substr(colon + 2);
  const auto extra = [&](const std::string& word) {
    return !word.empty() && (" " + rest + " ").find(" " + word + " ") != std::string::npos;
  };
  for (const std::string& word : arguments)
    if (word.starts_with("-") && extra(word)) return word;
  for (const std::string& word : arguments)
    if (extra(word)) return word;
  return rest;
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

/// "--max-tokens abc: not a whole number", from the option's type.
std::string wrong_type(const CLI::Option& option, const std::string& name,
                       const std::string& value) {
  const std::string type = option.get_type_name();
  const char* right = type.starts_with("INT")       ? "a whole number"
                      : type.starts_with("UINT")    ? "a whole number, 0 or more"
                      : type.starts_with("BOOLEAN") ? "true or false"
                                                    : "a number";
  return fmt::format("{} {}: not {}", name, value, right);
}

const CLI::Option* option_named(const CLI::App* command, const std::string& name) {
  return command == nullptr ? nullptr : command->get_option_no_throw(name);
}

/// "Could not convert: --max-tokens = abc"
std::string conversion_message(const std::string& what, const CLI::App* command) {
  const std::size_t colon = what.find(": "), equals = what.find(" = ");
  if (colon == std::string::npos || equals == std::string::npos) return what;
  const std::string name = what.substr(colon + 2, equals - colon - 2);
  const CLI::Option* option = option_named(command, name);
  return option == nullptr ? what : wrong_type(*option, name, what.substr(equals + 3));
}

/// "--max-tokens: Value -1 not in range 0.000000 to 179769...": CLI11 checks the range before the
/// type, and prints the largest double where there is no upper end.
std::string range_message(const std::string& what, const CLI::App* command) {
  const std::string before = ": Value ", between = " not in range ", to = " to ";
  const std::size_t value_at = what.find(before), range_at = what.find(between);
  if (value_at == std::string::npos || range_at == std::string::npos) return what;
  const std::string name = what.substr(0, value_at);
  const std::string value =
      what.substr(value_at + before.size(), range_at - value_at - before.size());
  const CLI::Option* option = option_named(command, name);
  if (option == nullptr) return what;
  char* end = nullptr;
  std::strtod(value.c_str(), &end);
  if (value.empty() || *end != '\0') return wrong_type(*option, name, value);
  const std::string range = what.substr(range_at + between.size());
  const double least = std::strtod(range.c_str(), nullptr);
  const std::size_t most_at = range.find(to);
  const double most = most_at == std::string::npos
                          ? HUGE_VAL
                          : std::strtod(range.c_str() + most_at + to.size(), nullptr);
  if (most > 1e300) return fmt::format("{} {}: not {:.15g} or more", name, value, least);
  return fmt::format("{} {}: not from {:.15g} to {:.15g}", name, value, least, most);
}

/// A check of values.hpp says all of it; CLI11 has put "--flag: " before.
std::string own_words(const std::string& what) {
  const std::size_t colon = what.find(": ");
  if (colon == std::string::npos) return what;
  return what.compare(colon + 2, colon, what, 0, colon) == 0 ? what.substr(colon + 2) : what;
}

/// "--ctk: q5_0 not in {f16,q8_0,q4_0}"
std::string choice_message(const std::string& what) {
  const std::size_t colon = what.find(": "), between = what.find(" not in {");
  if (colon == std::string::npos || between == std::string::npos || between < colon) return what;
  std::string choices = what.substr(between + 9, what.rfind('}') - between - 9);
  for (std::size_t at = choices.find(','); at != std::string::npos; at = choices.find(',', at + 2))
    choices.insert(at + 1, " ");
  return fmt::format("{} {}: not one of {}", what.substr(0, colon),
                     what.substr(colon + 2, between - colon - 2), choices);
}

}  // namespace

std::string usage_message(const CLI::ParseError& error, const CLI::App* command,
                          const std::vector<std::string>& arguments) {
  const std::string what = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    return extra_message(first_extra(what, arguments), command);
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr)
    return conversion_message(what, command);
  if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr)
    return what.find(" not in {") != std::string::npos ? choice_message(what)
                                                       : range_message(own_words(what), command);
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
