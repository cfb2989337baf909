#include "cli/config_file.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.hpp"
#include "cli/cli.hpp"
#include "cli/tree.hpp"

namespace stepless::cli {
namespace {

bool has_flag(const CLI::App& app, const std::string& name) {
  return app.get_option_no_throw("--" + name) != nullptr;
}

bool any_command_has(const CLI::App& root, const std::string& name) {
  for (const CLI::App* command : root.get_subcommands([](const CLI::App*) { return true; }))
    if (has_flag(*command, name)) return true;
  return false;
}

/// One file's keys, as they are filled into what one command reads.
class Reader {
 public:
  Reader(const std::string& path, const std::string& command, const CLI::App& root)
      : path_(path), command_(command), root_(root) {
    config_.path = path;
  }

  ConfigFile read() {
    const toml::table file = parsed();
    // Sections after the top level: theirs stand above it, whatever the order in the file.
    for (const auto& [key, node] : file)
      if (!node.is_table()) take(nullptr, std::string(key.str()), node);
    for (const auto& [key, node] : file)
      if (const toml::table* section = node.as_table())
        take_section(std::string(key.str()), *section);
    return std::move(config_);
  }

 private:
  [[noreturn]] void refuse(const toml::source_region& at, const std::string& why) const {
    usage_error(place(at) + ": " + why);
  }

  std::string place(const toml::source_region& at) const {
    return at.begin.line == 0 ? path_ : fmt::format("{}:{}", path_, at.begin.line);
  }

  toml::table parsed() const {
    try {
      return toml::parse_file(path_);
    } catch (const toml::parse_error& error) {
      refuse(error.source(), "no TOML: " + std::string(error.description()));
    }
  }

  void take_section(const std::string& name, const toml::table& section) {
    const CLI::App* owner = find_command(root_, name);
    if (owner == nullptr) {
      if (is_later_command(name)) return;
      refuse(section.source(), "[" + name + "] is no command");
    }
    for (const auto& [key, node] : section) take(owner, std::string(key.str()), node);
  }

  /// `owner`: the command of the key's section, null at the top level.
  void take(const CLI::App* owner, const std::string& key, const toml::node& node) {
    if (node.is_table()) refuse(node.source(), "sections are not nested");
    if (key == "config" || key == "print-config")
      refuse(node.source(), key + " stands in no file; give --" + key);
    if (owner != nullptr ? !has_flag(*owner, key) : !any_command_has(root_, key))
      refuse(node.source(),
             key + " is no flag" + (owner != nullptr ? " of " + owner->get_name() : ""));
    if (owner != nullptr && owner->get_name() != command_) return;
    config_.values[key] = words(key, node);
    config_.places[key] = place(node.source());
  }

  /// A value as it would be typed; a list gives its flag once for each.
  std::vector<std::string> words(const std::string& key, const toml::node& node) const {
    if (const toml::array* list = node.as_array()) {
      std::vector<std::string> all;
      for (const toml::node& one : *list) all.push_back(word(key, one));
      return all;
    }
    return {word(key, node)};
  }

  std::string word(const std::string& key, const toml::node& node) const {
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* whole = node.as_integer()) return fmt::format("{}", whole->get());
    if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
    if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
    refuse(node.source(), key + ": not a string, a number, true, false or a list of them");
  }

  const std::string& path_;
  const std::string& command_;
  const CLI::App& root_;
  ConfigFile config_;
};

}  // namespace

ConfigFile read_config(const std::string& path, const std::string& command, const CLI::App& root) {
  if (path.empty()) return {};
  if (!std::filesystem::is_regular_file(path)) usage_error("--config " + path + ": cannot be read");
  return Reader(path, command, root).read();
}

std::string default_config_path() {
  const char* named = std::getenv("STEPLESS_CONFIG");
  if (named != nullptr && *named != '\0') return named;
  const char* set = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (set != nullptr && *set != '\0')
    folder = set;
  else if (home != nullptr && *home != '\0')
    folder = std::filesystem::path(home) / ".config";
  else
    return "";
  const std::filesystem::path path = folder / "stepless" / "config.toml";
  return std::filesystem::is_regular_file(path) ? path.string() : "";
}

}  // namespace stepless::cli
