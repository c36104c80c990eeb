// SPDX-License-Identifier: Apache-2.0
// A line chart as SVG, readable without a viewer's help: labelled axes, a grid, a legend.
#pragma once

#include <string>
#include <vector>

namespace railyard::cli::bench {

struct Point {
  double x = 0.0;
  double y = 0.0;
};

struct Line {
  std::string name;           // in the legend; empty: not there
  std::vector<Point> points;  // by ascending x, all above 0
  bool dashed = false;
  int color = 0;  // lines with one number have one color
};

struct Chart {
  std::string title;
  std::string x_label;
  std::string y_label;
  bool logarithmic = false;  // both axes; otherwise y begins at 0
  std::vector<Line> lines;
};

/// A complete document; without points it says so.
[[nodiscard]] std::string svg_of(const Chart& chart);

}  // namespace railyard::cli::bench
