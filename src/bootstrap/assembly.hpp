// SPDX-License-Identifier: Apache-2.0
// Assemblies: collectives of some of a world's ranks, which may close without those that do not come.
#pragma once

#include "bootstrap/abort_flag.hpp"

#include <railyard/error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::bootstrap {

enum class Quorum : std::uint8_t {
  all,       // every member: a collective
  majority,  // more than half of the members, or half with the lowest of them: a decision who goes on
  join,      // a rank that is no member: waits for the group's next majority assembly, and goes on with it
};

/// Whether `present` of the `members`, with or without the lowest, may go on without the rest. Of two disjoint sets of
/// members at most one may.
[[nodiscard]] constexpr bool is_majority(std::size_t present, std::size_t members, bool with_lowest) noexcept {
  return 2 * present > members || (2 * present == members && with_lowest);
}

inline constexpr std::size_t kMaxReasonBytes = 512;

/// What a rank brings to an assembly.
struct AssemblyRequest {
  std::string purpose;       // of the call, for this rank's errors
  std::string key;           // at most 1 KiB; equal on all who meet. A key's majority assembly closes once, for good
  std::vector<int> members;  // ascending, equal on all who meet; this rank is one of them
  Quorum quorum = Quorum::all;
  std::string group = {};             // majority, join: whose
  std::string reason = {};            // majority: of its first rank, for the others; at most kMaxReasonBytes
  std::vector<std::byte> block;       // sizes may differ
  std::shared_ptr<void> object = {};  // between ranks of one process only
};

/// Who takes part, ascending, and what they brought.
struct Attendance {
  std::vector<int> ranks;
  std::vector<std::vector<std::byte>> blocks;
  std::vector<std::shared_ptr<void>> objects;
};

/// How an assembly ended for one rank: ok, or why not.
struct AssemblyAnswer {
  std::string key;
  ErrorCode code = ErrorCode::ok;
  std::string text;
  std::shared_ptr<const Attendance> attendance;  // if ok
};

/// What a member hears of a majority assembly that it has not come to.
struct AssemblyCall {
  std::string key;
  int by = 0;  // who came first
  std::string reason;

  /// For an error of the rank that is called.
  [[nodiscard]] std::string text() const;
};

/// What Bootstrap::call_flag hands out. Under the lock of whoever has it. A flag lives as long as somebody holds it;
/// one that has been raised, until nobody can ask for it any more.
class CallFlags {
 public:
  [[nodiscard]] std::shared_ptr<AbortFlag> of(const std::string& key) {
    std::erase_if(flags_, [](const auto& other) { return other.second.use_count() == 1 && !other.second->raised(); });
    std::shared_ptr<AbortFlag>& flag = flags_[key];
    if (!flag) flag = std::make_shared<AbortFlag>();
    return flag;
  }
  /// Whoever asks from now on is not told that the assembly has been called.
  void forget(const std::string& key) { flags_.erase(key); }
  [[nodiscard]] std::size_t size() const noexcept { return flags_.size(); }

 private:
  std::map<std::string, std::shared_ptr<AbortFlag>> flags_;
};

/// Throws what the answer says, unless it is ok.
void throw_unless_met(const AssemblyAnswer& answer, std::string_view purpose, std::chrono::nanoseconds timeout);

/// The assemblies of a world: decides, and hands out what is to be said. One thread at a time. It has no clock: a rank
/// whose deadline has passed says so.
class Assemblies {
 public:
  explicit Assemblies(int num_ranks) : present_(static_cast<std::size_t>(num_ranks), true) {}

  /// False: a request that no rank of the world makes.
  [[nodiscard]] bool attend(int rank, AssemblyRequest request);
  /// The rank waits no longer. `close`: with a majority there, those who are there go on. It is answered, unless it has
  /// been already.
  void stop(int rank, const std::string& key, bool close);
  /// The rank has gone or left: nobody waits for it.
  void remove(int rank);

  [[nodiscard]] std::vector<std::pair<int, AssemblyAnswer>> take_answers() { return std::exchange(answers_, {}); }
  /// Those that wait for somebody, and those that have closed without a rank that may still come.
  [[nodiscard]] std::size_t size() const noexcept { return assemblies_.size(); }
  [[nodiscard]] bool knows(const std::string& key) const { return assemblies_.contains(key); }
  /// The members that are to hear of a call.
  [[nodiscard]] std::vector<std::pair<int, AssemblyCall>> take_calls() { return std::exchange(calls_, {}); }

 private:
  struct Assembly {
    std::vector<int> members;
    Quorum quorum = Quorum::all;
    std::map<int, AssemblyRequest> parts;  // of those who wait
    std::set<int> came;                    // also those who gave up since
    std::vector<int> decided;              // majority, closed: who goes on
  };

  void close_if_complete(const std::string& key, Assembly& assembly);
  void close(const std::string& key, Assembly& assembly);
  void fail(const std::string& key, const Assembly& assembly, ErrorCode code, const std::string& text);
  [[nodiscard]] bool has_majority(const Assembly& assembly) const;
  [[nodiscard]] bool may_have_late_members(const Assembly& assembly) const;
  [[nodiscard]] static bool is_valid(const AssemblyRequest& request, int rank, int num_ranks);
  [[nodiscard]] std::string missing(const Assembly& assembly) const;

  std::vector<bool> present_;  // [rank]
  std::map<std::string, Assembly> assemblies_;
  std::map<std::string, std::map<int, AssemblyRequest>> joiners_;  // by group and rank
  std::vector<std::pair<int, AssemblyAnswer>> answers_;
  std::vector<std::pair<int, AssemblyCall>> calls_;
};

/// Requests (without purposes and objects), answers and calls as they travel. Decoding fails for bytes that are none.
[[nodiscard]] std::string encode(const AssemblyRequest& request);
[[nodiscard]] std::string encode(const AssemblyAnswer& answer);
[[nodiscard]] std::string encode(const AssemblyCall& call);
[[nodiscard]] std::optional<AssemblyRequest> decode_request(std::string_view bytes);
[[nodiscard]] std::optional<AssemblyAnswer> decode_answer(std::string_view bytes);
[[nodiscard]] std::optional<AssemblyCall> decode_call(std::string_view bytes);

}  // namespace railyard::bootstrap
