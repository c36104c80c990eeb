// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/heat_map.hpp"

#include "cli/svg.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace railyard::cli::inspect {
namespace {

constexpr double kLeft = 80;
constexpr double kTop = 80;
constexpr double kBottom = 40;
constexpr double kLegend = 360;  // its width, right of the cells
constexpr double kBar = 200;     // height of its color bar
constexpr double kLabelStep = 24;
constexpr int kMostNumberedRanks = 16;  // with more, a cell has no room for its number

struct Color {
  double red, green, blue;
};
// Cividis (Nunez, Anderton, Renslow, PLoS ONE 2018) in four steps, the light end for few: made for color vision
// deficiencies.
constexpr std::array kColors = {Color{255, 234, 70}, Color{188, 175, 111}, Color{124, 123, 120}, Color{65, 77, 107},
                                Color{0, 32, 77}};

/// `part` in [0, 1].
std::string color_at(double part) {
  const double place = part * static_cast<double>(kColors.size() - 1);
  const std::size_t step = std::min(static_cast<std::size_t>(place), kColors.size() - 2);
  const double rest = place - static_cast<double>(step);
  const Color& from = kColors[step];
  const Color& to = kColors[step + 1];
  return diagnostics::format("#{:02X}{:02X}{:02X}", std::lround(std::lerp(from.red, to.red, rest)),
                             std::lround(std::lerp(from.green, to.green, rest)),
                             std::lround(std::lerp(from.blue, to.blue, rest)));
}

std::string rectangle(double x, double y, double width, double height, const std::string& style,
                      const std::string& tip = "") {
  return diagnostics::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" {}", x, y, width,
                             height, style) +
         (tip.empty() ? "/>\n" : "><title>" + svg::escaped(tip) + "</title></rect>\n");
}

class HeatMap {
 public:
  HeatMap(const Tally& tally, std::int64_t row_bytes)
      : tally_(tally),
        ranks_(tally.num_ranks()),
        megabytes_per_row_(static_cast<double>(row_bytes) * 1e-6),
        cell_(std::clamp(640.0 / ranks_, 4.0, 40.0)) {
    for (int source = 0; source < ranks_; ++source) {
      for (int destination = 0; destination < ranks_; ++destination) {
        most_ = std::max(most_, tally.rows(source, destination));
      }
    }
  }

  [[nodiscard]] std::string document(const std::string& title) const {
    const double size = ranks_ * cell_;
    std::string drawing = svg::begin(std::max(kLeft + size + kLegend, 720.0),
                                     kTop + std::max(size, kBar + 60) + kBottom, " role=\"img\"");
    drawing += "<title>" + svg::escaped(title) + "</title>\n";
    drawing += svg::text_at(16, 28, "start", title, " font-size=\"15\"");
    return drawing + cells() + axes() + legend() + "</svg>\n";
  }

 private:
  [[nodiscard]] double x(int destination) const { return kLeft + destination * cell_; }
  [[nodiscard]] double y(int source) const { return kTop + source * cell_; }
  [[nodiscard]] double part(std::int64_t rows) const {
    return most_ == 0 ? 0.0 : static_cast<double>(rows) / static_cast<double>(most_);
  }

  [[nodiscard]] std::string cells() const {
    std::string drawing;
    for (int source = 0; source < ranks_; ++source) {
      for (int destination = 0; destination < ranks_; ++destination) {
        const std::int64_t rows = tally_.rows(source, destination);
        const std::string fill = rows == 0 ? "#FFFFFF" : color_at(part(rows));
        drawing += rectangle(x(destination), y(source), cell_, cell_, "fill=\"" + fill + "\"",
                             diagnostics::format("{} to {}: {} rows, {:.3f} MB", source, destination, rows,
                                                 static_cast<double>(rows) * megabytes_per_row_));
        if (ranks_ <= kMostNumberedRanks) {
          const char* color = part(rows) > 0.5 ? " font-size=\"10\" fill=\"#FFFFFF\"" : " font-size=\"10\"";
          drawing +=
              svg::text_at(x(destination) + cell_ / 2, y(source) + cell_ / 2 + 4, "middle", short_number(rows), color);
        }
      }
    }
    for (int rank = 0; rank < ranks_; ++rank) {
      drawing += rectangle(x(rank) + 0.5, y(rank) + 0.5, cell_ - 1, cell_ - 1, "fill=\"none\" stroke=\"#D55E00\"");
    }
    return drawing;
  }

  static std::string short_number(std::int64_t rows) {
    return rows < 100'000 ? diagnostics::format("{}", rows)
                          : diagnostics::format("{:.3g}M", static_cast<double>(rows) * 1e-6);
  }

  [[nodiscard]] std::string axes() const {
    const double right = x(ranks_);
    const double bottom = y(ranks_);
    std::string drawing;
    for (int rank = 0; rank <= ranks_; rank += tally_.domain_size()) {
      const char* const style = "stroke=\"#000000\" stroke-width=\"1.5\"";
      drawing +=
          svg::line_of(x(rank), kTop, x(rank), bottom, style) + svg::line_of(kLeft, y(rank), right, y(rank), style);
    }
    int step = 1;
    while (step * cell_ < kLabelStep) {
      step *= 2;
    }
    for (int rank = 0; rank < ranks_; rank += step) {
      const std::string label = diagnostics::format("{}", rank);
      drawing += svg::text_at(x(rank) + cell_ / 2, kTop - 8, "middle", label);
      drawing += svg::text_at(kLeft - 8, y(rank) + cell_ / 2 + 4, "end", label);
    }
    drawing += svg::text_at(kLeft, kTop - 26, "start", "destination rank");
    return drawing + svg::upward_text_at(36, std::max((kTop + bottom) / 2, kTop + 32), "source rank");
  }

  [[nodiscard]] std::string legend() const {
    constexpr int kSteps = 50;
    const double left = x(ranks_) + 32;
    std::string drawing = svg::text_at(left, kTop - 8, "start", "rows (rank_major), and their bytes");
    for (int step = 0; step < kSteps; ++step) {
      drawing += rectangle(left, kTop + kBar * step / kSteps, 20, kBar / kSteps + 0.5,
                           "fill=\"" + color_at(1.0 - (step + 0.5) / kSteps) + "\"");
    }
    for (const double share : {1.0, 0.75, 0.5, 0.25, 0.0}) {
      const double rows = share * static_cast<double>(most_);
      drawing += svg::text_at(left + 28, kTop + kBar * (1.0 - share) + 4, "start",
                              diagnostics::format("{:.0f}, {:.4g} MB", rows, rows * megabytes_per_row_));
    }
    drawing += svg::text_at(left, kTop + kBar + 28, "start", "white: no rows; outlined: to itself, over no link");
    if (tally_.domain_size() < ranks_) {
      drawing += svg::text_at(left, kTop + kBar + 48, "start", "black lines: scale-up domains");
    }
    return drawing;
  }

  const Tally& tally_;
  int ranks_;
  double megabytes_per_row_;
  double cell_;
  std::int64_t most_ = 0;
};

}  // namespace

std::string heat_map_of(const Tally& tally, std::int64_t row_bytes, const std::string& title) {
  return HeatMap(tally, row_bytes).document(title);
}

}  // namespace railyard::cli::inspect
