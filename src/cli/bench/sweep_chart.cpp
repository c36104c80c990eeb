// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/sweep_chart.hpp"

#include "diagnostics/format.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace railyard::cli::bench {
namespace {

bool over_sms(const Run& run) {
  std::set<int> numbers;
  for (const Result& result : run.results) {
    numbers.insert(result.sms);
  }
  numbers.erase(0);
  return numbers.size() > 1;
}

/// A single call where the same was timed in a graph says the same twice; copies within a GPU would dwarf links.
bool is_drawn(const Run& run, const Result& result) {
  if (result.operation == "local_copy" && over_sms(run)) {
    return false;
  }
  const bool has_graph =
      std::any_of(run.results.begin(), run.results.end(), [](const Result& other) { return other.timing == "graph"; });
  return result.times && (result.timing != "event" || !has_graph);
}

std::string line_name(const Run& run, const Result& result, bool by_sms) {
  std::string name = result.name.empty() ? result.operation : result.name + ": " + result.operation;
  if (result.codec) {
    name += diagnostics::format(" {}{}", railyard::name(*result.codec), result.quantise ? ", quantised" : "");
  }
  if (run.options.subject == Subject::link || !result.name.empty()) {
    name += result.algorithm.empty() ? "" : ", " + result.algorithm;
  }
  if (result.beside) {
    name += diagnostics::format(", beside a {}", result.beside->name);
  }
  if (by_sms && run.options.tokens.size() > 1) {
    name += diagnostics::format(", {} tokens", result.tokens);
  }
  return name;
}

/// Beside a sweep over SMs: what takes none, or as many as it likes, as a level.
void add_levels(const Run& run, Chart& chart) {
  double left = 0.0;
  double right = 0.0;
  for (const Line& line : chart.lines) {
    for (const Point& point : line.points) {
      left = left == 0.0 ? point.x : std::min(left, point.x);
      right = std::max(right, point.x);
    }
  }
  int color = static_cast<int>(chart.lines.size());
  for (const std::vector<Result>* results : {&run.results, &run.peers}) {
    for (const Result& result : *results) {
      if (result.sms == 0 && is_drawn(run, result) && result.gbps > 0) {
        const std::vector<Point> points{{left, result.gbps}, {right, result.gbps}};
        chart.lines.push_back(
            {.name = line_name(run, result, true), .points = points, .dashed = true, .color = color++});
      }
    }
  }
}

}  // namespace

Chart chart_of(const Run& run) {
  const bool by_sms = over_sms(run);
  Chart chart;
  chart.title = diagnostics::format("railyard {} {}: {} ranks, {}", run.environment.version, name(run.options.subject),
                                    run.options.ranks, run.environment.device);
  chart.x_label = by_sms ? "SMs of an operation" : "tokens per rank";
  chart.y_label = by_sms ? "GB/s over links, busiest rank" : "microseconds, median of the slowest rank";
  chart.logarithmic = !by_sms;
  std::map<std::string, std::size_t> places;  // of lines by name; a line's limit follows it
  const auto draw = [&](const Result& result) {
    const double x = by_sms ? result.sms : result.tokens;
    const double y = by_sms ? result.gbps : result.times ? result.times->median_us : 0.0;
    if (!is_drawn(run, result) || x <= 0 || y <= 0) {
      return;
    }
    const std::string name = line_name(run, result, by_sms);
    const auto [place, is_new] = places.try_emplace(name, chart.lines.size());
    if (is_new) {
      const int color = static_cast<int>(places.size()) - 1;
      chart.lines.push_back({.name = name, .points = {}, .dashed = false, .color = color});
      chart.lines.push_back({.name = "", .points = {}, .dashed = true, .color = color});
    }
    chart.lines[place->second].points.push_back({x, y});
    if (result.limit_ratio && result.name.empty()) {
      const double limit = by_sms ? y * *result.limit_ratio : y / *result.limit_ratio;
      chart.lines[place->second + 1].points.push_back({x, limit});
    }
  };
  std::for_each(run.results.begin(), run.results.end(), draw);
  std::for_each(run.peers.begin(), run.peers.end(), draw);
  std::erase_if(chart.lines, [](const Line& line) { return line.points.empty(); });
  for (Line& line : chart.lines) {
    std::sort(line.points.begin(), line.points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    if (line.dashed) {
      const auto owner = std::find_if(chart.lines.begin(), chart.lines.end(),
                                      [&](const Line& other) { return other.color == line.color && !other.dashed; });
      line.name = "limit of " + owner->name;
    }
  }
  if (by_sms) {
    add_levels(run, chart);
  }
  return chart;
}

}  // namespace railyard::cli::bench
