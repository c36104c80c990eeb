// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/trace.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace railyard::diagnostics {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 3> kRows{"send", "receive", "exchange"};

class TraceFile : public ::testing::Test {
 protected:
  TraceFile() : path_(std::filesystem::temp_directory_path() / ("railyard_trace_" + std::to_string(::getpid()))) {}
  ~TraceFile() override { std::filesystem::remove(path_); }

  std::shared_ptr<Trace> open(Trace::Options options = {}) {
    if (options.file.empty()) options.file = path_.native();
    return Trace::open(options, std::make_shared<Log>(LogLevel::warn, [this](LogLevel, std::string_view line) {
                         lines_.emplace_back(line);
                       }));
  }
  std::string refusal(const Trace::Options& options) {
    try {
      static_cast<void>(open(options));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::environment);
      return error.what();
    }
    return "accepted";
  }
  [[nodiscard]] json read() const { return json::parse(std::ifstream(path_)).at("traceEvents"); }
  [[nodiscard]] std::vector<json> events(const std::string& phase) const {
    std::vector<json> found;
    for (const json& event : read()) {
      if (event.at("ph") == phase) found.push_back(event);
    }
    return found;
  }

  const std::filesystem::path path_;
  std::vector<std::string> lines_;
};

void record_part(TraceTrack& track, std::uint64_t epoch, std::uint64_t bytes) {
  TracedPart part(&track, 0);
  track.enter(2, "dispatch", epoch, true);
  part.moved(bytes);
}

TEST_F(TraceFile, IsCompleteFromTheStartAndNamesItsRows) {
  const std::shared_ptr<Trace> trace = open({.first_rank = 4, .num_ranks = 2});
  json names = json::object();
  for (const json& event : events("M")) {
    if (event.at("name") == "process_name") names[event.at("args").at("name")] = event.at("pid");
  }
  EXPECT_EQ(names, (json{{"rank 4", 4}, {"rank 5", 5}}));
  { const auto track = trace->make_track(5, kRows); }
  { const auto track = trace->make_track(5, kRows); }
  std::vector<std::string> rows;
  for (const json& event : events("M")) {
    if (event.at("name") == "thread_name") rows.push_back(event.at("args").at("name"));
  }
  EXPECT_EQ(rows, (std::vector<std::string>{"group 0: send", "group 0: receive", "group 0: exchange", "group 1: send",
                                            "group 1: receive", "group 1: exchange"}));
}

TEST_F(TraceFile, PartsHoldStagesThatHoldWaits) {
  const std::shared_ptr<Trace> trace = open();
  auto track = trace->make_track(0, kRows);
  {
    TracedPart part(track.get(), 1);
    track->enter(2, "combine", 9, true);
    const std::int64_t begin = trace_clock();
    track->waited(begin, begin + 10, 3, 2);
    track->enter(0, "combine", 9, false);
    part.moved(4096);
  }
  EXPECT_TRUE(events("X").empty());  // written at the end
  track.reset();
  const std::vector<json> written = events("X");
  ASSERT_EQ(written.size(), 4U);
  const json &wait = written[0], &stage = written[1], &second = written[2], &part = written[3];
  EXPECT_EQ(wait.at("name"), "wait for rank 3");
  EXPECT_EQ(wait.at("args"), (json{{"epoch", 9}, {"operation", "combine"}, {"missing", 2}}));
  EXPECT_EQ(stage.at("name"), "combine");
  EXPECT_EQ(stage.at("cat"), "exchange");
  EXPECT_EQ(stage.at("args"), (json{{"epoch", 9}, {"bytes", 4096}}));
  EXPECT_EQ(second.at("args"), (json{{"epoch", 9}}));
  EXPECT_EQ(part.at("cat"), "receive");
  EXPECT_EQ(part.at("args"), (json{{"epoch", 9}, {"bytes", 4096}}));
  EXPECT_EQ(wait.at("tid"), stage.at("tid"));
  EXPECT_NE(part.at("tid"), stage.at("tid"));
  EXPECT_LE(part.at("ts"), stage.at("ts"));
  EXPECT_LE(stage.at("ts"), wait.at("ts"));
  EXPECT_GE(stage.at("dur"), 0.0);
}

TEST_F(TraceFile, KeepsTheLatestEventsAndSaysHowManyItDropped) {
  const std::shared_ptr<Trace> trace = open({.max_events = 5});
  auto track = trace->make_track(0, kRows);
  for (std::uint64_t epoch = 1; epoch <= 10; ++epoch) record_part(*track, epoch, 100 * epoch);
  track.reset();
  const std::vector<json> written = events("X");
  ASSERT_EQ(written.size(), 5U);
  EXPECT_EQ(written.front().at("args").at("epoch"), 8);  // its part: two events for each
  EXPECT_EQ(written.back().at("args"), (json{{"epoch", 10}, {"bytes", 1000}}));
  ASSERT_EQ(events("i").size(), 1U);
  EXPECT_EQ(events("i").front().at("name"), "15 earlier events dropped");
  EXPECT_EQ(events("i").front().at("args").at("dropped"), 15);
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_NE(lines_.front().find("15 were dropped"), std::string::npos) << lines_.front();
}

TEST_F(TraceFile, EventsOfAnotherClockAreMappedOnce) {
  const std::shared_ptr<Trace> trace = open({.max_events = 3});
  auto track = trace->make_track(0, kRows);
  for (std::int64_t i = 0; i < 5; ++i) {
    track->add({.name = "dispatch", .begin_ns = 1000 * i, .end_ns = 1000 * i + 500, .epoch = 7, .row = 2});
  }
  track->map_times([](std::int64_t ns) { return 3 * ns + 1'000'000; });
  track.reset();
  const std::vector<json> written = events("X");
  ASSERT_EQ(written.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_DOUBLE_EQ(written[i].at("ts").get<double>(), 1000 + 3 * static_cast<double>(i + 2)) << written[i];
    EXPECT_DOUBLE_EQ(written[i].at("dur").get<double>(), 1.5) << written[i];
    EXPECT_EQ(written[i].at("cat"), "exchange");
  }
}

TEST_F(TraceFile, AFailureIsAnEventWhateverItsText) {
  const std::string reason = "RY-ABORTED: rank 0: \"why\\not\"\n\t\x01 \xC3\xA9 \xFF \xED\xA0\x80 \xF0\x9F\x9A\x82";
  const std::shared_ptr<Trace> trace = open();
  auto track = trace->make_track(0, kRows);
  record_part(*track, 1, 0);
  track->fail(reason);
  track->fail("a pending dispatch was dropped");
  track.reset();
  const std::vector<json> failures = events("i");
  ASSERT_EQ(failures.size(), 2U);
  EXPECT_EQ(failures[0].at("name"), "RY-ABORTED");
  EXPECT_EQ(failures[0].at("args").at("message"),
            "RY-ABORTED: rank 0: \"why\\not\"\n\t\x01 \xC3\xA9 \xEF\xBF\xBD "
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD \xF0\x9F\x9A\x82");
  EXPECT_EQ(failures[1].at("name"), "suspended");
}

TEST_F(TraceFile, ItsNameMayHaveRankAndProcess) {
  const std::string name = path_.native() + "_{pid}_{rank}_{else}";
  const std::string expected = path_.native() + "_" + std::to_string(::getpid()) + "_7_{else}";
  { const auto trace = open({.file = name, .first_rank = 7}); }
  EXPECT_TRUE(std::filesystem::remove(expected)) << expected;
}

TEST_F(TraceFile, IsRefusedWhereItCannotBeWritten) {
  for (const auto& [file, why] : {std::pair{"/no/such/folder/trace.json", "(errno 2)"}, std::pair{"/", "(errno 21)"},
                                  std::pair{"/dev/full", "(errno 28)"}}) {
    const std::string text = refusal({.file = file});
    EXPECT_NE(text.find("RAILYARD_TRACE=\"" + std::string(file) + "\""), std::string::npos) << text;
    EXPECT_NE(text.find(why), std::string::npos) << text;
  }
}

// Status of `check` in a process whose limit of `resource` is `bytes`.
template <typename Check>
int under(decltype(RLIMIT_AS) resource, std::size_t bytes, Check check) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
    ::_exit(::setrlimit(resource, &limit) == 0 ? check() : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_F(TraceFile, ALimitOfFilesIsAnErrorNotASignal) {
  const int status = under(RLIMIT_FSIZE, 8192, [&] {
    const std::shared_ptr<Trace> trace = open();
    auto track = trace->make_track(0, kRows);
    for (std::uint64_t epoch = 1; epoch <= 100; ++epoch) record_part(*track, epoch, 0);
    track.reset();
    if (lines_.size() != 1) return 2;
    if (lines_.front().find("files may have 8192 bytes (ulimit -f)") == std::string::npos) return 3;
    if (!lines_.front().ends_with("it has what came before")) return 4;
    track = trace->make_track(0, kRows);
    record_part(*track, 1000, 0);
    track.reset();
    return lines_.size() == 1 ? 0 : 5;
  });
  EXPECT_EQ(status, 0);
  const std::vector<json> written = events("X");
  ASSERT_EQ(written.size(), 2U);  // of the group that had room
  EXPECT_EQ(written.front().at("args").at("epoch"), 1000);
  EXPECT_EQ(
      under(RLIMIT_FSIZE, 8, [&] { return refusal({}).find("8 bytes (ulimit -f)") != std::string::npos ? 0 : 1; }), 0);
}

#if !defined(RAILYARD_SANITIZED)  // which need address space of their own
TEST_F(TraceFile, NoMemoryForItsEventsIsAnErrorWithTheBytes) {
  const std::shared_ptr<Trace> trace = open({.first_rank = 3, .max_events = std::size_t{1} << 24});
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const std::size_t bytes = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + (std::size_t{64} << 20);
  const int status = under(RLIMIT_AS, bytes, [&] {
    try {
      static_cast<void>(trace->make_track(3, kRows));
    } catch (const Error& error) {
      const std::string text = error.what();
      const bool named = text.starts_with("RY-OUT-OF-MEMORY: rank 3: 1073741824 bytes for the trace of a group") &&
                         text.find(std::to_string(bytes) + " bytes (RLIMIT_AS, ulimit -v)") != std::string::npos;
      return named ? 0 : 2;
    } catch (const std::bad_alloc&) {
      return 3;
    }
    return 4;
  });
  EXPECT_EQ(status, 0);
}
#endif

TEST_F(TraceFile, BelongsToOneWorldAtATime) {
  auto trace = open();
  auto track = trace->make_track(0, kRows);
  trace.reset();  // the group goes on
  EXPECT_NE(refusal({}).find("another world writes it"), std::string::npos);
  record_part(*track, 1, 0);
  track.reset();
  EXPECT_EQ(events("X").size(), 2U);
  trace = open();
  EXPECT_TRUE(events("X").empty());  // made anew
}

}  // namespace
}  // namespace railyard::diagnostics
