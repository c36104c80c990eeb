// SPDX-License-Identifier: Apache-2.0
// What waits on a GPU say of their peers, as sentences. Read from pinned memory, where kernels may write meanwhile.
#pragma once

#include "device/wait_report.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace railyard::throughput {

/// What ended the waits of `rank`'s group, a report whose `code` is not 0: whom the first of them waited for, and who
/// else was missing in that operation, with what was expected and seen. All of them once the kernel has ended.
/// `abort_reason`: why, if waits were aborted.
[[nodiscard]] std::string describe_failure(device::WaitReport& report, int rank, std::string_view abort_reason);

/// An operation under way that misses peers since HostControl::warn_ns.
struct CudaLateOperation {
  device::Operation operation = device::Operation::none;
  std::uint64_t epoch = 0;
  std::string place;  // operation, stage and epoch
  std::string peers;  // all of them, with what is expected and was seen when each became late

  [[nodiscard]] bool is_same(const CudaLateOperation& other) const noexcept {
    return operation == other.operation && epoch == other.epoch;
  }
};
/// At `rank`, whose own blocks are no peers. Empty in a group that has failed.
[[nodiscard]] std::optional<CudaLateOperation> find_late_operation(device::WaitReport& report, int rank);

}  // namespace railyard::throughput
