// SPDX-License-Identifier: Apache-2.0
// The stages of an operation, as timeouts name them and tests delay them.
#pragma once

#include <cstdint>
#include <string_view>

namespace railyard::transports {

enum class Stage : std::uint8_t {
  slot,      // wait until every peer has received the operation that used this mailbox slot before
  exchange,  // publish counts and grant, wait for everyone's
  write,     // rows go to their destinations
  arrival,   // wait for the rows of every source
  place,     // low latency: rows move from wire slots to the lease
  pull,      // combine reads its peers' rows
  readers,   // wait until every peer has read this rank's rows
};

[[nodiscard]] std::string_view name(Stage stage) noexcept;

}  // namespace railyard::transports
