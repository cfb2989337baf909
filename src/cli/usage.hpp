// What is wrong with a command line, in the words of this program instead of the parser's.
#pragma once
#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace stepless::cli {

/// `thing: what is wrong; what would be right`. `command` may be null.
std::string usage_message(const CLI::ParseError& error, const CLI::App* command,
                          const std::vector<std::string>& arguments);

/// The variable or config line (see settings_arguments) of the flag an error speaks of, with ": "
/// behind it; "" when the flag was on the command line.
std::string blamed_source(const CLI::ParseError& error,
                          const std::map<std::string, std::string>& sources);

/// CLI11's help with the spellings that the pre-pass knows in brackets, and without its notes on
/// types: --prefill-step-size [-ub] N=512.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_name(const CLI::Option* option, bool positional) const override;
};

}  // namespace stepless::cli
