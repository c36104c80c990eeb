// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/plot.hpp"

#include "cli/svg.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace railyard::cli::bench {
namespace {

using svg::line_of;
using svg::text_at;

constexpr double kWidth = 1060;
constexpr double kHeight = 540;
constexpr double kLeft = 80;
constexpr double kRight = 400;  // the legend's
constexpr double kTop = 50;
constexpr double kBottom = 60;
constexpr double kLegendStep = 20;
// Okabe and Ito's colors without yellow: they can be told apart with any color vision.
constexpr std::array kColors = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"};

/// 1, 2 or 5 times a power of ten, at least `step`.
double round_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) {
      return factor * power;
    }
  }
  return 10.0 * power;
}

/// From values to places on the page, and where the grid is.
class Axis {
 public:
  Axis(double low, double high, bool logarithmic, double start, double end)
      : low_(low), high_(high), logarithmic_(logarithmic), start_(start), end_(end) {
    if (high_ <= low_) {
      high_ = logarithmic_ ? low_ * 2 : low_ + 1;
    }
  }
  [[nodiscard]] double operator()(double value) const {
    const double part =
        logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return start_ + part * (end_ - start_);
  }
  /// At most about ten round values.
  [[nodiscard]] std::vector<double> ticks() const {
    std::vector<double> result;
    if (!logarithmic_) {
      const double step = round_step((high_ - low_) / 10);
      for (double i = std::ceil(low_ / step); i * step <= high_ * (1 + 1e-9); ++i) {
        result.push_back(i * step);
      }
      return result;
    }
    for (double power = std::pow(10.0, std::floor(std::log10(low_))); power <= high_; power *= 10) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        if (factor * power >= low_ * (1 - 1e-9) && factor * power <= high_ * (1 + 1e-9)) {
          result.push_back(factor * power);
        }
      }
    }
    return result;
  }

 private:
  double low_;
  double high_;
  bool logarithmic_;
  double start_;
  double end_;
};

std::string stroke_of(const Line& line) {
  return diagnostics::format("fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}",
                             kColors[static_cast<std::size_t>(line.color) % kColors.size()],
                             line.dashed ? " stroke-dasharray=\"7 5\"" : "");
}

/// The values of x themselves where they are few: counts of tokens or SMs are seldom round.
std::vector<double> ticks_of(const Chart& chart, const Axis& axis) {
  std::set<double> values;
  for (const Line& line : chart.lines) {
    for (const Point& point : line.points) {
      values.insert(point.x);
    }
  }
  return values.size() <= 12 ? std::vector<double>(values.begin(), values.end()) : axis.ticks();
}

std::string grid_of(const Chart& chart, const Axis& x, const Axis& y) {
  constexpr const char* kGrid = "stroke=\"#DDDDDD\"";
  std::string drawing;
  for (const double tick : ticks_of(chart, x)) {
    drawing += line_of(x(tick), kTop, x(tick), kHeight - kBottom, kGrid);
    drawing += text_at(x(tick), kHeight - kBottom + 18, "middle", diagnostics::format("{:.6g}", tick));
  }
  for (const double tick : y.ticks()) {
    drawing += line_of(kLeft, y(tick), kWidth - kRight, y(tick), kGrid);
    drawing += text_at(kLeft - 8, y(tick) + 4, "end", diagnostics::format("{:.6g}", tick));
  }
  drawing += diagnostics::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" stroke=\"#555555\"/>\n", kLeft,
      kTop, kWidth - kLeft - kRight, kHeight - kTop - kBottom);
  drawing += text_at((kLeft + kWidth - kRight) / 2, kHeight - 16, "middle", chart.x_label);
  const double middle = (kTop + kHeight - kBottom) / 2;
  return drawing + svg::upward_text_at(20, middle, chart.y_label);
}

std::string lines_of(const Chart& chart, const Axis& x, const Axis& y) {
  std::string drawing;
  double legend = kTop + 10;
  for (const Line& line : chart.lines) {
    std::string points;
    for (const Point& point : line.points) {
      points += diagnostics::format("{:.1f},{:.1f} ", x(point.x), y(point.y));
      if (!line.dashed) {
        drawing += diagnostics::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x(point.x),
                                       y(point.y), kColors[static_cast<std::size_t>(line.color) % kColors.size()]);
      }
    }
    drawing += diagnostics::format("<polyline points=\"{}\" {}/>\n", points, stroke_of(line));
    if (!line.name.empty()) {
      const double start = kWidth - kRight + 16;
      drawing += line_of(start, legend, start + 28, legend, stroke_of(line));
      drawing += text_at(start + 36, legend + 4, "start", line.name);
      legend += kLegendStep;
    }
  }
  return drawing;
}

}  // namespace

std::string svg_of(const Chart& chart) {
  std::string drawing = svg::begin(kWidth, kHeight);
  drawing += text_at(kLeft, 28, "start", chart.title, " font-size=\"15\"");
  std::vector<Point> all;
  for (const Line& line : chart.lines) {
    all.insert(all.end(), line.points.begin(), line.points.end());
  }
  if (all.empty()) {
    return drawing + text_at(kWidth / 2, kHeight / 2, "middle", "nothing was measured") + "</svg>\n";
  }
  const auto [left, right] =
      std::minmax_element(all.begin(), all.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  const auto [bottom, top] =
      std::minmax_element(all.begin(), all.end(), [](const Point& a, const Point& b) { return a.y < b.y; });
  const bool logarithmic = chart.logarithmic;
  const Axis x(left->x, right->x, logarithmic, kLeft + 12, kWidth - kRight - 12);
  const Axis y(logarithmic ? bottom->y / 1.3 : 0.0, top->y * (logarithmic ? 1.3 : 1.08), logarithmic, kHeight - kBottom,
               kTop);
  return drawing + grid_of(chart, x, y) + lines_of(chart, x, y) + "</svg>\n";
}

}  // namespace railyard::cli::bench
