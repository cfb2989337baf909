#include "cli/bench/page.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace stepless::cli {
namespace {

constexpr const char* kStyle =
    "body{font-family:sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "th,td{border:1px solid #ccc;padding:.25em .6em;text-align:left}"
    ".n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}"
    "pre{overflow:auto;background:#f6f6f6;padding:1em}";

/// Characters, not bytes.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

/// A | ends a cell and a < begins a tag; neither is meant.
std::string markdown_text(const std::string& text) {
  std::string out;
  for (const char c : text)
    out += c == '|' ? "\\|" : c == '<' ? "&lt;" : c == '\n' ? " " : std::string(1, c);
  return out;
}

std::string html_table(const PageTable& table) {
  std::string out;
  if (!table.title.empty()) out += fmt::format("<h3>{}</h3>\n", xml_text(table.title));
  out += "<table>\n<tr>";
  for (const std::string& head : table.head) out += fmt::format("<th>{}</th>", xml_text(head));
  out += "</tr>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i)
      out += fmt::format("<td{}>{}</td>", table.right[i] ? " class=\"n\"" : "", xml_text(row[i]));
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::string html_section(const Section& section) {
  std::string out = fmt::format("<h2>{}</h2>\n", xml_text(section.title));
  if (!section.plots.empty()) out += svg_page(section.plots);
  for (const PageTable& table : section.tables) out += html_table(table);
  if (!section.report.empty()) {
    out += "<pre>";
    for (const std::string& line : section.report) out += xml_text(line) + "\n";
    out += "</pre>\n";
  }
  out += "<table>\n";
  for (const auto& [name, text] : section.facts)
    out += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", xml_text(name), xml_text(text));
  return out + fmt::format("</table>\n<details><summary>JSON</summary>\n<pre>{}</pre></details>\n",
                           xml_text(section.json.dump(1)));
}

}  // namespace

std::string markdown_table(const std::vector<std::vector<std::string>>& cells,
                           const std::vector<bool>& right) {
  std::vector<std::size_t> widths(right.size(), 3);
  for (const auto& line : cells)
    for (std::size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], width_of(line[i]));
  std::string out;
  for (std::size_t at = 0; at < cells.size(); ++at) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      out += "| " + padded(cells[at][i], widths[i], right[i]) + " ";
    out += "|\n";
    if (at > 0) continue;
    for (std::size_t i = 0; i < widths.size(); ++i)
      out += "|" + std::string(widths[i] + 1, '-') + (right[i] ? ":" : "-");
    out += "|\n";
  }
  return out;
}

std::string html_page(const std::string& title, const std::vector<Section>& sections) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{0}</title>\n<style>{1}</style>\n<h1>{0}</h1>\n",
      xml_text(title), kStyle);
  for (const Section& section : sections) out += html_section(section);
  return out + "</html>\n";
}

std::string markdown_page(const std::vector<Section>& sections) {
  std::string out;
  for (const Section& section : sections) {
    out += fmt::format("{}## {}\n\n", out.empty() ? "" : "\n", markdown_text(section.title));
    for (const auto& [name, text] : section.facts)
      out += fmt::format("- {}: {}\n", markdown_text(name), markdown_text(text));
    for (const PageTable& table : section.tables) {
      out += table.title.empty() ? "\n" : fmt::format("\n{}:\n\n", markdown_text(table.title));
      std::vector<std::vector<std::string>> cells = {table.head};
      cells.insert(cells.end(), table.rows.begin(), table.rows.end());
      for (auto& line : cells)
        for (std::string& cell : line) cell = markdown_text(cell);
      out += markdown_table(cells, table.right);
    }
    if (section.report.empty()) continue;
    out += "\n```text\n";
    for (const std::string& line : section.report) out += line + "\n";
    out += "```\n";
  }
  return out;
}

}  // namespace stepless::cli
