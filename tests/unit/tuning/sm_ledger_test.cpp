// SPDX-License-Identifier: Apache-2.0
#include "tuning/sm_ledger.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace railyard::tuning {
namespace {

// Devices that no machine has: the ledger is that of the process.
constexpr int kDevice = 1000;
constexpr int kOther = 1001;

TEST(SmLedger, GrantsUpToWhatTheDeviceHas) {
  const auto first = reserve_sms(kDevice, 32, 16, "a group of rank 0");
  const auto second = reserve_sms(kDevice, 32, 16, "a group of rank 1");
  const auto elsewhere = reserve_sms(kOther, 32, 32, "a group of rank 2");
  EXPECT_TRUE(first && second && elsewhere);
}

TEST(SmLedger, NamesWantedAvailableAndHolders) {
  const auto first = reserve_sms(kDevice, 32, 20, "a group of rank 0");
  try {
    const auto refused = reserve_sms(kDevice, 32, 13, "a group of rank 1");
    ADD_FAILURE() << "33 of 32 SMs were reserved";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    const std::string text = error.what();
    for (const char* part : {"a group of rank 1 wants 13", "has 32 with 20 reserved", "a group of rank 0: 20"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
    }
  }
}

TEST(SmLedger, ReservationsEndWithTheirHolder) {
  auto first = reserve_sms(kDevice, 32, 32, "a group of rank 0");
  first.reset();
  EXPECT_NE(reserve_sms(kDevice, 32, 32, "a group of rank 1"), nullptr);
}

}  // namespace
}  // namespace railyard::tuning
