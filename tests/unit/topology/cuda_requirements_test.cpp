// SPDX-License-Identifier: Apache-2.0
#include "topology/cuda_requirements.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace railyard::topology {
namespace {

// What `check` says with RY-UNSUPPORTED; "" if it is content.
template <typename Check>
std::string refusal_of(const Check& check) {
  try {
    check();
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    return error.what();
  }
}

void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
}

TEST(Driver, OldOnesAreRefusedWithBothVersions) {
  EXPECT_EQ(refusal_of([] { check_driver(12040, 12040); }), "");
  EXPECT_EQ(refusal_of([] { check_driver(13010, 12040); }), "");
  expect_parts(refusal_of([] { check_driver(12030, 12040); }), {"CUDA 12.3", "at least 12.4", "update it"});
  expect_parts(refusal_of([] { check_driver(12080, 13000); }), {"CUDA 12.8", "at least 13.0"});
  expect_parts(refusal_of([] { check_driver(0, 12040); }), {"no CUDA driver"});
}

TEST(Peers, WhatTheyCannotDoIsNamed) {
  EXPECT_EQ(refusal_of([] { check_peer(0, 1, true, true); }), "");
  for (const bool atomics : {false, true}) {
    expect_parts(refusal_of([&] { check_peer(2, 5, false, atomics); }),
                 {"cuda:2 cannot access the memory of cuda:5", "NVLink", "choose other devices"});
  }
  expect_parts(refusal_of([] { check_peer(2, 5, true, false); }),
               {"cuda:2 cannot add atomically in the memory of cuda:5"});
}

std::string refusal_of_connections(int ranks, const char* variable) {
  return refusal_of([&] { check_device_connections(3, ranks, variable); });
}

TEST(DeviceConnections, EachRankHasOne) {
  for (const char* const variable : {"32", "64"}) {
    for (const int ranks : {1, 2, 20, 32}) EXPECT_EQ(refusal_of_connections(ranks, variable), "");
  }
}

TEST(DeviceConnections, ARankAloneNeedsNone) {
  for (const char* const variable : {static_cast<const char*>(nullptr), "1", "", "many"}) {
    EXPECT_EQ(refusal_of_connections(1, variable), "");
  }
}

TEST(DeviceConnections, TooFewAreRefusedWithWhatToSet) {
  for (const char* const variable : {static_cast<const char*>(nullptr), "8", "", "many"}) {
    expect_parts(refusal_of_connections(2, variable),
                 {"2 ranks", "device 3", "with 8 ", "CUDA_DEVICE_MAX_CONNECTIONS=32"});
  }
  expect_parts(refusal_of_connections(2, "31"), {"with 31 "});
}

TEST(DeviceConnections, MoreRanksThanCudaHasAreRefusedWhateverIsSet) {
  for (const char* const variable : {"32", "64"}) {
    for (const int ranks : {33, 64}) {
      expect_parts(refusal_of_connections(ranks, variable),
                   {std::to_string(ranks) + " ranks", "device 3", "most 32", "put ranks on more devices"});
    }
  }
}

}  // namespace
}  // namespace railyard::topology
