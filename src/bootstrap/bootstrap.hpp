// SPDX-License-Identifier: Apache-2.0
// How ranks agree on anything before they share memory: one collective, and an abort flag.
#pragma once

#include "bootstrap/abort_flag.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace railyard::bootstrap {

/// One rank's end. Its collectives are called by one thread at a time.
class Bootstrap {
 public:
  virtual ~Bootstrap() = default;
  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;

  /// Collective: `all` receives size() blocks of `bytes` in rank order. `purpose` names the call in errors.
  /// RY-TIMEOUT names the missing ranks and takes this rank's part back, so that the call may be repeated;
  /// RY-OPERATION-MISMATCH if the ranks' purposes or sizes differ; RY-ABORTED.
  virtual void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                          std::chrono::nanoseconds timeout) = 0;

  /// Whether all ranks are threads of this process. If so `share` hands over objects; if not it is RY-UNSUPPORTED, and
  /// memory travels as descriptors (bootstrap/descriptor_exchange.hpp). The same on all ranks.
  [[nodiscard]] virtual bool one_process() const noexcept = 0;

  /// Collective, between ranks of one process: everybody's object, in rank order. Once the call completes, a rank that
  /// fails later takes nothing back: the objects live until every rank has let go of its copy. Same errors.
  [[nodiscard]] virtual std::vector<std::shared_ptr<void>> share(std::shared_ptr<void> mine, std::string_view purpose,
                                                                 std::chrono::nanoseconds timeout) = 0;

  /// Raises the world's abort flag and wakes all collectives.
  virtual void abort(std::string_view reason) = 0;
  [[nodiscard]] virtual const std::shared_ptr<AbortFlag>& abort_flag() const noexcept = 0;
};

}  // namespace railyard::bootstrap
