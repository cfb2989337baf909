#include "cli/tree.hpp"

#include <algorithm>

#include "cli/bench/bench.hpp"
#include "cli/settings.hpp"
#include "cli/usage.hpp"

namespace stepless::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> kAll = {
      {"generate", "write text from a prompt, or from a file of prompts as one batch",
       "stepless generate --model demo --prompt \"Once upon a time\" --ignore-chat-template\n"
       "stepless generate --model demo --prompt \"Tell me a tale.\" --temp 0.7 --seed 7\n"
       "stepless generate --model demo --prompt \"A fox\" --max-tokens 20 --json\n",
       attach_generate},
      {"chat", "talk with a model; it remembers the conversation",
       "stepless chat --model demo\n"
       "stepless chat --model demo --system-prompt \"You tell tales.\" --temp 0.7\n"
       "stepless chat --model demo --prompt \"Tell me a tale.\" --max-tokens 60\n",
       attach_chat},
      {"cache-prompt", "compute a prompt once, into a file that generate continues",
       "stepless cache-prompt --model demo --prompt \"Once upon a time\" --prompt-cache-file "
       "c.safetensors\n"
       "stepless generate --model demo --prompt-cache-file c.safetensors --prompt \"And then?\"\n"
       "stepless cache-prompt --model demo --prompt-file tales.txt --prompt-cache-file "
       "c.safetensors\n",
       attach_cache_prompt},
      {"info", "what this build and machine have, or what a model is",
       "stepless info\n"
       "stepless info --model demo\n"
       "stepless info --model demo --json\n",
       attach_info},
      {"models", "what --model can be given by name on this machine",
       "stepless models\n"
       "stepless models --json\n"
       "stepless models --quiet\n",
       attach_models},
      {"explain", "which kernels run, what they should cost, and why",
       "stepless explain --n 4096 --k 4096 --m 1,4\n"
       "stepless explain --model demo --batch 8 --context 512\n"
       "stepless explain --n 13824 --k 5120 --m 8 --machine server_avx512bf16\n",
       attach_explain},
      {"bench", "measure a model, products, and what this machine can do at best",
       "stepless bench -m demo -p 64 -n 16 -r 3\n"
       "stepless bench qmm --quick\n"
       "stepless bench ceilings --quick --save-machine machine.json\n",
       attach_bench},
      {"batch-bench", "measure prompts and answers of many sequences at once",
       "stepless batch-bench -m demo -npp 32 -ntg 16 -npl 1,2,4\n"
       "stepless batch-bench -m demo -npp 64 -ntg 8 -npl 4 -pps --json\n"
       "stepless batch-bench -m demo --staggered --num-seqs 8 -npl 2,4\n",
       attach_batch_bench},
      {"benchmark", "mlx_lm.benchmark: trials of one prompt length, and their averages",
       "stepless benchmark --model demo -p 64 -g 16 -n 2\n"
       "stepless benchmark --model demo -p 32 -g 8 -b 4 -n 2\n"
       "stepless benchmark --model demo -p 64 -g 16 -n 2 --json\n",
       attach_benchmark},
      {"completion", "print a completion script for bash, zsh or fish",
       "stepless completion bash\n"
       "stepless completion zsh\n"
       "stepless completion fish\n",
       attach_completion},
      {"man", "print a manual page",
       "stepless man\n"
       "stepless man generate\n"
       "stepless man --markdown\n",
       attach_man},
      {"perplexity", "how well a model predicts a text, and how far it is from another model",
       "stepless perplexity --model demo --data-path tales.txt --sequence-length 64\n"
       "stepless perplexity --model demo --data-path tales.txt --sequence-length 64 --json\n"
       "stepless perplexity --model demo --kl-with tale-4bit --data-path tales.txt "
       "--sequence-length 64\n",
       attach_perplexity},
      {"convert", "make a checkpoint in MLX's format, quantized or not",
       "stepless convert --hf-path demo --mlx-path demo-float -d\n"
       "stepless convert --hf-path demo-float --mlx-path demo-8bit -q --q-bits 8\n"
       "stepless convert --hf-path demo-float --mlx-path demo-mixed -q --quant-predicate "
       "mixed_3_6\n",
       attach_convert},
      {"dequantize", "turn a quantized checkpoint into floats",
       "stepless dequantize --model demo --mlx-path demo-float\n"
       "stepless dequantize --model demo --mlx-path demo-f16 --dtype float16\n"
       "stepless dequantize --model demo --mlx-path demo-float --dtype float32 --force\n",
       attach_dequantize},
      {"selftest", "check this build on this machine",
       "stepless selftest\n"
       "stepless selftest --quick\n"
       "stepless selftest --quick --json\n",
       attach_selftest}};
  return kAll;
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

std::string indented(const std::string& lines) {
  std::string out = "Examples:\n  ";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    out += lines[i];
    if (lines[i] == '\n' && i + 1 < lines.size()) out += "  ";
  }
  return out;
}

}  // namespace

std::unique_ptr<Tree> make_tree() {
  auto tree = std::make_unique<Tree>();
  tree->root.formatter(std::make_shared<HelpFormatter>());  // subcommands inherit it
  tree->root.require_subcommand(0, 1);
  tree->root.footer(
      "stepless COMMAND --help tells more. Try: stepless generate --model demo --prompt \"Tell me "
      "a tale.\"");
  for (const Command& command : commands()) {
    CLI::App* app = tree->root.add_subcommand(command.name, command.summary);
    app->footer(indented(command.examples));
    app->option_defaults()->take_last();  // a flag given twice: the last one counts
    tree->runs[command.name] = command.attach(*app);
    app->add_option("--config", tree->config, "TOML file of settings")
        ->type_name("FILE")
        ->group("Settings");
    app->add_flag("--print-config", tree->print_config,
                  "print each setting and where it comes from")
        ->group("Settings");
    app->set_help_flag("-h,--help", "print this help")->group("Settings");
  }
  return tree;
}

bool is_later_command(const std::string& name) {
  for (const char* later : {"serve", "server"})
    if (name == later) return true;
  return false;
}

std::optional<std::string> why_no_command(const std::string& name) {
  if (is_later_command(name)) {
    std::string there;
    for (const Command& command : commands())
      there += (there.empty() ? "" : ", ") + std::string(command.name);
    return name + ": not there yet; there are " + there;
  }
  for (const char* never : {"lora", "fuse", "upload", "share", "evaluate", "manage", "dwq", "awq",
                            "gptq", "dynamic_quant", "quant.dwq"})
    if (name == never) return name + ": not part of Stepless; mlx_lm." + name + " does it";
  if (name == "quantize") return name + ": no such command; stepless convert -q does it";
  if (name.empty() || name[0] == '-') return std::nullopt;
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (name == command.name) return std::nullopt;
    names.emplace_back(command.name);
  }
  const std::string near = nearest_name(names, name);
  return name + ": no such command; " +
         (near.empty() ? "stepless --help lists them" : "did you mean " + near + "?");
}

}  // namespace stepless::cli
