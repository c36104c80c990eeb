// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

namespace railyard::symmetric_memory {

/// Bytes that this process could take without swapping: of the machine (MemAvailable), and of every control group
/// (version 1 or 2) that it is in, what they hold for files counted as free. What cannot be read does not limit.
/// `root`: where proc and sys are.
[[nodiscard]] std::size_t available_memory(const std::filesystem::path& root = "/");

/// Processes of one machine that may take memory at the same time, each by what it has read of the memory available.
inline constexpr std::size_t kMostTakers = 128;
inline constexpr std::size_t kLeastStep = std::size_t{256} << 10;
/// What stays free: all of them may take their least step at once.
inline constexpr std::size_t kMargin = kMostTakers * kLeastStep;

/// Of `wanted` bytes, how many one of them may take before it looks again: its share of `available`, at most 64 MiB.
/// Zero: none, only the margin is left.
[[nodiscard]] std::size_t next_step(std::size_t wanted, std::size_t available) noexcept;

}  // namespace railyard::symmetric_memory
