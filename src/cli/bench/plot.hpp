// A plot as SVG: lines over a logarithmic or linear axis, one file without script or style sheet.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace stepless::cli {

struct Line {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x ascending
  bool dashed = false;                            // a floor
};
struct Plot {
  std::string title = {}, x_title = {}, y_title = {};
  bool log_x = false, log_y = false;  // then every value is above 0
  std::vector<Line> lines = {};
};

/// An <svg> element. Every text is escaped; a plot without points says so in words.
std::string svg_of(const Plot& plot);
/// Several of them below each other in one <svg>.
std::string svg_page(const std::vector<Plot>& plots);
/// &, <, > and quotes as XML writes them; control characters, which XML has none of, as spaces.
std::string xml_text(const std::string& text);

}  // namespace stepless::cli
