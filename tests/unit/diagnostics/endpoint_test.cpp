// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/endpoint.hpp"

#include <gtest/gtest.h>

#include <string>

namespace railyard::diagnostics {
namespace {

std::string read(const char* text) {
  const std::optional<Endpoint> endpoint = parse_endpoint(text);
  return endpoint ? endpoint->host + " " + std::to_string(endpoint->port) : "";
}

TEST(Endpoint, HostAndPort) {
  EXPECT_EQ(read("node-7:29501"), "node-7 29501");
  EXPECT_EQ(read("10.0.0.1:1"), "10.0.0.1 1");
  EXPECT_EQ(read("[fe80::1]:65535"), "fe80::1 65535");
}

TEST(Endpoint, WhatIsNone) {
  for (const char* text : {"", "node-7", "::1", "::1:80", "fe80::1", ":80", "node-7:", "node-7:0", "node-7:65536",
                           "node-7:-1", "node-7:80x", "node-7: 80"}) {
    EXPECT_EQ(read(text), "") << text;
  }
}

}  // namespace
}  // namespace railyard::diagnostics
