// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/thread_bootstrap.hpp"

#include "bootstrap/deadline.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <fmt/ranges.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace railyard::bootstrap {
namespace {

// What one rank brings to a collective.
struct Part {
  std::vector<std::byte> bytes;
  std::shared_ptr<void> object;
  std::string purpose;
  bool arrived = false;  // also if the rank gave up since
};

// One collective: complete when every rank has contributed, gone when every rank has read it.
struct Round {
  explicit Round(int size) : parts(static_cast<std::size_t>(size)) {}

  std::vector<Part> parts;  // [rank]
  int contributed = 0;
  int read = 0;
};

class Hub {
 public:
  Hub(int size, std::vector<std::weak_ptr<Bootstrap>> earlier)
      : size_(size), flag_(std::make_shared<AbortFlag>()), earlier_(std::move(earlier)), assemblies_(size) {}

  /// Calls `read(parts)` once every rank has brought its part. `sequence` counts this rank's completed collectives;
  /// unchanged by one that fails before completion.
  template <typename Read>
  void meet(int rank, std::uint64_t& sequence, Part mine, std::chrono::nanoseconds timeout, Read read) {
    std::unique_lock lock(mutex_);
    throw_if_aborted(mine.purpose);
    const std::string purpose = mine.purpose;
    const std::size_t bytes = mine.bytes.size();
    Round& round = contribute(rank, sequence, std::move(mine));
    changed_.wait_for(lock, std::min(timeout, kLongestTimeout),
                      [&] { return round.contributed == size_ || flag_->raised(); });
    if (round.contributed == size_) {
      const std::string mismatch = find_mismatch(round, purpose, bytes);
      if (mismatch.empty()) read(round.parts);
      if (++round.read == size_) rounds_.erase(sequence);
      ++sequence;
      if (!mismatch.empty()) throw Error(ErrorCode::operation_mismatch, mismatch);
      return;
    }
    const std::vector<int> missing = missing_ranks(round);
    round.parts[static_cast<std::size_t>(rank)].object.reset();
    if (--round.contributed == 0) rounds_.erase(sequence);
    throw_if_aborted(purpose);
    throw Error(ErrorCode::timeout,
                diagnostics::format("{}: ranks {} did not arrive within {} ms", purpose, fmt::join(missing, ", "),
                                    std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()));
  }

  Attendance assemble(int rank, AssemblyRequest request, std::chrono::nanoseconds timeout, AbortFlag& cancel) {
    const std::string purpose = request.purpose;
    const std::string key = request.key;
    const Clock::time_point deadline = deadline_after(timeout);
    const auto watch = cancel.watch([this] { wake(); });
    std::unique_lock lock(mutex_);
    throw_if_aborted(purpose);
    if (!assemblies_.attend(rank, std::move(request))) {
      throw Error(ErrorCode::invalid_argument, diagnostics::format("{}: not an assembly of this world", purpose));
    }
    std::optional<AssemblyAnswer>& answer = answers_[{rank, key}];
    const auto ended = [&] { return answer.has_value() || flag_->raised() || cancel.raised(); };
    deliver(lock);
    changed_.wait_until(lock, deadline, ended);
    if (!answer) {
      assemblies_.stop(rank, key, !flag_->raised() && !cancel.raised());
      deliver(lock);
    }
    const AssemblyAnswer mine = std::move(*answer);
    answers_.erase({rank, key});
    if (!assemblies_.knows(key)) calls_.forget(key);
    lock.unlock();
    // Where the assembly has closed with this rank, it must know.
    if (mine.code != ErrorCode::ok) throw_if_aborted(purpose);
    if (mine.code != ErrorCode::ok && cancel.raised()) {
      throw Error(ErrorCode::aborted, diagnostics::format("{}: {}", purpose, cancel.reason()));
    }
    throw_unless_met(mine, purpose, timeout);
    return *mine.attendance;
  }

  [[nodiscard]] std::shared_ptr<AbortFlag> call_flag(const std::string& key) {
    const std::lock_guard lock(mutex_);
    return calls_.of(key);
  }

  void abort(std::string_view reason) {
    if (flag_->raised()) return;
    flag_->raise(reason);
    wake();
    for (const std::weak_ptr<Bootstrap>& earlier : earlier_) {
      if (const std::shared_ptr<Bootstrap> alive = earlier.lock()) alive->abort(reason);
    }
  }

  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& flag() const noexcept { return flag_; }

 private:
  // So that whoever has looked at a flag before it was raised is waiting now.
  void wake() {
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }

  // Hands out what the assemblies have decided. Flags are raised without the lock: their watchers may take it.
  void deliver(std::unique_lock<std::mutex>& lock) {
    for (auto& [rank, answer] : assemblies_.take_answers()) {
      const std::string key = answer.key;
      answers_[{rank, key}] = std::move(answer);
    }
    changed_.notify_all();
    const auto calls = assemblies_.take_calls();
    if (calls.empty()) return;
    const AssemblyCall& call = calls.front().second;
    const std::shared_ptr<AbortFlag> called = calls_.of(call.key);
    lock.unlock();
    called->raise(call.text());
    lock.lock();
  }

  Round& contribute(int rank, std::uint64_t sequence, Part mine) {
    Round& round = rounds_.try_emplace(sequence, size_).first->second;
    mine.arrived = true;
    round.parts[static_cast<std::size_t>(rank)] = std::move(mine);
    if (++round.contributed == size_) changed_.notify_all();
    return round;
  }

  static std::string find_mismatch(const Round& round, std::string_view purpose, std::size_t bytes) {
    for (std::size_t other = 0; other < round.parts.size(); ++other) {
      const Part& part = round.parts[other];
      if (part.purpose != purpose || part.bytes.size() != bytes) {
        return diagnostics::format("this rank called {} with {} bytes, rank {} called {} with {} bytes", purpose, bytes,
                                   other, part.purpose, part.bytes.size());
      }
    }
    return {};
  }

  [[nodiscard]] std::vector<int> missing_ranks(const Round& round) const {
    std::vector<int> ranks;
    for (int rank = 0; rank < size_; ++rank) {
      if (!round.parts[static_cast<std::size_t>(rank)].arrived) ranks.push_back(rank);
    }
    return ranks;
  }

  void throw_if_aborted(std::string_view purpose) const {
    if (flag_->raised()) throw Error(ErrorCode::aborted, diagnostics::format("{}: {}", purpose, flag_->reason()));
  }

  const int size_;
  std::shared_ptr<AbortFlag> flag_;
  const std::vector<std::weak_ptr<Bootstrap>> earlier_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Round> rounds_;
  Assemblies assemblies_;
  CallFlags calls_;
  std::map<std::pair<int, std::string>, std::optional<AssemblyAnswer>> answers_;  // by rank and key
};

class ThreadBootstrap final : public Bootstrap {
 public:
  ThreadBootstrap(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return hub_->size(); }

  [[nodiscard]] bool one_process() const noexcept override { return true; }

  void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                  std::chrono::nanoseconds timeout) override {
    const auto* data = static_cast<const std::byte*>(mine);
    Part part{.bytes = {data, data + bytes}, .object = {}, .purpose = std::string(purpose)};
    hub_->meet(rank_, sequence_, std::move(part), timeout, [&](const std::vector<Part>& parts) {
      if (bytes == 0) return;
      auto* to = static_cast<std::byte*>(all);
      for (const Part& other : parts) {
        std::memcpy(to, other.bytes.data(), bytes);
        to += bytes;
      }
    });
  }

  std::vector<std::shared_ptr<void>> share(std::shared_ptr<void> mine, std::string_view purpose,
                                           std::chrono::nanoseconds timeout) override {
    std::vector<std::shared_ptr<void>> all;
    Part part{.bytes = {}, .object = std::move(mine), .purpose = std::string(purpose)};
    hub_->meet(rank_, sequence_, std::move(part), timeout, [&](const std::vector<Part>& parts) {
      for (const Part& other : parts) all.push_back(other.object);
    });
    return all;
  }

  Attendance assemble(AssemblyRequest request, std::chrono::nanoseconds timeout, AbortFlag& cancel) override {
    return hub_->assemble(rank_, std::move(request), timeout, cancel);
  }
  std::shared_ptr<AbortFlag> call_flag(const std::string& key) override { return hub_->call_flag(key); }

  void abort(std::string_view reason) override { hub_->abort(reason); }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& abort_flag() const noexcept override { return hub_->flag(); }

 private:
  std::shared_ptr<Hub> hub_;
  const int rank_;
  std::uint64_t sequence_ = 0;
};

}  // namespace

std::vector<std::shared_ptr<Bootstrap>> make_thread_bootstraps(int size,
                                                               std::vector<std::weak_ptr<Bootstrap>> earlier) {
  auto hub = std::make_shared<Hub>(size, std::move(earlier));
  std::vector<std::shared_ptr<Bootstrap>> bootstraps;
  for (int rank = 0; rank < size; ++rank) bootstraps.push_back(std::make_shared<ThreadBootstrap>(hub, rank));
  return bootstraps;
}

}  // namespace railyard::bootstrap
