// The config file: TOML, through its one door, toml++.
#pragma once
#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace stepless::cli {

/// What the config file says for one command: top-level keys, and above them those of its section.
struct ConfigFile {
  std::string path;  // empty: there is none
  std::map<std::string, std::vector<std::string>> values;
  std::map<std::string, std::string> places;  // file:line of each value
};

/// Reads TOML: top-level keys hold for every command that has the flag, [name] for one. `root` has
/// all commands, each with its flags; the section of a command that is not there yet is left alone.
/// Throws Error (exit 2) with file and line for what is no TOML and for a key no command has.
ConfigFile read_config(const std::string& path, const std::string& command, const CLI::App& root);

/// $STEPLESS_CONFIG, else $XDG_CONFIG_HOME/stepless/config.toml or ~/.config/stepless/config.toml
/// when it exists, else "".
std::string default_config_path();

}  // namespace stepless::cli
