#include "cli/bench/result_flags.hpp"

#include <fmt/format.h>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "cli/bench/page.hpp"
#include "cli/bench/plots.hpp"
#include "cli/terminal.hpp"

namespace stepless::cli {
namespace {

const std::vector<std::string> kFormats = {"md", "csv", "json", "jsonl", "sql"};
constexpr const char* kConverter = "rsvg-convert";

/// Where PATH has it; "": nowhere.
std::string find_converter() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + kConverter;
    if (!folder.empty() && access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

/// Without a shell, so that no name is more than a name.
void convert(const std::string& svg, const std::string& png) {
  const std::string program = find_converter();
  std::string words[] = {kConverter, "--format=png", "--output=" + png, svg};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  pid_t child = 0;
  int status = 0;
  const int failed = posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ);
  if (failed != 0 || waitpid(child, &status, 0) != child || status != 0)
    throw ExitError(Exit::failed, ErrorCode::internal,
                    fmt::format("--png {}: {} failed", png, program));
}

void write_pictures(const ResultFlags& flags, const BenchResult& result) {
  if (flags.svg.empty() && flags.html.empty() && flags.png.empty()) return;
  const OrderedJson envelope = envelope_of(result);
  if (!flags.html.empty())
    write_file(flags.html, "--html",
               html_page("stepless bench " + result.bench,
                         {section_of(envelope.at("command").get<std::string>(), envelope)}));
  if (flags.svg.empty() && flags.png.empty()) return;
  const std::string svg = svg_page(plots_of(envelope));
  if (!flags.svg.empty()) write_file(flags.svg, "--svg", svg);
  if (flags.png.empty()) return;
  const std::string temporary = flags.png + ".svg";
  write_file(temporary, "--png", svg);
  const std::unique_ptr<const char, int (*)(const char*)> removed(temporary.c_str(), std::remove);
  convert(temporary, flags.png);
}

}  // namespace

void add_result_flags(CLI::App& app, ResultFlags& flags) {
  app.add_option("-o,--output", flags.format, "md, csv, json, jsonl or sql; default: md")
      ->check(CLI::IsMember(kFormats))
      ->excludes(app.get_option("--json"))
      ->excludes(app.get_option("--jsonl"))
      ->group("Output");
  const auto file = [&](const char* name, std::string& path, const char* text) {
    app.add_option(name, path, text)->type_name("FILE")->group("Output");
  };
  file("--svg", flags.svg, "a plot of the rows as SVG");
  file("--png", flags.png, "the same as PNG, by rsvg-convert (Debian: librsvg2-bin)");
  file("--html", flags.html, "one page with table, plot, method and the JSON");
  app.add_option("--output-err", flags.error_format, "-oe: the same to stderr, in this format")
      ->check(CLI::IsMember(kFormats))
      ->group("Output");
}

void write_file(const std::string& path, const char* flag, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  if (!file)
    throw ExitError(Exit::failed, ErrorCode::not_found,
                    fmt::format("{} {}: cannot be written: {}", flag, path, std::strerror(errno)));
}

void check_files(const ResultFlags& flags) {
  for (const auto& [path, flag] : {std::pair(&flags.svg, "--svg"), std::pair(&flags.html, "--html"),
                                   std::pair(&flags.png, "--png")}) {
    const std::filesystem::path folder = std::filesystem::path(*path).parent_path();
    std::error_code ignored;
    if (!folder.empty() && !std::filesystem::is_directory(folder, ignored))
      usage_error(fmt::format("{} {}: {} is no folder", flag, *path, folder.string()));
    if (!path->empty() && std::filesystem::is_directory(*path, ignored))
      usage_error(fmt::format("{} {}: a folder; the name of a file", flag, *path));
  }
  if (!flags.png.empty() && find_converter().empty())
    usage_error(
        fmt::format("--png {}: {} is not installed; it is in Debian's package "
                    "librsvg2-bin. --svg needs nothing",
                    flags.png, kConverter));
}

Exit write_result(const ResultFlags& flags, const OutputFlags& output, const BenchResult& result) {
  const std::string format = !flags.format.empty() ? flags.format
                             : output.json         ? "json"
                             : output.jsonl        ? "jsonl"
                                                   : "md";
  std::cout << written(result, format) << std::flush;
  write_pictures(flags, result);
  if (!flags.error_format.empty()) std::cerr << written(result, flags.error_format);
  if (result.worse == 0) return Exit::done;
  std::cerr << fmt::format("error: bench compare: {} slower\n", result.worse);
  return Exit::check;
}

Exit run_bench(const ResultFlags& flags, const OutputFlags& output,
               const std::function<BenchResult()>& measure) {
  check_files(flags);
  install_signal_handlers();
  try {
    return write_result(flags, output, measure());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
    std::cerr << "interrupted: " << error.what() << "\n";
    return pending_signal() == 15 ? Exit::terminated : Exit::interrupted;
  }
}

}  // namespace stepless::cli
