// The program: finds the command, layers its settings, runs it, and turns errors into messages and
// exit codes.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <map>

#include "base/error.hpp"
#include "cli/cli.hpp"
#include "cli/config_file.hpp"
#include "cli/log.hpp"
#include "cli/settings.hpp"
#include "cli/terminal.hpp"
#include "cli/tree.hpp"
#include "cli/usage.hpp"
#include "cli/version.hpp"

namespace stepless::cli {

Exit exit_of(const Error& error) {
  if (const auto* known = dynamic_cast<const ExitError*>(&error)) return known->exit();
  switch (error.code()) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported:
      return Exit::usage;
    case ErrorCode::not_found:
    case ErrorCode::corrupt:
      return Exit::model;
    case ErrorCode::exhausted:
      return Exit::memory;
    case ErrorCode::device:
    case ErrorCode::cancelled:
    case ErrorCode::internal:
      return Exit::failed;
  }
  return Exit::failed;
}

void rethrow_for_model(const Error& error) {
  const Exit exit = error.code() == ErrorCode::unsupported ? Exit::model : exit_of(error);
  throw ExitError(exit, error.code(), error.what());
}

namespace {

std::string error_word(const std::vector<std::string>& arguments) {
  return use_color(arguments) ? "\033[1;31merror:\033[0m " : "error: ";
}

Exit told_error(const std::vector<std::string>& arguments, const std::string& words, Exit exit) {
  std::cerr << error_word(arguments) << as_typed(words) << "\n";
  log_told(LogDepth::error, words);
  return exit;
}

void parse(CLI::App& root, std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  root.parse(arguments);
}

Exit run_command(const std::vector<std::string>& arguments) {
  const auto first = make_tree();
  parse(first->root, arguments);
  const std::vector<CLI::App*> chosen = first->root.get_subcommands();
  if (chosen.empty()) {
    std::cout << first->root.help();
    return Exit::done;
  }
  const std::string name = chosen[0]->get_name();
  const ConfigFile config =
      read_config(first->config.empty() ? default_config_path() : first->config, name, first->root);
  if (const auto color = config.values.find("color"); color != config.values.end())
    set_color(color->second.back());  // errors are coloured where no flags are at hand
  std::map<std::string, std::string> sources;
  std::vector<std::string> all = arguments;
  for (std::string& more : settings_arguments(*chosen[0], config, sources))
    all.push_back(std::move(more));
  const auto second = make_tree();
  try {
    parse(second->root, all);
  } catch (const CLI::CallForHelp&) {
    throw;
  } catch (const CLI::ParseError& error) {
    const std::string source = blamed_source(error, sources);
    if (source.empty()) throw;
    throw ExitError(Exit::usage, ErrorCode::invalid_argument,
                    source + usage_message(error, find_command(second->root, name), all));
  }
  note_sources(*second->root.get_subcommand(name), sources);
  if (second->print_config) {
    std::cout << print_config(*find_command(second->root, name), sources);
    return Exit::done;
  }
  start_log(*find_command(second->root, name));
  log_line(LogDepth::info, fmt::format("start {} {}", name, program_version()));
  for (const auto& [flag, source] : sources)
    log_line(LogDepth::debug, fmt::format("set --{} by {}", flag, source));
  return second->runs.at(name)();
}

/// The command that the arguments name, for help and hints; null when they name none.
const CLI::App* named_command(const Tree& tree, const std::vector<std::string>& arguments) {
  return arguments.empty() ? nullptr : find_command(tree.root, arguments[0]);
}

Exit told_usage(const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  const auto tree = make_tree();
  const CLI::App* command = named_command(*tree, arguments);
  std::cerr << error_word(arguments) << as_typed(usage_message(error, command, arguments)) << "\n"
            << "hint: stepless" << (command != nullptr ? " " + command->get_name() : "")
            << " --help\n";
  return Exit::usage;
}

Exit run(std::vector<std::string> arguments) {
  try {
    arguments = rewrite_arguments(std::move(arguments));
    if (!arguments.empty() && (arguments[0] == "--version" || arguments[0] == "-V")) {
      const bool json = arguments.size() > 1 && arguments[1] == "--json";
      if (const std::size_t known = json ? 2 : 1; arguments.size() > known)
        usage_error(arguments[known] + ": not expected; --version takes --json only");
      std::cout << (json ? version_json().dump(2) : version_text()) << "\n";
      return Exit::done;
    }
    if (!arguments.empty())
      if (const auto why = why_no_command(arguments[0])) {
        std::cerr << error_word(arguments) << *why << "\n";
        return Exit::usage;
      }
    return run_command(arguments);
  } catch (const CLI::CallForHelp&) {
    const auto tree = make_tree();
    const CLI::App* command = named_command(*tree, arguments);
    std::cout << (command != nullptr ? command->help("stepless") : tree->root.help());
    return Exit::done;
  } catch (const CLI::ParseError& error) {
    return told_usage(error, arguments);
  } catch (const Error& error) {
    return told_error(arguments, error.what(), exit_of(error));
  } catch (const std::bad_alloc&) {
    return told_error(arguments, "memory: none left", Exit::memory);
  } catch (const std::exception& error) {
    return told_error(arguments, error.what(), Exit::failed);
  }
}

/// Whether the reader of our pipe has closed it: it has what it wanted, as `head` has.
bool reader_left() {
  pollfd out{STDOUT_FILENO, 0, 0};
  return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/// Output that is lost is no success, whichever command printed it.
Exit flushed(const std::vector<std::string>& arguments, Exit exit) {
  errno = 0;
  std::cout.flush();
  const int why = errno;  // 0 when an earlier write failed: the stream does not keep the reason
  if (std::cout || exit != Exit::done || reader_left()) return exit;
  return told_error(arguments,
                    fmt::format("stdout: {}; output is missing",
                                why == 0 ? "cannot be written" : std::strerror(why)),
                    Exit::failed);
}

}  // namespace
}  // namespace stepless::cli

int main(int count, char** words) {
  const std::vector<std::string> arguments(words + 1, words + count);
  const stepless::cli::Exit ended = stepless::cli::run(arguments);
  const int exit = static_cast<int>(stepless::cli::flushed(arguments, ended));
  stepless::cli::log_line(stepless::cli::LogDepth::info, fmt::format("end exit={}", exit));
  return exit;
}
