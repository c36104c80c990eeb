// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <railyard/version.hpp>
#include <string>

namespace {

TEST(Version, LibraryAndHeadersAgree) {
  EXPECT_EQ(railyard::version(), RAILYARD_VERSION_STRING);
  EXPECT_EQ(std::string(railyard::version()), std::to_string(RAILYARD_VERSION_MAJOR) + "." +
                                                  std::to_string(RAILYARD_VERSION_MINOR) + "." +
                                                  std::to_string(RAILYARD_VERSION_PATCH));
}

TEST(Version, CommitIsTwelveDigitsOrUnknown) {
  const std::string commit(railyard::commit());
  if (commit == "unknown") {
    return;
  }
  EXPECT_GE(commit.size(), 12U);
  EXPECT_EQ(commit.substr(0, 12).find_first_not_of("0123456789abcdef"), std::string::npos) << commit;
  EXPECT_TRUE(commit.size() == 12 || commit.substr(12) == "-modified") << commit;
}

}  // namespace
