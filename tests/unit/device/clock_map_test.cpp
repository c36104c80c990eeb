// SPDX-License-Identifier: Apache-2.0
#include "device/clock_map.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace railyard::device {
namespace {

// As they are: a GPU counts from 1970, the host from its start.
constexpr std::int64_t kDevice = 1'795'000'000'000'000'000;
constexpr std::int64_t kHost = 55'000'000'000'000;

TEST(ClockMap, BothMomentsAreWhereTheyWere) {
  const ClockPair first{.device_ns = kDevice, .host_ns = kHost};
  const ClockPair second{.device_ns = kDevice + 60'000'000'000, .host_ns = kHost + 60'000'900'000};  // 15 us a second
  const ClockMap map(first, second);
  EXPECT_EQ(map.to_host(first.device_ns), first.host_ns);
  EXPECT_NEAR(static_cast<double>(map.to_host(second.device_ns) - second.host_ns), 0, 2);
  EXPECT_NEAR(static_cast<double>(map.to_host(kDevice + 20'000'000'000) - (kHost + 20'000'300'000)), 0, 2);
  EXPECT_NEAR(static_cast<double>(map.to_host(kDevice - 1'000'000) - (kHost - 1'000'015)), 0, 2);
}

TEST(ClockMap, OneMomentIsEnoughWhereNothingDrifts) {
  const ClockPair only{.device_ns = kDevice, .host_ns = kHost};
  const ClockMap map(only, only);
  EXPECT_EQ(map.to_host(kDevice + 123'456'789'012'345), kHost + 123'456'789'012'345);
}

// What was in order stays in order, to the nanosecond.
TEST(ClockMap, KeepsOrder) {
  for (const std::int64_t drift : {-40'000, 40'000}) {  // 40 ppm of a second
    const ClockMap map({.device_ns = kDevice, .host_ns = kHost},
                       {.device_ns = kDevice + 1'000'000'000, .host_ns = kHost + 1'000'000'000 + drift});
    std::int64_t before = map.to_host(kDevice);
    for (std::int64_t ns = 1; ns < 200'000; ++ns) {
      const std::int64_t now = map.to_host(kDevice + ns);
      ASSERT_GE(now, before) << ns;
      before = now;
    }
  }
}

}  // namespace
}  // namespace railyard::device
