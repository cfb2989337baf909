// The program: finds the command, layers its settings, runs it, and turns errors into messages and
// exit codes.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>

#include "base/error.hpp"
#include "cli/cli.hpp"
#include "cli/settings.hpp"
#include "cli/terminal.hpp"
#include "cli/version.hpp"

namespace stepless::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> kAll = {
      {"generate", "write text from a prompt, or from a file of prompts as one batch",
       attach_generate},
      {"cache-prompt", "compute a prompt once, into a file that generate continues",
       attach_cache_prompt},
      {"info", "what this build and machine have, or what a model is", attach_info},
      {"explain", "which kernels run, what they should cost, and why", attach_explain},
      {"perplexity", "how well a model predicts a text, and how far it is from another model",
       attach_perplexity},
      {"convert", "make a checkpoint in MLX's format, quantized or not", attach_convert},
      {"dequantize", "turn a quantized checkpoint into floats", attach_dequantize},
      {"selftest", "check this build on this machine", attach_selftest}};
  return kAll;
}

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

const CLI::App* find_command(const CLI::App& root, const std::string& name) {
  for (const CLI::App* command : root.get_subcommands([](const CLI::App*) { return true; }))
    if (command->get_name() == name) return command;
  return nullptr;
}

void refuse(CLI::App& app, const std::string& names, const std::string& hint) {
  app.add_option_function<std::vector<std::string>>(
         names,
         [names, hint](const std::vector<std::string>&) {
           throw ExitError(Exit::usage, ErrorCode::unsupported, names + ": " + hint);
         },
         hint)
      ->expected(0, 1)
      ->group("");
}

namespace {

/// The tree of commands with what its flags are bound to; parsed once to see which flags are given,
/// and a fresh one once more with all settings.
struct Tree {
  CLI::App root{
      "Runs quantized language models (MLX checkpoints) on CPUs, exactly, at the speed memory "
      "allows.",
      "stepless"};
  std::map<std::string, Run> runs;  // these own the flags
  std::string config;
  bool print_config = false;
};

const char* examples(const std::string& name) {
  if (name == "generate")
    return "Examples:\n"
           "  stepless generate --model demo --prompt \"Once upon a time\" --ignore-chat-template\n"
           "  stepless generate --model demo --prompt \"Tell me a tale.\" --temp 0.7 --seed 7 "
           "--max-tokens 200\n"
           "  stepless generate --model demo --prompts prompts.jsonl --json\n";
  if (name == "cache-prompt")
    return "Examples:\n"
           "  stepless cache-prompt --model demo --prompt-file story.txt --prompt-cache-file "
           "c.safetensors\n"
           "  stepless generate --model demo --prompt-cache-file c.safetensors --prompt \"And "
           "then?\"\n"
           "  stepless cache-prompt --model demo --prompt - --prompt-cache-file c.safetensors < "
           "story.txt\n";
  if (name == "info")
    return "Examples:\n  stepless info\n  stepless info --model demo\n  stepless info --model demo "
           "--json\n";
  if (name == "explain")
    return "Examples:\n"
           "  stepless explain --n 4096 --k 4096 --m 1,4\n"
           "  stepless explain --model demo --batch 8 --context 512\n"
           "  stepless explain --n 13824 --k 5120 --m 8 --machine server_avx512bf16\n";
  if (name == "perplexity")
    return "Examples:\n"
           "  stepless perplexity --model demo --data-path tales.txt\n"
           "  stepless perplexity --model DIR-4bit --kl-with DIR-bf16 --data-path tales.jsonl\n";
  if (name == "convert")
    return "Examples:\n"
           "  stepless convert --hf-path DIR --mlx-path mlx_model -q\n"
           "  stepless convert --hf-path DIR -q --q-bits 8 --q-group-size 32 --dtype float16\n"
           "  stepless convert --hf-path DIR -q --quant-predicate mixed_3_6 --force\n";
  if (name == "dequantize")
    return "Examples:\n"
           "  stepless dequantize --model demo --mlx-path demo-float\n"
           "  stepless dequantize --model demo --mlx-path demo-f32 --dtype float32 --force\n";
  return "Examples:\n  stepless selftest\n  stepless selftest --quick\n  stepless selftest "
         "--golden DIR\n";
}

std::unique_ptr<Tree> make_tree() {
  auto tree = std::make_unique<Tree>();
  tree->root.require_subcommand(0, 1);
  tree->root.footer(
      "stepless COMMAND --help tells more. Try: stepless generate --model demo --prompt \"Tell me "
      "a tale.\"");
  for (const Command& command : commands()) {
    CLI::App* app = tree->root.add_subcommand(command.name, command.summary);
    app->footer(examples(command.name));
    tree->runs[command.name] = command.attach(*app);
    app->add_option("--config", tree->config, "TOML file of settings")->group("Settings");
    app->add_flag("--print-config", tree->print_config,
                  "print each setting and where it comes from")
        ->group("Settings");
  }
  return tree;
}

std::string error_word(const std::vector<std::string>& arguments) {
  return use_color(arguments) ? "\033[1;31merror:\033[0m " : "error: ";
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
  std::map<std::string, std::string> sources;
  std::vector<std::string> all = arguments;
  for (std::string& more : settings_arguments(*chosen[0], config, sources))
    all.push_back(std::move(more));
  const auto second = make_tree();
  parse(second->root, all);
  if (second->print_config) {
    std::cout << print_config(*find_command(second->root, name), sources);
    return Exit::done;
  }
  return second->runs.at(name)();
}

/// The command that the arguments name, for help and hints; null when they name none.
const CLI::App* named_command(const Tree& tree, const std::vector<std::string>& arguments) {
  return arguments.empty() ? nullptr : find_command(tree.root, arguments[0]);
}

/// CLI11's own words, with the nearest flag for a misspelt one.
Exit usage_error(const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  std::cerr << error_word(arguments) << error.what() << "\n";
  const auto tree = make_tree();
  const CLI::App* command = named_command(*tree, arguments);
  if (command != nullptr && dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    for (const std::string& word : arguments)
      if (word.starts_with("--") &&
          command->get_option_no_throw(word.substr(0, word.find('='))) == nullptr)
        if (const std::string near = nearest_flag(*command, word); !near.empty())
          std::cerr << "hint: " << word << " is not known; did you mean " << near << "?\n";
  std::cerr << "hint: stepless" << (command != nullptr ? " " + command->get_name() : "")
            << " --help\n";
  return Exit::usage;
}

/// Names of commands that are still to come, and of mlx-lm's that never will: exit 2 with a hint.
bool refuse_command(const std::string& name, const std::vector<std::string>& arguments) {
  for (const char* later : {"chat", "serve", "server", "bench", "batch-bench", "benchmark",
                            "models", "completion", "man"})
    if (name == later) {
      std::cerr << error_word(arguments) << name
                << ": not there yet; generate, cache-prompt, info, explain, perplexity, convert, "
                   "dequantize and selftest are\n";
      return true;
    }
  for (const char* never : {"lora", "fuse", "upload", "share", "evaluate", "manage", "dwq", "awq",
                            "gptq", "dynamic_quant", "quant.dwq"})
    if (name == never) {
      std::cerr << error_word(arguments) << name << ": not part of Stepless; mlx_lm." << name
                << " does it\n";
      return true;
    }
  return false;
}

Exit run(std::vector<std::string> arguments) {
  try {
    arguments = rewrite_arguments(std::move(arguments));
    if (!arguments.empty() && (arguments[0] == "--version" || arguments[0] == "-V")) {
      const bool json = arguments.size() > 1 && arguments[1] == "--json";
      std::cout << (json ? version_json().dump(2) : version_text()) << "\n";
      return Exit::done;
    }
    if (!arguments.empty() && refuse_command(arguments[0], arguments)) return Exit::usage;
    return run_command(arguments);
  } catch (const CLI::CallForHelp&) {
    const auto tree = make_tree();
    const CLI::App* command = named_command(*tree, arguments);
    std::cout << (command != nullptr ? command : &tree->root)->help();
    return Exit::done;
  } catch (const CLI::ParseError& error) {
    return usage_error(error, arguments);
  } catch (const Error& error) {
    std::cerr << error_word(arguments) << error.what() << "\n";
    return exit_of(error);
  } catch (const std::bad_alloc&) {
    std::cerr << error_word(arguments) << "memory: none left\n";
    return Exit::memory;
  } catch (const std::exception& error) {
    std::cerr << error_word(arguments) << error.what() << "\n";
    return Exit::failed;
  }
}

}  // namespace
}  // namespace stepless::cli

int main(int count, char** words) {
  std::vector<std::string> arguments(words + 1, words + count);
  const auto exit = stepless::cli::run(std::move(arguments));
  std::cout.flush();
  return static_cast<int>(exit);
}
