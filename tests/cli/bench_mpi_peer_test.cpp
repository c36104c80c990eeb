// SPDX-License-Identifier: Apache-2.0
// What is made of a peer's answer, whatever the peer. (The real one: program_test.py.)
#include "cli/bench/mpi_peer.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace railyard::cli::bench {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> shell(const std::string& script) { return {"sh", "-c", script}; }

template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

std::string refusal(const std::string& script, std::chrono::milliseconds silence = 60s) {
  return error_of([&] { static_cast<void>(answer_of(shell(script), silence)); });
}

std::string refusal_of(const std::string& answer) {
  return error_of([&] { static_cast<void>(results_of(Options{}, answer)); });
}

TEST(MpiPeer, MayTakeAsLongAsItGivesSignsOfLife) {
  EXPECT_EQ(answer_of(shell("for i in 1 2 3 4 5 6; do sleep 0.5; echo; done; echo '{}'"), 2s), "\n\n\n\n\n\n{}\n");
}

TEST(MpiPeer, ThatIsSilentIsATimeout) {
  EXPECT_EQ(refusal("echo; exec sleep 60", 300ms), "RY-TIMEOUT: the peer mpi gave no sign of life for 0.3 s");
}

TEST(MpiPeer, ThatFailsIsNamedWithItsStatus) {
  EXPECT_EQ(refusal("exit 3"), "RY-RANK-FAILED: the peer mpi ended with status 3");
  EXPECT_EQ(refusal("kill -9 $$"), "RY-RANK-FAILED: the peer mpi ended with status 137");
  EXPECT_NE(refusal("exit 127").find("RY-UNSUPPORTED: --peers mpi: mpirun cannot be started"), std::string::npos);
}

TEST(MpiPeer, ItsResultsBecomeOurs) {
  const std::vector<Result> results =
      results_of(Options{},
                 "\n\n"
                 R"({"library": "Some MPI", "results": [{"name": "mpi", "operation": "dispatch", "tokens": 8,)"
                 R"("wire_bytes": 3000, "us_median": 2.0, "us_p99": 4.0, "verified": true}]})");
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].algorithm, "MPI_Alltoallv of Some MPI");
  EXPECT_EQ(results[0].wire_bytes, 3000);
  EXPECT_DOUBLE_EQ(results[0].gbps, 1.5);
}

TEST(MpiPeer, AnAnswerThatIsNoneIsNamedWithWhatIsWrong) {
  EXPECT_EQ(refusal_of("mpirun: no slots"), "RY-RANK-FAILED: the peer mpi wrote something that is no JSON");
  EXPECT_EQ(refusal_of("{}"), "RY-RANK-FAILED: the peer mpi wrote JSON that cannot be used: key 'results' not found");
  EXPECT_EQ(refusal_of(R"({"results": [{"name": 3}]})"),
            "RY-RANK-FAILED: the peer mpi wrote JSON that cannot be used: type must be string, but is number");
}

}  // namespace
}  // namespace railyard::cli::bench
