// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/plot.hpp"
#include "cli/bench/result.hpp"
#include "cli/bench/sweep_chart.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>

namespace railyard::cli::bench {
namespace {

Result result_with(const char* operation, const char* timing, int sms, int tokens, double microseconds) {
  Result result;
  result.operation = operation;
  result.algorithm = "push";
  result.layout = Layout::rank_major;
  result.codec = Codec::bf16;
  result.timing = timing;
  result.sms = sms;
  result.tokens = tokens;
  result.wire_bytes = 1'000'000;
  result.times = Times{microseconds, microseconds * 1.1};
  result.gbps = 1000.0 / microseconds;
  result.limit_ratio = 2.0;
  result.verified = true;
  return result;
}

/// Two operations over SMs, with single calls and a peer beside.
Run sweep_over_sms() {
  Run run;
  run.environment.device = "2 x <GPU> & more";
  run.options.device = "cuda";
  run.options.sms = {8, 16};
  run.options.tokens = {4096};
  for (const int sms : {16, 8}) {
    run.results.push_back(result_with("dispatch", "graph", sms, 4096, 1600.0 / sms));
    run.results.push_back(result_with("dispatch", "event", sms, 4096, 3200.0 / sms));
    run.results.push_back(result_with("combine", "graph", sms, 4096, 1700.0 / sms));
  }
  run.limits.links = {{"push", "bulk", 24, 345.0}, {"local_copy", "vector", 132, 2100.0}};
  run.peers.push_back(result_with("dispatch", "graph", 0, 4096, 300.0));
  run.peers.back().name = "nccl";
  return run;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(SweepChart, OverSmsShowsRatesAndLimits) {
  const Chart chart = chart_of(sweep_over_sms());
  EXPECT_EQ(chart.x_label, "SMs of an operation");
  EXPECT_FALSE(chart.logarithmic);
  ASSERT_EQ(chart.lines.size(), 5U);  // two operations with a limit each, no single calls; the peer has no SMs
  EXPECT_EQ(chart.lines[0].name, "dispatch bf16");
  ASSERT_EQ(chart.lines[0].points.size(), 2U);
  EXPECT_DOUBLE_EQ(chart.lines[0].points[0].x, 8.0);  // in order, though measured in another
  EXPECT_DOUBLE_EQ(chart.lines[0].points[0].y, 5.0);
  EXPECT_EQ(chart.lines[1].name, "limit of dispatch bf16");
  EXPECT_TRUE(chart.lines[1].dashed);
  EXPECT_DOUBLE_EQ(chart.lines[1].points[0].y, 10.0);
  EXPECT_EQ(chart.lines[1].color, chart.lines[0].color);
  EXPECT_NE(chart.lines[2].color, chart.lines[0].color);
  EXPECT_EQ(chart.lines[4].name, "nccl: dispatch bf16, push");
  EXPECT_TRUE(chart.lines[4].dashed);
  EXPECT_DOUBLE_EQ(chart.lines[4].points[0].x, 8.0);
  EXPECT_DOUBLE_EQ(chart.lines[4].points[1].x, 16.0);
  EXPECT_DOUBLE_EQ(chart.lines[4].points[1].y, chart.lines[4].points[0].y);
}

TEST(SweepChart, OverTokensShowsTimesAndPeers) {
  auto run = sweep_over_sms();
  run.results.clear();
  run.options.tokens = {128, 4096};
  run.results.push_back(result_with("dispatch", "host", 0, 128, 10.0));
  run.results.push_back(result_with("dispatch", "host", 0, 4096, 100.0));
  const Chart chart = chart_of(run);
  EXPECT_EQ(chart.x_label, "tokens per rank");
  EXPECT_TRUE(chart.logarithmic);
  ASSERT_EQ(chart.lines.size(), 3U);
  EXPECT_DOUBLE_EQ(chart.lines[1].points[1].y, 50.0);  // the limit
  EXPECT_EQ(chart.lines[2].name, "nccl: dispatch bf16, push");
}

TEST(SweepChart, LeavesOutWhatWasNotTimed) {
  auto run = sweep_over_sms();
  run.peers.clear();
  for (Result& result : run.results) {
    result.times.reset();
  }
  EXPECT_TRUE(chart_of(run).lines.empty());
  EXPECT_NE(svg_of(chart_of(run)).find("nothing was measured"), std::string::npos);
}

TEST(Svg, HasALineForEachLineAndEscapesText) {
  const std::string svg = svg_of(chart_of(sweep_over_sms()));
  EXPECT_EQ(svg.rfind("<svg ", 0), 0U);
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  EXPECT_EQ(occurrences(svg, "<polyline "), 5U);
  EXPECT_EQ(occurrences(svg, "stroke-dasharray"), 6U);  // three lines, and three entries of the legend
  EXPECT_EQ(occurrences(svg, "<circle "), 4U);
  EXPECT_NE(svg.find("2 x &lt;GPU&gt; &amp; more"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(Svg, OnePointIsEnough) {
  for (const bool logarithmic : {false, true}) {
    Chart chart;
    chart.logarithmic = logarithmic;
    chart.lines.push_back({.name = "one", .points = {{16.0, 3.0}}, .dashed = false, .color = 0});
    const std::string svg = svg_of(chart);
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
    EXPECT_EQ(occurrences(svg, "<circle "), 1U);
  }
}

TEST(Json, SaysTimingSmsAndLinks) {
  const nlohmann::ordered_json document = to_json(sweep_over_sms());
  EXPECT_EQ(document["config"]["sms"], (std::vector<int>{8, 16}));
  EXPECT_EQ(document["results"][0]["timing"], "graph");
  EXPECT_EQ(document["results"][1]["timing"], "event");
  EXPECT_EQ(document["results"][0]["sms"], 16);
  EXPECT_EQ(document["results"][0]["limit_ratio"], 2.0);
  EXPECT_FALSE(document["results"][0].contains("name"));
  EXPECT_EQ(document["peers"][0]["name"], "nccl");
  EXPECT_EQ(document["limits"]["link"][0]["operation"], "push");
  EXPECT_EQ(document["limits"]["link"][0]["sms"], 24);
}

TEST(Json, AWrongResultHasNoTimes) {
  auto run = sweep_over_sms();
  run.results[0].times.reset();
  run.results[0].verified = false;
  EXPECT_TRUE(to_json(run)["results"][0]["us_median"].is_null());
  EXPECT_FALSE(run.verified());
}

}  // namespace
}  // namespace railyard::cli::bench
