// The commands and their flags as text: the one source of completions, man pages and docs/cli.md.
// Read from CLI11's tree, so that nothing is declared twice.
#pragma once
#include <string>
#include <vector>

#include "cli/tree.hpp"

namespace stepless::cli {

struct FlagText {
  std::vector<std::string> names;    // as typed; the last one is its name in texts
  std::vector<std::string> aliases;  // of one dash and several letters: -ub
  std::string value;                 // what follows, e.g. N; "" for a switch or a positional
  std::vector<std::string> choices;  // all values there are, when they are few
  std::string fallback;              // the default; "" when there is none
  std::string text, group;
  bool repeatable = false, positional = false;

  const std::string& long_name() const { return names.back(); }
};

struct CommandText {
  std::string name, summary;
  std::vector<std::string> examples;  // a command line each
  std::vector<FlagText> flags;        // in order of declaration; refused ones are left out
};

std::vector<CommandText> describe_commands();

/// What stands for a flag's value in texts: N, X, T, BOOL, FILE, ...; "" for a switch.
std::string value_name(const CLI::Option& option);

/// The names of the groups in the order in which they first occur.
std::vector<std::string> groups_of(const CommandText& command);

/// The pages that describe the program.
std::string completion_script(const std::string& shell);  // bash, zsh or fish
std::string man_page(const std::string& command);         // roff; "" is stepless(1)
std::string reference_page();                             // docs/cli.md

/// What the exit codes mean: number and text.
const std::vector<std::pair<int, const char*>>& exit_codes();

}  // namespace stepless::cli
