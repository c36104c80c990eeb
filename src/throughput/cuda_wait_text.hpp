// SPDX-License-Identifier: Apache-2.0
// What waits on a GPU say of their peers, as sentences. Read from pinned memory, where kernels may write meanwhile.
#pragma once

#include "device/wait_report.hpp"

#include <string>
#include <string_view>

namespace railyard::throughput {

/// What ended the waits of `rank`'s group, a report whose `code` is not 0: whom the first of them waited for, and who
/// else was missing in that operation, with what was expected and seen. All of them once the kernel has ended.
/// `abort_reason`: why, if waits were aborted.
[[nodiscard]] std::string describe_failure(device::WaitReport& report, int rank, std::string_view abort_reason);

}  // namespace railyard::throughput
