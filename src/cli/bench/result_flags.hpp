// Where the result of a bench goes: formats, files, exit codes. For bench and batch-bench alike.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "cli/bench/result.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"

namespace stepless::cli {

struct ResultFlags {
  std::string format;          // -o; "": md, or what --json and --jsonl say
  std::string error_format;    // -oe, to stderr; "": nothing
  std::string svg, html, png;  // files; "": none
};
/// After add_output_flags(), whose --json and --jsonl exclude -o.
void add_result_flags(CLI::App& app, ResultFlags& flags);

/// Throws Error (usage) when a file that is to be written cannot be, or PNG not be made, before a
/// bench takes its time.
void check_files(const ResultFlags& flags);
/// A file of a flag, whole or not at all. Throws Error (exit 1) naming both.
void write_file(const std::string& path, const char* flag, const std::string& bytes);

/// Writes the result to stdout as asked; Exit::check when it holds what is slower.
Exit write_result(const ResultFlags& flags, const OutputFlags& output, const BenchResult& result);
/// Measures until a signal comes, then writes. Exit::interrupted or ::terminated on a signal.
Exit run_bench(const ResultFlags& flags, const OutputFlags& output,
               const std::function<BenchResult()>& measure);

}  // namespace stepless::cli
