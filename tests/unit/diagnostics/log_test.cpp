// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/log.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace railyard::diagnostics {
namespace {

TEST(Log, CallsBackAtOrAboveItsLevel) {
  std::vector<std::string> lines;
  Log log(LogLevel::warn, [&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  log.write(LogLevel::info, "quiet");
  log.write(LogLevel::warn, "heard");
  log.write(LogLevel::error, "heard too");
  EXPECT_EQ(lines, (std::vector<std::string>{"heard", "heard too"}));
  EXPECT_FALSE(log.enabled(LogLevel::info));
}

TEST(Log, OffSaysNothing) {
  int calls = 0;
  Log log(LogLevel::off, [&](LogLevel, std::string_view) { ++calls; });
  log.write(LogLevel::error, "unheard");
  EXPECT_EQ(calls, 0);
}

TEST(Log, WritesToStderrAndNotToStdout) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Log(LogLevel::info, {}).write(LogLevel::info, "a {braced} line");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("a {braced} line"), std::string::npos);
}

}  // namespace
}  // namespace railyard::diagnostics
