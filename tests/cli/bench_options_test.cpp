// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/options.hpp"
#include "cli/exit_status.hpp"

#include <gtest/gtest.h>
#include <CLI/CLI.hpp>

#include <string>

namespace railyard::cli::bench {
namespace {

/// What the program gets from "railyard bench <arguments>".
Options parse(const std::string& arguments) {
  CLI::App app{"", "railyard"};
  CLI::App* bench = app.add_subcommand("bench", "");
  const auto options = add_options(*bench);
  app.parse("bench " + arguments, false);
  return options();
}

std::string usage_error_of(const std::string& arguments) {
  try {
    (void)parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(BenchOptions, DefaultsAreThoseOfTheHost) {
  const Options options = parse("throughput");
  EXPECT_EQ(options.device_kind(), DeviceKind::host);
  EXPECT_EQ(options.tokens, std::vector<int>{1024});
  EXPECT_TRUE(options.sms.empty());
  EXPECT_TRUE(options.devices.empty());
  EXPECT_TRUE(options.plot.empty());
  EXPECT_EQ(parse("low-latency").tokens, std::vector<int>{128});
}

TEST(BenchOptions, ListsAreSeparatedByCommas) {
  EXPECT_EQ(parse("throughput --tokens 1,2,30").tokens, (std::vector<int>{1, 2, 30}));
}

TEST(BenchOptions, WhatBelongsToGpusIsRefusedOnTheHost) {
  EXPECT_NE(usage_error_of("throughput --sms 8").find("--sms is 8"), std::string::npos);
  EXPECT_NE(usage_error_of("link --devices 2,3").find("--devices is 2"), std::string::npos);
  EXPECT_NE(usage_error_of("throughput --peers nccl").find("'nccl'"), std::string::npos);
}

#if defined(RAILYARD_CUDA)
TEST(BenchOptions, SweepsOfCuda) {
  const Options options =
      parse("throughput --device cuda --ranks 4 --devices 1,0 --sms 8,16 --tokens 64,4096 --peers nccl --plot a.svg");
  EXPECT_EQ(options.device_kind(), DeviceKind::cuda);
  EXPECT_EQ(options.devices, (std::vector<int>{1, 0}));
  EXPECT_EQ(options.sms, (std::vector<int>{8, 16}));
  EXPECT_TRUE(options.peers_include("nccl"));
  EXPECT_EQ(options.plot, "a.svg");
  EXPECT_EQ(parse("throughput --device cuda").tokens, std::vector<int>{4096});
}

TEST(BenchOptions, CudaRefusesWhatItCannotDo) {
  EXPECT_NE(usage_error_of("throughput --device cuda --sms 65").find("at most 64"), std::string::npos);
  EXPECT_NE(usage_error_of("throughput --device cuda --peers memcpy").find("'memcpy'"), std::string::npos);
  EXPECT_NE(usage_error_of("throughput --device cuda --peers nccl --layout expert_major").find("rank_major"),
            std::string::npos);
  EXPECT_NE(usage_error_of("low-latency --device cuda").find("--device cuda"), std::string::npos);
  EXPECT_NE(usage_error_of("throughput --device cuda --explain").find("--explain"), std::string::npos);
  EXPECT_NE(usage_error_of("link --device cuda --peers nccl").find("--peers"), std::string::npos);
  EXPECT_NE(usage_error_of("throughput --device cuda --reuse-buffers").find("--reuse-buffers"), std::string::npos);
}
#else
TEST(BenchOptions, CudaIsNotInThisBuild) {
  EXPECT_NE(usage_error_of("throughput --device cuda").find("not in this build"), std::string::npos);
}
#endif

}  // namespace
}  // namespace railyard::cli::bench
