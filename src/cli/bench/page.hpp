// Results as pages: one HTML file with tables, plots, method and the JSON itself, or Markdown.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "cli/bench/plot.hpp"

namespace stepless::cli {

struct PageTable {
  std::string title;  // "": the section's own
  std::vector<std::string> head;
  std::vector<bool> right;  // columns of numbers
  std::vector<std::vector<std::string>> rows;
};
struct Section {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;  // machine, build, command, date, ...
  std::vector<PageTable> tables;
  std::vector<std::string> report;
  std::vector<Plot> plots;
  OrderedJson json;
};

/// Any result that is an object: its plain fields are facts, lists of objects are tables. What is
/// equal in all rows of a table is a fact, too.
Section section_of(const std::string& title, const OrderedJson& result);
std::string html_page(const std::string& title, const std::vector<Section>& sections);
std::string markdown_page(const std::vector<Section>& sections);

/// Cells as a Markdown table that a terminal shows well; the first line is the head.
std::string markdown_table(const std::vector<std::vector<std::string>>& cells,
                           const std::vector<bool>& right);

}  // namespace stepless::cli
