// The tree of commands and flags: what is parsed, and what help, completions, man pages and
// docs/cli.md are made from.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cli/cli.hpp"

namespace stepless::cli {

/// The commands with what their flags are bound to. Parsed once to see which flags are given, and a
/// fresh one once more with all settings.
struct Tree {
  CLI::App root{
      "Runs quantized language models (MLX checkpoints) on CPUs, exactly, at the speed memory "
      "allows.",
      "stepless"};
  std::map<std::string, Run> runs;
  bool print_config = false;
  std::string config;
};
std::unique_ptr<Tree> make_tree();

/// Whether the name is of a command of conventions that is still to come.
bool is_later_command(const std::string& name);

/// A command that is not there: of another name in mlx-lm, still to come, or misspelt. The error
/// says which; nullopt when the name is not a command at all or is one of ours.
std::optional<std::string> why_no_command(const std::string& name);

}  // namespace stepless::cli
