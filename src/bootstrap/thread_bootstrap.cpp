// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/thread_bootstrap.hpp"

#include <railyard/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace railyard::bootstrap {
namespace {

// One all-gather: complete when every rank has contributed, gone when every rank has read it.
struct Round {
  explicit Round(int size) : parts(static_cast<std::size_t>(size)), arrived(parts.size()), purposes(parts.size()) {}

  std::vector<std::vector<std::byte>> parts;  // [rank]
  std::vector<char> arrived;                  // [rank], also of ranks that gave up since
  std::vector<std::string> purposes;          // [rank]
  int contributed = 0;
  int read = 0;
};

class Hub {
 public:
  explicit Hub(int size) : size_(size), flag_(std::make_shared<AbortFlag>()) {}

  /// `sequence` counts this rank's completed collectives; unchanged by one that fails before completion.
  void all_gather(int rank, std::uint64_t& sequence, const void* mine, void* all, std::size_t bytes,
                  std::string_view purpose, std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    throw_if_aborted(purpose);
    Round& round = contribute(rank, sequence, mine, bytes, purpose);
    changed_.wait_for(lock, timeout, [&] { return round.contributed == size_ || flag_->raised(); });
    if (round.contributed == size_) return read(round, sequence++, all, bytes, purpose);
    const std::vector<int> missing = missing_ranks(round);
    if (--round.contributed == 0) rounds_.erase(sequence);
    throw_if_aborted(purpose);
    throw Error(ErrorCode::timeout,
                fmt::format("{}: ranks {} did not arrive within {} ms", purpose, fmt::join(missing, ", "),
                            std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()));
  }

  void abort(std::string_view reason) {
    {
      const std::lock_guard lock(mutex_);
      flag_->raise(reason);
    }
    changed_.notify_all();
  }

  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& flag() const noexcept { return flag_; }

 private:
  Round& contribute(int rank, std::uint64_t sequence, const void* mine, std::size_t bytes, std::string_view purpose) {
    Round& round = rounds_.try_emplace(sequence, size_).first->second;
    const auto index = static_cast<std::size_t>(rank);
    const auto* data = static_cast<const std::byte*>(mine);
    round.parts[index].assign(data, data + bytes);
    round.arrived[index] = 1;
    round.purposes[index] = purpose;
    if (++round.contributed == size_) changed_.notify_all();
    return round;
  }

  void read(Round& round, std::uint64_t sequence, void* all, std::size_t bytes, std::string_view purpose) {
    std::string mismatch;
    for (std::size_t other = 0; other < round.parts.size(); ++other) {
      if (round.purposes[other] != purpose || round.parts[other].size() != bytes) {
        mismatch = fmt::format("this rank called {} with {} bytes, rank {} called {} with {} bytes", purpose, bytes,
                               other, round.purposes[other], round.parts[other].size());
        break;
      }
      if (bytes > 0) std::memcpy(static_cast<std::byte*>(all) + other * bytes, round.parts[other].data(), bytes);
    }
    if (++round.read == size_) rounds_.erase(sequence);
    if (!mismatch.empty()) throw Error(ErrorCode::operation_mismatch, mismatch);
  }

  [[nodiscard]] std::vector<int> missing_ranks(const Round& round) const {
    std::vector<int> ranks;
    for (int rank = 0; rank < size_; ++rank) {
      if (!round.arrived[static_cast<std::size_t>(rank)]) ranks.push_back(rank);
    }
    return ranks;
  }

  void throw_if_aborted(std::string_view purpose) const {
    if (flag_->raised()) throw Error(ErrorCode::aborted, fmt::format("{}: {}", purpose, flag_->reason()));
  }

  const int size_;
  std::shared_ptr<AbortFlag> flag_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Round> rounds_;
};

class ThreadBootstrap final : public Bootstrap {
 public:
  ThreadBootstrap(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return hub_->size(); }

  void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                  std::chrono::nanoseconds timeout) override {
    hub_->all_gather(rank_, sequence_, mine, all, bytes, purpose, timeout);
  }

  void abort(std::string_view reason) override { hub_->abort(reason); }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& abort_flag() const noexcept override { return hub_->flag(); }

 private:
  std::shared_ptr<Hub> hub_;
  const int rank_;
  std::uint64_t sequence_ = 0;
};

}  // namespace

std::vector<std::shared_ptr<Bootstrap>> make_thread_bootstraps(int size) {
  auto hub = std::make_shared<Hub>(size);
  std::vector<std::shared_ptr<Bootstrap>> bootstraps;
  for (int rank = 0; rank < size; ++rank) bootstraps.push_back(std::make_shared<ThreadBootstrap>(hub, rank));
  return bootstraps;
}

}  // namespace railyard::bootstrap
