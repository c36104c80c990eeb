// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/launch_environment.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace railyard::bootstrap {
namespace {

class LaunchEnvironmentTest : public testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }

  static void set(const char* name, const char* value) { ::setenv(name, value, 1); }
  static void set_torchrun() {
    set("RANK", "5");
    set("WORLD_SIZE", "16");
    set("LOCAL_RANK", "1");
    set("MASTER_ADDR", "node-7");
    set("MASTER_PORT", "29500");
  }
  static std::string error() {
    try {
      static_cast<void>(read_launch_environment());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

 private:
  static void clear() {
    for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID",
                             "MASTER_ADDR", "MASTER_PORT"}) {
      ::unsetenv(name);
    }
  }
};

TEST_F(LaunchEnvironmentTest, TorchrunBeforeOpenMpiBeforeSlurm) {
  set("SLURM_PROCID", "1");
  set("SLURM_NTASKS", "2");
  set("SLURM_LOCALID", "0");
  set("MASTER_ADDR", "::1");
  set("MASTER_PORT", "100");
  LaunchEnvironment read = read_launch_environment();
  EXPECT_EQ(read.rank, 1);
  EXPECT_EQ(read.size, 2);
  EXPECT_EQ(read.local_rank, 0);
  EXPECT_EQ(read.address, "::1");
  EXPECT_EQ(read.port, 101);
  set("OMPI_COMM_WORLD_RANK", "3");
  set("OMPI_COMM_WORLD_SIZE", "4");
  set("OMPI_COMM_WORLD_LOCAL_RANK", "2");
  read = read_launch_environment();
  EXPECT_EQ(read.rank, 3);
  EXPECT_EQ(read.size, 4);
  EXPECT_EQ(read.local_rank, 2);
  set_torchrun();
  read = read_launch_environment();
  EXPECT_EQ(read.rank, 5);
  EXPECT_EQ(read.size, 16);
  EXPECT_EQ(read.local_rank, 1);
  EXPECT_EQ(read.address, "node-7");
  EXPECT_EQ(read.port, 29501);
}

TEST_F(LaunchEnvironmentTest, AnExternalRendezvousNeedsNoMaster) {
  set_torchrun();
  EXPECT_FALSE(read_launch_environment().external);
  ::unsetenv("MASTER_ADDR");
  set("MASTER_PORT", "none");
  const LaunchEnvironment read = read_launch_environment(diagnostics::Endpoint{.host = "node-1", .port = 29501});
  EXPECT_EQ(read.rank, 5);
  EXPECT_EQ(read.size, 16);
  EXPECT_EQ(read.address, "node-1");
  EXPECT_EQ(read.port, 29501);
  EXPECT_TRUE(read.external);
}

TEST_F(LaunchEnvironmentTest, NamesTheLauncher) {
  EXPECT_EQ(launcher_name(), "");
  set("SLURM_PROCID", "1");
  EXPECT_EQ(launcher_name(), "Slurm");
  set("OMPI_COMM_WORLD_RANK", "");
  EXPECT_EQ(launcher_name(), "Open MPI");
  set("RANK", "5");
  EXPECT_EQ(launcher_name(), "torchrun");
}

TEST_F(LaunchEnvironmentTest, NamesWhatIsMissing) {
  EXPECT_NE(error().find("RY-ENVIRONMENT: none of RANK (torchrun), OMPI_COMM_WORLD_RANK"), std::string::npos);
  for (const char* name : {"WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}) {
    set_torchrun();
    ::unsetenv(name);
    EXPECT_EQ(error(), "RY-ENVIRONMENT: " + std::string(name) + " is not set; ranks as processes of torchrun need it");
    set(name, "");
    EXPECT_NE(error().find(std::string(name) + " is not set"), std::string::npos);
  }
}

TEST_F(LaunchEnvironmentTest, NamesWhatCannotBeRead) {
  const auto expect = [](const char* name, const char* value, const std::string& accepted) {
    set_torchrun();
    set(name, value);
    EXPECT_EQ(error(),
              "RY-ENVIRONMENT: " + std::string(name) + "=\"" + value + "\" cannot be read; accepted: " + accepted);
  };
  expect("RANK", "16", "0 to 15");
  expect("RANK", "-1", "0 to 15");
  expect("RANK", "5x", "0 to 15");
  expect("RANK", " 5", "0 to 15");
  set_torchrun();
  expect("WORLD_SIZE", "0", "1 to 4096");
  expect("WORLD_SIZE", "4097", "1 to 4096");
  expect("WORLD_SIZE", "99999999999", "1 to 4096");
  set_torchrun();
  expect("MASTER_PORT", "65535", "1 to 65534");
  expect("MASTER_PORT", "0", "1 to 65534");
}

}  // namespace
}  // namespace railyard::bootstrap
