// SPDX-License-Identifier: Apache-2.0
// The stages of an operation, as timeouts and traces name them and tests delay them.
#pragma once

#include <cstdint>
#include <span>
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

/// The rows of a group in a trace: the parts of its operations, then the stages.
inline constexpr int kSendRow = 0;
inline constexpr int kReceiveRow = 1;
[[nodiscard]] constexpr int trace_row(Stage stage) noexcept { return kReceiveRow + 1 + static_cast<int>(stage); }
[[nodiscard]] std::span<const std::string_view> trace_rows() noexcept;

}  // namespace railyard::transports
