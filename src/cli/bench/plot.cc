#include "cli/bench/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace stepless::cli {
namespace {

constexpr double kWidth = 720, kHeight = 400;  // of one plot, in user units
constexpr double kLeft = 76, kRight = 190, kTop = 36, kBottom = 52;
constexpr int kTicks = 6;

// Colours that stay apart for colour-blind readers (Okabe and Ito), without the yellow.
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                    "#56B4E9", "#E69F00", "#000000"};

/// From a value to a place, and the values worth a mark.
class Axis {
 public:
  Axis(double least, double most, bool log) : log_(log) {
    if (log) {
      least_ = std::log10(least), most_ = std::log10(most);
      if (most_ - least_ < 1e-9) least_ -= 0.5, most_ += 0.5;
      return;
    }
    const double step = step_for(most - least);
    least_ = std::floor(least / step) * step;
    most_ = std::ceil(most / step) * step;
    if (most_ - least_ < step / 2) most_ = least_ + step;
    step_ = step;
  }
  /// 0 at the least value, 1 at the most.
  double place(double value) const {
    return ((log_ ? std::log10(value) : value) - least_) / (most_ - least_);
  }
  std::vector<double> marks() const {
    std::vector<double> all;
    if (!log_) {
      for (double v = least_; v <= most_ + step_ / 2; v += step_) all.push_back(v);
      return all;
    }
    // Powers of ten when there are several, else 1, 2 and 5 of each.
    const bool tens = most_ - least_ >= 2.5;
    for (double power = std::floor(least_); power <= most_; power += 1)
      for (const double digit : {1.0, 2.0, 5.0}) {
        const double at = power + std::log10(digit);
        if ((digit == 1 || !tens) && at >= least_ - 1e-9 && at <= most_ + 1e-9)
          all.push_back(std::pow(10, at));
      }
    return all;
  }

 private:
  /// 1, 2 or 5 times a power of ten, so that some ticks fit.
  static double step_for(double range) {
    const double rough = (range > 0 ? range : 1) / kTicks;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    for (const double digit : {1.0, 2.0, 5.0})
      if (digit * power >= rough) return digit * power;
    return 10 * power;
  }
  bool log_;
  double least_ = 0, most_ = 1, step_ = 1;
};

std::string mark_text(double value) {
  const double size = std::abs(value);
  if (size >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:.4g}", size < 1e-12 ? 0.0 : value);
}

struct Extent {
  double least = std::numeric_limits<double>::max(), most = std::numeric_limits<double>::lowest();
  void take(double value) { least = std::min(least, value), most = std::max(most, value); }
  bool empty() const { return least > most; }
};

std::string text_at(double x, double y, const char* anchor, const std::string& text,
                    const char* more = "") {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>)", x, y, anchor,
                     more, xml_text(text)) +
         "\n";
}

std::string line_at(double x1, double y1, double x2, double y2, const char* colour) {
  return fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>)", x1,
                     y1, x2, y2, colour) +
         "\n";
}

/// The frame: marks of both axes with their grid, and the titles.
std::string frame(const Plot& plot, const Axis& x, const Axis& y) {
  const double width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
  std::string out = text_at(kLeft, 20, "start", plot.title, R"( font-weight="bold")");
  for (const double mark : y.marks()) {
    const double at = kTop + height * (1 - y.place(mark));
    out += line_at(kLeft, at, kLeft + width, at, "#dddddd");
    out += text_at(kLeft - 6, at + 4, "end", mark_text(mark));
  }
  for (const double mark : x.marks()) {
    const double at = kLeft + width * x.place(mark);
    out += line_at(at, kTop, at, kTop + height, "#eeeeee");
    out += text_at(at, kTop + height + 16, "middle", mark_text(mark));
  }
  out += line_at(kLeft, kTop + height, kLeft + width, kTop + height, "#444444");
  out += line_at(kLeft, kTop, kLeft, kTop + height, "#444444");
  out += text_at(kLeft + width / 2, kHeight - 14, "middle", plot.x_title);
  const double middle = kTop + height / 2;
  return out + text_at(16, middle, "middle", plot.y_title,
                       fmt::format(R"x( transform="rotate(-90 16 {:.1f})")x", middle).c_str());
}

std::string drawn(const Line& line, std::size_t index, const Axis& x, const Axis& y) {
  const double width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
  const char* const colour = kColours[index % std::size(kColours)];
  const char* const dash = line.dashed ? R"( stroke-dasharray="5 4")" : "";
  std::string points, dots;
  for (const auto& [at_x, at_y] : line.points) {
    const double px = kLeft + width * x.place(at_x), py = kTop + height * (1 - y.place(at_y));
    points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", px, py);
    if (!line.dashed)
      dots +=
          fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="2.5" fill="{}"/>)", px, py, colour) +
          "\n";
  }
  const double legend = kTop + 8 + 18 * static_cast<double>(index);
  return fmt::format(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5"{}/>)",
                     points, colour, dash) +
         "\n" + dots +
         fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" )"
                     R"(stroke-width="1.5"{}/>)",
                     kWidth - kRight + 10, legend, kWidth - kRight + 34, legend, colour, dash) +
         "\n" + text_at(kWidth - kRight + 40, legend + 4, "start", line.name);
}

std::string body_of(const Plot& plot) {
  Extent x, y;
  for (const Line& line : plot.lines)
    for (const auto& [at_x, at_y] : line.points) x.take(at_x), y.take(at_y);
  if (x.empty()) return text_at(kLeft, 20, "start", plot.title + ": nothing to draw");
  // A linear height begins at 0: half as high is half as much.
  const Axis x_axis(x.least, x.most, plot.log_x);
  const Axis y_axis(plot.log_y ? y.least : std::min(y.least, 0.0), y.most, plot.log_y);
  std::string out = frame(plot, x_axis, y_axis);
  for (std::size_t i = 0; i < plot.lines.size(); ++i)
    out += drawn(plot.lines[i], i, x_axis, y_axis);
  return out;
}

}  // namespace

std::string xml_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
  }
  return out;
}

std::string svg_of(const Plot& plot) { return svg_page({plot}); }

std::string svg_page(const std::vector<Plot>& plots) {
  const double height = kHeight * static_cast<double>(std::max<std::size_t>(plots.size(), 1));
  std::string out =
      fmt::format(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" )"
                  R"(viewBox="0 0 {0:.0f} {1:.0f}" font-family="sans-serif" font-size="12">)"
                  "\n"
                  R"(<rect width="100%" height="100%" fill="white"/>)"
                  "\n",
                  kWidth, height);
  for (std::size_t i = 0; i < plots.size(); ++i)
    out += fmt::format("<g transform=\"translate(0 {:.0f})\">\n{}</g>\n",
                       kHeight * static_cast<double>(i), body_of(plots[i]));
  return out + "</svg>\n";
}

}  // namespace stepless::cli
