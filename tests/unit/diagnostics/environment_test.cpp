// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/environment.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace railyard::diagnostics {
namespace {

// Sets a variable for one test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

std::string refusal(const char* name, const char* value) {
  const Variable variable(name, value);
  try {
    static_cast<void>(read_environment());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::environment);
    return error.what();
  }
  return "accepted";
}

TEST(Environment, UnsetMeansDefaults) {
  const Environment environment = read_environment();
  EXPECT_FALSE(environment.log_level);
  EXPECT_FALSE(environment.timeout);
  EXPECT_EQ(environment.debug, 0);
  EXPECT_EQ(environment.gpu_handles, GpuHandles::fd);
  EXPECT_FALSE(environment.trace_file);
  EXPECT_FALSE(environment.rendezvous);
}

TEST(Environment, ReadsEveryVariable) {
  const Variable log("RAILYARD_LOG", "debug");
  const Variable timeout("RAILYARD_TIMEOUT_S", "2.5");
  const Variable debug("RAILYARD_DEBUG", "1");
  const Variable handles("RAILYARD_GPU_HANDLES", "fabric");
  const Variable trace("RAILYARD_TRACE", "trace of {rank}.json");
  const Variable rendezvous("RAILYARD_RENDEZVOUS", "[::1]:80");
  const Environment environment = read_environment();
  EXPECT_EQ(environment.log_level, LogLevel::debug);
  EXPECT_EQ(environment.timeout, std::chrono::milliseconds(2500));
  EXPECT_EQ(environment.debug, 1);
  EXPECT_EQ(environment.gpu_handles, GpuHandles::fabric);
  EXPECT_EQ(environment.trace_file, "trace of {rank}.json");
  ASSERT_TRUE(environment.rendezvous);
  EXPECT_EQ(environment.rendezvous->host, "::1");
  EXPECT_EQ(environment.rendezvous->port, 80);
}

TEST(Environment, RefusesWhatItCannotRead) {
  for (const char* value : {"", "Warn", "5", "off "}) {
    EXPECT_NE(refusal("RAILYARD_LOG", value).find("off, error, warn, info, debug"), std::string::npos) << value;
  }
  for (const char* value : {"", "0", "-1", "1e7", "nan", "inf", "3s", "1e-12"}) {
    EXPECT_NE(refusal("RAILYARD_TIMEOUT_S", value).find(value), std::string::npos) << value;
  }
  for (const char* value : {"", "2", "yes"}) {
    EXPECT_NE(refusal("RAILYARD_DEBUG", value).find("0, 1"), std::string::npos) << value;
  }
  for (const char* value : {"", "FD", "fabric ", "posix", "0"}) {
    const std::string text = refusal("RAILYARD_GPU_HANDLES", value);
    EXPECT_NE(text.find('"' + std::string(value) + "\" cannot be read; accepted: fd, fabric"), std::string::npos)
        << text;
  }
  const Variable default_handles("RAILYARD_GPU_HANDLES", "fd");
  EXPECT_EQ(read_environment().gpu_handles, GpuHandles::fd);
  EXPECT_NE(refusal("RAILYARD_TRACE", "").find("a file name"), std::string::npos);
  EXPECT_NE(refusal("RAILYARD_RENDEZVOUS", "node-7").find("HOST:PORT"), std::string::npos);
}

TEST(Environment, ASecretThatIsTooLongIsRefusedAndNotTold) {
  const std::string longest(256, 's');
  {
    const Variable secret("RAILYARD_SECRET", longest.c_str());
    EXPECT_EQ(read_environment().secret, longest);
  }
  EXPECT_EQ(refusal("RAILYARD_SECRET", (longest + "s").c_str()),
            "RY-ENVIRONMENT: RAILYARD_SECRET has 257 bytes; at most 256");
}

TEST(Environment, EveryFaultIsNamed) {
  EXPECT_TRUE(environment_faults().empty());
  const Variable log("RAILYARD_LOG", "loud");
  const Variable timeout("RAILYARD_TIMEOUT_S", "2.5");
  const Variable debug("RAILYARD_DEBUG", "x");
  const std::vector<std::string> faults = environment_faults();
  ASSERT_EQ(faults.size(), 2U);
  EXPECT_TRUE(faults[0].starts_with("RY-ENVIRONMENT: RAILYARD_LOG=\"loud\"")) << faults[0];
  EXPECT_TRUE(faults[1].starts_with("RY-ENVIRONMENT: RAILYARD_DEBUG=\"x\"")) << faults[1];
}

TEST(Environment, VariablesThatNothingReadsAreNamed) {
  const Variable known("RAILYARD_LOG", "warn");
  const Variable misspelt("RAILYARD_LOGS", "warn");
  EXPECT_EQ(unread_variables(), std::vector<std::string>{"RAILYARD_LOGS"});
}

}  // namespace
}  // namespace railyard::diagnostics
