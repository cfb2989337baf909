// What the commands share: exit codes, the context they run in, and the list of commands.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "stepless/error.hpp"

namespace stepless::cli {

enum class Exit : int {
  done = 0,
  failed = 1,
  usage = 2,
  model = 3,
  memory = 4,
  not_comparable = 5,
  check = 6,
  interrupted = 130,
  terminated = 143
};

/// An error that knows its exit code; others are mapped by code (exit_of).
class ExitError : public Error {
 public:
  ExitError(Exit exit, ErrorCode code, const std::string& message)
      : Error(code, message), exit_(exit) {}
  Exit exit() const { return exit_; }

 private:
  Exit exit_;
};
/// A flag or file that the user should have given otherwise: exit 2.
[[noreturn]] void usage_error(const std::string& message);
Exit exit_of(const Error& error);
/// exit_of for errors while a model is opened: what is wrong with its files is Exit::model.
[[noreturn]] void rethrow_for_model(const Error& error);

/// One command: its flags live in a struct that `attach` binds to a subcommand; it returns what
/// runs it.
using Run = std::function<Exit()>;
struct Command {
  const char* name;
  const char* summary;
  const char* examples;  // three lines that run on the demo model
  Run (*attach)(CLI::App& app);
};
const std::vector<Command>& commands();

Run attach_generate(CLI::App& app);
Run attach_cache_prompt(CLI::App& app);
Run attach_chat(CLI::App& app);
Run attach_info(CLI::App& app);
Run attach_models(CLI::App& app);
Run attach_completion(CLI::App& app);
Run attach_man(CLI::App& app);
Run attach_explain(CLI::App& app);
Run attach_convert(CLI::App& app);
Run attach_dequantize(CLI::App& app);
Run attach_selftest(CLI::App& app);
Run attach_perplexity(CLI::App& app);

/// The subcommand of this name; null when there is none.
const CLI::App* find_command(const CLI::App& root, const std::string& name);

/// `--flag` is known and refused, with the reason and what to do instead (exit 2).
void refuse(CLI::App& app, const std::string& names, const std::string& hint);

}  // namespace stepless::cli
