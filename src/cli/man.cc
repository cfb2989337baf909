// stepless man: manual pages in roff, and docs/cli.md, made from the tree of flags.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/error.hpp"
#include "cli/cli.hpp"
#include "cli/describe.hpp"
#include "cli/version.hpp"

namespace stepless::cli {
namespace {

/// The character that begins at `at` as \[uXXXX], whatever the locale; moves `at` to its last byte.
std::string roff_character(const std::string& text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at);
  const std::size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  unsigned code = first & (0x3Fu >> more);
  for (std::size_t i = 0; i < more && at + 1 < text.size(); ++i)
    code = code << 6 | (byte(++at) & 0x3Fu);
  return fmt::format("\\[u{:04X}]", code);
}

/// Text that roff must not read as its own: backslashes, dashes, dots that begin a line, and what
/// is not ASCII.
std::string roff(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (static_cast<unsigned char>(c) >= 0x80)
      out += roff_character(text, at);
    else if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n'))
      out += std::string("\\&") + c;
    else
      out += c;
  }
  return out;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string title(const std::string& name, const std::string& summary) {
  return fmt::format(".TH {} 1 \"\" \"stepless {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n",
                     upper(roff(name)), program_version(), roff(name), roff(summary));
}

/// Its other spellings.
std::vector<std::string> others(const FlagText& flag) {
  std::vector<std::string> names(flag.names.begin(), flag.names.end() - 1);
  names.insert(names.end(), flag.aliases.begin(), flag.aliases.end());
  return names;
}

/// --max-tokens N [-m, -n, --predict]
std::string with_value(const FlagText& flag) {
  std::string text = flag.long_name() + (flag.value.empty() ? "" : " " + flag.value);
  if (!others(flag).empty()) text += fmt::format(" [{}]", fmt::join(others(flag), ", "));
  return text;
}

/// What is said of a flag: its text, its values, its default.
std::string sentence(const FlagText& flag) {
  std::string text = flag.text;
  if (!flag.choices.empty() && flag.value != "BOOL" &&
      text.find(flag.choices[0]) == std::string::npos)
    text += fmt::format("; one of {}", fmt::join(flag.choices, ", "));
  if (!flag.fallback.empty()) text += " (" + flag.fallback + ")";
  return text;
}

std::string synopsis(const CommandText& command) {
  std::string line = "stepless " + command.name;
  for (const FlagText& flag : command.flags)
    if (flag.positional) line += " " + upper(flag.names[0]);
  return line + " [FLAG ...]";
}

std::string roff_flags(const CommandText& command) {
  std::string out;
  for (const std::string& group : groups_of(command)) {
    out += ".SS " + roff(group) + "\n";
    for (const FlagText& flag : command.flags)
      if (flag.group == group)
        out += ".TP\n.B " + roff(with_value(flag)) + "\n" + roff(sentence(flag)) + "\n";
  }
  return out;
}

std::string roff_common() {
  std::string out =
      ".SH ENVIRONMENT\nEach long flag has a variable: STEPLESS_, then its name in capitals, "
      "dashes "
      "as underscores. A flag stands above the variable, that above the config file, that above "
      "the default.\n"
      ".SH FILES\n.TP\n.I $XDG_CONFIG_HOME/stepless/config.toml\nDefaults of flags: top\\-level "
      "keys for all commands, a section like [generate] for one.\n"
      ".TP\n.I $XDG_STATE_HOME/stepless/chat_history\nLines typed into chat, mode 0600.\n"
      ".TP\n.I $XDG_CACHE_HOME/stepless/models, $HF_HUB_CACHE\nWhere models are looked for.\n"
      ".SH EXIT STATUS\n";
  for (const auto& [code, text] : exit_codes())
    out += fmt::format(".TP\n{}\n{}\n", code, roff(text));
  return out;
}

std::string command_page(const CommandText& command) {
  std::string out = title("stepless-" + command.name, command.summary);
  out += ".SH SYNOPSIS\n.B " + roff(synopsis(command)) + "\n.SH OPTIONS\n" + roff_flags(command);
  out += ".SH EXAMPLES\n.nf\n";
  for (const std::string& line : command.examples) out += roff(line) + "\n";
  return out + ".fi\n" + roff_common() + ".SH SEE ALSO\n.BR stepless (1)\n";
}

std::string program_page(const std::vector<CommandText>& commands) {
  std::string out = title("stepless", "run quantized language models exactly");
  out +=
      ".SH SYNOPSIS\n.B stepless COMMAND [FLAG ...]\n.SH DESCRIPTION\nRuns language models in "
      "MLX's "
      "checkpoint format. Results go to stdout, progress and figures to stderr. Nothing is ever "
      "downloaded.\n.SH COMMANDS\n";
  std::string also;
  for (const CommandText& command : commands) {
    out += ".TP\n.B " + roff(command.name) + "\n" + roff(command.summary) + "\n";
    also += fmt::format("{}.BR stepless\\-{} (1)", also.empty() ? "" : ",\n", roff(command.name));
  }
  return out + roff_common() + ".SH SEE ALSO\n" + also + "\n";
}

std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

/// " [`-m`, `-n`]", or nothing.
std::string code_list(const std::vector<std::string>& names) {
  return names.empty() ? "" : fmt::format(" [`{}`]", fmt::join(names, "`, `"));
}

std::string reference_of(const CommandText& command) {
  std::string out = fmt::format("## {}\n\n{}.\n\n```\n", command.name, command.summary);
  for (const std::string& line : command.examples) out += line + "\n";
  out += "```\n";
  for (const std::string& group : groups_of(command)) {
    out += "\n| " + cell(group) + " | default | |\n|---|---|---|\n";
    for (const FlagText& flag : command.flags)
      if (flag.group == group)
        out += fmt::format("| `{}{}`{} | {} | {} |\n", flag.long_name(),
                           flag.value.empty() ? "" : " " + flag.value, code_list(others(flag)),
                           flag.fallback.empty() ? "" : "`" + cell(flag.fallback) + "`",
                           cell(flag.text));
  }
  return out + "\n";
}

void write_pages(const std::string& folder) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& text) {
    const std::filesystem::path path = std::filesystem::path(folder) / (name + ".1");
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    if (!file)
      throw ExitError(Exit::failed, ErrorCode::exhausted, path.string() + ": cannot be written");
  };
  write("stepless", man_page(""));
  for (const Command& command : commands())
    write(std::string("stepless-") + command.name, man_page(command.name));
}

}  // namespace

std::string man_page(const std::string& name) {
  const std::vector<CommandText> commands = describe_commands();
  if (name.empty()) return program_page(commands);
  for (const CommandText& command : commands)
    if (command.name == name) return command_page(command);
  usage_error("man " + name + ": no such command; stepless --help lists them");
}

std::string reference_page() {
  std::string out =
      "# Commands and flags\n\nMade by `stepless man --markdown`, which `make docs` runs; "
      "[commands](commands) has a page with examples per command. Each long flag has a variable "
      "`STEPLESS_<FLAG>`; a flag stands above its variable, that above the config file, that above "
      "the default.\n\n| exit | meaning |\n|---|---|\n";
  for (const auto& [code, text] : exit_codes()) out += fmt::format("| {} | {} |\n", code, text);
  out += "\n";
  for (const CommandText& command : describe_commands()) out += reference_of(command);
  out.pop_back();
  return out;
}

Run attach_man(CLI::App& app) {
  struct ManFlags {
    std::string command, folder;
    bool markdown = false;
  };
  auto flags = std::make_shared<ManFlags>();
  constexpr const char* kGroup = "What to print";
  app.add_option("command", flags->command, "a command; without one: stepless itself")
      ->group(kGroup);
  app.add_option("--dir", flags->folder, "write all pages into this folder instead")
      ->type_name("DIR")
      ->group(kGroup);
  app.add_flag("--markdown", flags->markdown, "all commands and flags as docs/cli.md has them")
      ->group(kGroup);
  return [flags] {
    if (!flags->folder.empty())
      write_pages(flags->folder);
    else
      std::cout << (flags->markdown ? reference_page() : man_page(flags->command));
    return Exit::done;
  };
}

}  // namespace stepless::cli
