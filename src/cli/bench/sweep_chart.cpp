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

/// What stands for a single call where the same was timed in a graph says the same twice.
bool is_drawn(const Run& run, const Result& result) {
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
  if (by_sms && run.options.tokens.size() > 1) {
    name += diagnostics::format(", {} tokens", result.tokens);
  }
  return name;
}

void add(Line& line, double x, double y) { line.points.push_back({x, y}); }

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
    add(chart.lines[place->second], x, y);
    if (result.limit_ratio && result.name.empty()) {
      add(chart.lines[place->second + 1], x, by_sms ? y * *result.limit_ratio : y / *result.limit_ratio);
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
  return chart;
}

}  // namespace railyard::cli::bench
