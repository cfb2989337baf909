// stepless bench report: results in files, of bench or of other tools, as one page.
#include "cli/bench/report.hpp"

#include <fmt/format.h>

#include <iostream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "cli/bench/page.hpp"

namespace stepless::cli {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{64} << 20;

Section read_section(const std::string& path) {
  OrderedJson json;
  try {
    json = parse_ordered_json(read_text(path, kMostBytes), path);
  } catch (const Error& error) {
    throw ExitError(Exit::usage, error.code(), error.what());
  }
  if (!json.is_object())
    usage_error(path + ": no JSON object; a result as bench -o json writes it");
  // Where a file lies says which machine made it: the last two parts of its path.
  std::string title = path;
  std::size_t slash = title.rfind('/');
  if (slash != std::string::npos && slash > 0) slash = title.rfind('/', slash - 1);
  if (slash != std::string::npos) title = title.substr(slash + 1);
  Section section = section_of(title, json);
  if (section.tables.empty())
    usage_error(path + ": no list of rows in it; a result of bench -o json");
  return section;
}

}  // namespace

Exit bench_report(const BenchFlags& flags) {
  if (flags.files.empty()) usage_error("bench report: no file; results of bench -o json");
  if (flags.output.json || flags.output.jsonl ||
      (!flags.result.format.empty() && flags.result.format != "md"))
    usage_error("bench report: a page is Markdown, or HTML with --html FILE; no other format");
  check_files(flags.result);
  std::vector<Section> sections;
  for (const std::string& path : flags.files) sections.push_back(read_section(path));
  if (!flags.result.html.empty()) {
    write_file(flags.result.html, "--html", html_page("Measured", sections));
    return Exit::done;
  }
  std::cout
      << "# Measured\n\nMade by `stepless bench report` from the files that the headings name. "
         "Each says what was run, where and when.\n\n"
      << markdown_page(sections) << std::flush;
  return Exit::done;
}

}  // namespace stepless::cli
