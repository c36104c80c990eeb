// SPDX-License-Identifier: Apache-2.0
// File descriptors of memory (memfd, exports of CUDA's virtual memory management) between processes of one machine.
#pragma once

#include "bootstrap/bootstrap.hpp"
#include "bootstrap/file_descriptor.hpp"

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::bootstrap {

inline constexpr int kMaxDescriptorsPerRank = 250;  // the kernel takes 253 in one message

/// What ranks must have in common to hand descriptors to each other: the boot of the machine (its boot id), and the
/// network namespace, in which the sockets' names are known. Never throws; empty parts where /proc is not mounted.
[[nodiscard]] std::string machine_identity();

/// Collective, over any bootstrap, between ranks of one machine, threads or processes: result[r] are rank r's
/// descriptors in its order, duplicated, close-on-exec, owned by the caller; result[rank()] are duplicates of `mine`,
/// which stay the caller's. Ranks may bring different numbers, also none. When the call returns, every rank has
/// everyone's; what fails on one rank after all have arrived fails on all. Errors as `Bootstrap::all_gather`, and
///   RY-UNSUPPORTED       names a rank of another machine or network namespace (all ranks throw, nothing is sent)
///   RY-INVALID-ARGUMENT  more than kMaxDescriptorsPerRank, or not a descriptor
///   RY-OUT-OF-MEMORY     names a rank that may not open so many, or whose found no room on their way until the
///                        deadline: processes of a user may have as many under way as one may open, unless privileged
/// `machine` is what is compared.
[[nodiscard]] std::vector<std::vector<FileDescriptor>> exchange_descriptors(
    Bootstrap& bootstrap, std::span<const int> mine, std::string_view purpose, std::chrono::nanoseconds timeout,
    std::string_view machine = machine_identity());

}  // namespace railyard::bootstrap
