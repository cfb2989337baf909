// Where a flag's value comes from: command line > STEPLESS_<FLAG> > config file > default.
#pragma once
#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "cli/config_file.hpp"

namespace stepless::cli {

/// The source of what was typed; others are a variable's name or file:line.
constexpr const char* kCommandLine = "command line";

/// Arguments to append to a command line so that flags it does not give take their value from the
/// environment or the config file. `sources` learns where each came from. A setting that excludes a
/// flag which is given yields to it.
std::vector<std::string> settings_arguments(const CLI::App& command, const ConfigFile& config,
                                            std::map<std::string, std::string>& sources);

/// Notes at each option which variable or config line its value came from, for is_typed().
void note_sources(CLI::App& command, const std::map<std::string, std::string>& sources);
/// True when the flag stood on the command line.
bool is_typed(const CLI::Option& option);
/// Throws Error (usage) for the first of these flags that was typed, with `why` behind its name: it
/// would be ignored. Settings pass, since a variable or config file serves many commands.
void refuse_typed(const CLI::App& command, std::initializer_list<const char*> flags,
                  const std::string& why);

/// A line per flag: name, value, source. Keys are masked.
std::string print_config(const CLI::App& command,
                         const std::map<std::string, std::string>& sources);

/// Long names that llama.cpp and vLLM write with one dash, which CLI11 cannot take: -ub ->
/// --prefill-step-size.
std::vector<std::string> rewrite_arguments(std::vector<std::string> arguments);
/// A message that names --ctk, which nobody types, as one of -ctk.
std::string as_typed(std::string message);
/// The spellings of a long flag that rewrite_arguments knows, e.g. -ub.
std::vector<std::string> aliases_of(const std::string& flag);

/// The name that a misspelt one is nearest to, or "" when none is near.
std::string nearest_name(const std::vector<std::string>& names, const std::string& wrong);

/// The nearest long flag to a misspelt one, or "".
std::string nearest_flag(const CLI::App& command, const std::string& wrong);

}  // namespace stepless::cli
