// SPDX-License-Identifier: Apache-2.0
// How ranks agree on anything before they share memory: one collective, and an abort flag; and how those that are left
// agree when others have gone.
#pragma once

#include "bootstrap/abort_flag.hpp"
#include "bootstrap/assembly.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::bootstrap {

inline constexpr int kMaxRanks = 4096;  // of a world

/// One rank's end. Its collectives are called by one thread at a time; assemblies of different keys by any threads.
class Bootstrap {
 public:
  virtual ~Bootstrap() = default;
  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;
  /// As errors name a rank: where these are some ranks of a world, the number there.
  [[nodiscard]] virtual int rank_in_world(int rank) const { return rank; }

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
  /// Raised when the world of all ranks is over: by `abort`, or because a rank's process has gone.
  [[nodiscard]] virtual const std::shared_ptr<AbortFlag>& abort_flag() const noexcept = 0;

  /// Collective of the request's members (assembly.hpp), beside the others' sequence and with ranks gone. Throws
  /// RY-TIMEOUT (Quorum::all: names who did not come; this rank's part is taken back), RY-MASKED, RY-NO-MAJORITY,
  /// RY-OPERATION-MISMATCH, and RY-ABORTED: by `cancel`, by what raises survivor_flag(), and with Quorum::all when a
  /// member has gone or left. After `timeout` a majority that is there goes on without the others.
  [[nodiscard]] virtual Attendance assemble(AssemblyRequest request, std::chrono::nanoseconds timeout,
                                            AbortFlag& cancel);
  /// Raised when those who are left cannot go on either: by `abort`, or because whom all meet through has gone.
  [[nodiscard]] virtual const std::shared_ptr<AbortFlag>& survivor_flag() const noexcept { return abort_flag(); }
  /// Raised when that rank's process has gone; null where ranks are threads, which do not go alone.
  [[nodiscard]] virtual std::shared_ptr<AbortFlag> departure_flag(int rank);
  /// Raised when some rank has come to the Quorum::majority assembly of this key. To be held as long as it is watched.
  [[nodiscard]] virtual std::shared_ptr<AbortFlag> call_flag(const std::string& key);
};

}  // namespace railyard::bootstrap
