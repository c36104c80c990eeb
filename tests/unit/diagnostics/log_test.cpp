// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/log.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

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

/// stderr is the writing end while this lives.
class StderrAt {
 public:
  explicit StderrAt(int writing_end) : before_(::dup(STDERR_FILENO)) { ::dup2(writing_end, STDERR_FILENO); }
  ~StderrAt() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }
  StderrAt(const StderrAt&) = delete;
  StderrAt& operator=(const StderrAt&) = delete;

 private:
  int before_;
};

std::string read_all(int descriptor) {
  ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
  std::string text;
  char some[4096];
  for (ssize_t bytes = 0; (bytes = ::read(descriptor, some, sizeof(some))) > 0;) {
    text.append(some, static_cast<std::size_t>(bytes));
  }
  return text;
}

// A pipe, as that of a launcher, and a socket, as that of a service manager.
class LogNobodyReads : public testing::TestWithParam<bool> {};

TEST_P(LogNobodyReads, DropsLinesAndSaysHowMany) {
  int ends[2];
  ASSERT_EQ(GetParam() ? ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : ::pipe(ends), 0);
  Log log(LogLevel::info, {});
  std::string heard;
  {
    const StderrAt writes(ends[1]);
    const std::string line(10'000, 'x');
    for (int i = 0; i < 1000; ++i) log.write(LogLevel::info, line);  // would wait for ever
    heard = read_all(ends[0]);
    log.write(LogLevel::info, "read again");
    heard += read_all(ends[0]);
  }
  EXPECT_NE(heard.find("xxx"), std::string::npos);
  EXPECT_NE(heard.find(" lines were dropped"), std::string::npos);
  EXPECT_NE(heard.find("read again"), std::string::npos);
  ::close(ends[0]);
  {
    const StderrAt writes(ends[1]);
    log.write(LogLevel::info, "its reader has gone");  // SIGPIPE would end the test
  }
  ::close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(Streams, LogNobodyReads, testing::Bool());

}  // namespace
}  // namespace railyard::diagnostics
