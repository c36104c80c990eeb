// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

namespace railyard::symmetric_memory {

/// Bytes that this process could take without swapping: of the machine (MemAvailable), and of every control group
/// (version 1 or 2) that it is in, what they hold for files counted as free. What cannot be read does not limit.
/// `root`: where proc and sys are.
[[nodiscard]] std::size_t available_memory(const std::filesystem::path& root = "/");

}  // namespace railyard::symmetric_memory
