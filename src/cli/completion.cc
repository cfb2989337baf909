// stepless completion: scripts for bash, zsh and fish, made from the tree of flags.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>

#include "cli/cli.hpp"
#include "cli/describe.hpp"

namespace stepless::cli {
namespace {

bool names_a_model(const FlagText& flag) { return flag.value == "MODEL"; }

std::vector<std::string> all_names(const FlagText& flag) {
  std::vector<std::string> names = flag.names;
  names.insert(names.end(), flag.aliases.begin(), flag.aliases.end());
  return names;
}

std::string words_of(const std::vector<CommandText>& commands) {
  std::string words;
  for (const CommandText& command : commands) words += command.name + " ";
  return words + "--help --version";
}

// --- bash: COMP_WORDS is cut at =, so that --flag=value arrives as three words ---

std::string bash_command(const CommandText& command) {
  std::string cases, switches;
  for (const FlagText& flag : command.flags) {
    if (!flag.positional) switches += flag.long_name() + " ";
    const std::string pattern = fmt::format("{}", fmt::join(all_names(flag), "|"));
    if (flag.positional) continue;
    if (names_a_model(flag))
      cases += fmt::format(
          "        {}) COMPREPLY=($(compgen -W \"demo $(stepless models --quiet 2>/dev/null)\" -- "
          "\"$cur\") $(compgen -d -- \"$cur\")); return ;;\n",
          pattern);
    else if (!flag.choices.empty())
      cases += fmt::format("        {}) COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")); return ;;\n",
                           pattern, fmt::join(flag.choices, " "));
    else if (!flag.value.empty())
      cases += fmt::format("        {}) return ;;\n", pattern);
  }
  std::string words = switches;
  for (const FlagText& flag : command.flags)
    if (flag.positional) words += fmt::format("{} ", fmt::join(flag.choices, " "));
  return fmt::format(
      "    {})\n      case $prev in\n{}      esac\n"
      "      COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")) ;;\n",
      command.name, cases, words.substr(0, words.size() - 1));
}

std::string bash_script() {
  const std::vector<CommandText> commands = describe_commands();
  std::string cases;
  for (const CommandText& command : commands) cases += bash_command(command);
  return "# Completion of stepless for bash; made by: stepless completion bash\n"
         "_stepless() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  COMPREPLY=()\n"
         "  if [[ $cur == \"=\" ]]; then cur=\n"
         "  elif [[ $prev == \"=\" ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
         "  if ((COMP_CWORD == 1)); then\n"
         "    COMPREPLY=($(compgen -W \"" +
         words_of(commands) +
         "\" -- \"$cur\")); return\n"
         "  fi\n"
         "  case ${COMP_WORDS[1]} in\n" +
         cases +
         "  esac\n"
         "}\n"
         "complete -o default -F _stepless stepless\n";
}

// --- zsh: _arguments; the text of a flag stands in [] and its value after a colon ---

std::string zsh_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_flag(const FlagText& flag) {
  std::string value;
  if (flag.positional || !flag.value.empty()) {
    value = ":" + zsh_escaped(flag.positional ? flag.names[0] : flag.value) + ":";
    if (names_a_model(flag))
      value += "_stepless_model";
    else if (!flag.choices.empty())
      value += fmt::format("({})", fmt::join(flag.choices, " "));
    else
      value += "_files";
  }
  if (flag.positional) return (flag.repeatable ? "      '*" : "      '1") + value + "' \\\n";
  std::string lines;
  for (const std::string& name : all_names(flag)) {
    const bool joined = !flag.value.empty() && name.starts_with("--");
    lines += fmt::format("      '{}{}{}[{}]{}' \\\n", flag.repeatable ? "*" : "", name,
                         joined ? "=" : "", zsh_escaped(flag.text), value);
  }
  return lines;
}

std::string zsh_script() {
  std::string names, cases;
  for (const CommandText& command : describe_commands()) {
    names += fmt::format("    '{}:{}'\n", command.name, zsh_escaped(command.summary));
    cases += fmt::format("    {}) _arguments -S \\\n", command.name);
    for (const FlagText& flag : command.flags) cases += zsh_flag(flag);
    cases.erase(cases.size() - 3);
    cases += " ;;\n";
  }
  return "#compdef stepless\n"
         "# Completion of stepless for zsh; made by: stepless completion zsh\n"
         "_stepless_model() {\n"
         "  local -a found=(demo ${(f)\"$(stepless models --quiet 2>/dev/null)\"})\n"
         "  compadd -a found\n"
         "  _files -/\n"
         "}\n"
         "_stepless() {\n"
         "  local -a commands=(\n" +
         names +
         "  )\n"
         "  if ((CURRENT == 2)); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words\n"
         "  ((CURRENT--))\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "}\n"
         "if [[ $funcstack[1] == _stepless ]]; then\n"
         "  _stepless \"$@\"\n"
         "else\n"
         "  compdef _stepless stepless\n"
         "fi\n";
}

// --- fish: one line per flag and command ---

std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_flag(const std::string& command, const FlagText& flag) {
  std::string line = "complete -c stepless -n '__fish_seen_subcommand_from " + command + "'";
  for (const std::string& name : flag.names) {
    if (flag.positional) break;
    if (name.starts_with("--"))
      line += " -l " + name.substr(2);
    else
      line += " -s " + name.substr(1);
  }
  for (const std::string& alias : flag.aliases)
    line += alias.starts_with("--") ? " -l " + alias.substr(2) : " -o " + alias.substr(1);
  if (names_a_model(flag))
    line += " -r -a 'demo (stepless models --quiet 2>/dev/null) (__fish_complete_directories)'";
  else if (!flag.choices.empty())
    line += fmt::format(" {} '{}'", flag.positional ? "-a" : "-x -a", fmt::join(flag.choices, " "));
  else if (!flag.value.empty())
    line += " -r -F";
  return line + " -d " + fish_quoted(flag.text) + "\n";
}

std::string fish_script() {
  std::string out =
      "# Completion of stepless for fish; made by: stepless completion fish\n"
      "complete -c stepless -f\n"
      "complete -c stepless -n __fish_use_subcommand -l help -s h -d 'print the help'\n"
      "complete -c stepless -n __fish_use_subcommand -l version -d 'print the version'\n";
  for (const CommandText& command : describe_commands()) {
    out += fmt::format("complete -c stepless -n __fish_use_subcommand -a {} -d {}\n", command.name,
                       fish_quoted(command.summary));
    for (const FlagText& flag : command.flags) out += fish_flag(command.name, flag);
  }
  return out;
}

}  // namespace

std::string completion_script(const std::string& shell) {
  if (shell == "bash") return bash_script();
  return shell == "zsh" ? zsh_script() : fish_script();
}

Run attach_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("shell", *shell, "the shell: bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->group("What to print");
  return [shell] {
    std::cout << completion_script(*shell);
    return Exit::done;
  };
}

}  // namespace stepless::cli
