// SPDX-License-Identifier: Apache-2.0
// Limits that the system sets this process (ulimit), as they are now.
#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <optional>
#include <string>

namespace railyard::diagnostics {

/// The soft limit of `resource` (RLIMIT_AS and others); nothing where there is none, or it cannot be read.
[[nodiscard]] std::optional<std::size_t> resource_limit(decltype(RLIMIT_AS) resource) noexcept;

/// Bytes that a file may have (RLIMIT_FSIZE). What would make it longer ends the process (SIGXFSZ): look beforehand.
[[nodiscard]] std::size_t largest_file() noexcept;

/// What the system says of `error`, an errno, and the limit that may be why: of address space (ENOMEM), of open files
/// (EMFILE), or of a file's size (EFBIG).
[[nodiscard]] std::string error_and_limit(int error);

}  // namespace railyard::diagnostics
