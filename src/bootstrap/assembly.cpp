// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/assembly.hpp"

#include "bootstrap/bootstrap.hpp"
#include "bootstrap/deadline.hpp"
#include "diagnostics/format.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <type_traits>

namespace railyard::bootstrap {
namespace {

constexpr std::size_t kMaxKeyBytes = 1024;

// Numbers and texts, one after the other.
class Writer {
 public:
  template <typename T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void text(std::string_view value) {
    number(static_cast<std::uint64_t>(value.size()));
    bytes_ += value;
  }
  void block(const std::vector<std::byte>& value) { text({reinterpret_cast<const char*>(value.data()), value.size()}); }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// The reverse. What is not there reads as zero or empty, and `whole()` says so.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}
  template <typename T>
  [[nodiscard]] T number() {
    T value{};
    if (left_.size() < sizeof(value)) {
      short_ = true;
      return value;
    }
    std::memcpy(&value, left_.data(), sizeof(value));
    left_.remove_prefix(sizeof(value));
    return value;
  }
  [[nodiscard]] std::string_view text() {
    const auto size = number<std::uint64_t>();
    if (size > left_.size()) {
      short_ = true;
      return {};
    }
    const std::string_view value = left_.substr(0, size);
    left_.remove_prefix(size);
    return value;
  }
  [[nodiscard]] std::vector<std::byte> block() {
    const std::string_view value = text();
    const auto* const data = reinterpret_cast<const std::byte*>(value.data());
    return {data, data + value.size()};
  }
  /// A count of elements that take at least `bytes` each.
  [[nodiscard]] std::size_t count(std::size_t bytes) {
    const auto value = number<std::uint64_t>();
    if (value <= left_.size() / bytes) return value;
    short_ = true;
    return 0;
  }
  /// Everything was there, and nothing more.
  [[nodiscard]] bool whole() const noexcept { return !short_ && left_.empty(); }

 private:
  std::string_view left_;
  bool short_ = false;
};

}  // namespace

std::string AssemblyCall::text() const {
  return diagnostics::format("rank {} calls the group's ranks to recover{}{}", by, reason.empty() ? "" : ": ", reason);
}

void throw_unless_met(const AssemblyAnswer& answer, std::string_view purpose, std::chrono::nanoseconds timeout) {
  if (answer.code == ErrorCode::ok) return;
  const bool waited = answer.code == ErrorCode::timeout;
  throw Error(answer.code, diagnostics::format("{}: {}{}", purpose, answer.text,
                                               waited ? diagnostics::format(" within {} ms", in_milliseconds(timeout))
                                                      : std::string()));
}

bool Assemblies::is_valid(const AssemblyRequest& request, int rank, int num_ranks) {
  const std::vector<int>& members = request.members;
  return !request.key.empty() && request.key.size() <= kMaxKeyBytes && request.group.size() <= kMaxKeyBytes &&
         request.reason.size() <= kMaxReasonBytes && request.quorum <= Quorum::join && !members.empty() &&
         members.front() >= 0 && members.back() < num_ranks &&
         std::ranges::adjacent_find(members, std::greater_equal<>{}) == members.end() &&
         std::ranges::binary_search(members, rank);
}

bool Assemblies::attend(int rank, AssemblyRequest request) {
  if (!is_valid(request, rank, static_cast<int>(present_.size()))) return false;
  if (request.quorum == Quorum::join) {
    const std::string group = request.group;
    joiners_[group][rank] = std::move(request);
    return true;
  }
  const std::vector<int>& members = request.members;
  const std::string key = request.key;
  const auto [found, is_new] = assemblies_.try_emplace(key);
  Assembly& assembly = found->second;
  if (is_new) {
    assembly.members = members;
    assembly.quorum = request.quorum;
  }
  if (assembly.members != members || assembly.quorum != request.quorum) {
    answers_.push_back({rank,
                        {key,
                         ErrorCode::operation_mismatch,
                         diagnostics::format("rank {} and the ranks before it mean different members: {} and {}", rank,
                                             fmt::join(members, ", "), fmt::join(assembly.members, ", ")),
                         {}}});
    return true;
  }
  if (!assembly.decided.empty()) {
    answers_.push_back(
        {rank,
         {key,
          ErrorCode::masked,
          diagnostics::format("ranks {} have agreed to go on without rank {}", fmt::join(assembly.decided, ", "), rank),
          {}}});
    return true;
  }
  if (assembly.parts.empty() && assembly.quorum == Quorum::majority) {
    for (const int member : members) {
      if (member != rank && present_[static_cast<std::size_t>(member)])
        calls_.push_back({member, {key, rank, request.reason}});
    }
  }
  assembly.parts[rank] = std::move(request);
  assembly.came.insert(rank);
  close_if_complete(key, assembly);
  return true;
}

void Assemblies::stop(int rank, const std::string& key, bool close_now) {
  for (auto& [group, joiners] : joiners_) {
    const auto joiner = joiners.find(rank);
    if (joiner == joiners.end() || joiner->second.key != key) continue;
    joiners.erase(joiner);
    return answers_.push_back({rank, {key, ErrorCode::timeout, "no recovery of the group's ranks took it in", {}}});
  }
  const auto found = assemblies_.find(key);
  if (found == assemblies_.end() || !found->second.parts.contains(rank)) return;  // it has its answer
  Assembly& assembly = found->second;
  if (close_now && has_majority(assembly)) return close(key, assembly);
  const std::string absent = missing(assembly);
  const bool needs_all = assembly.quorum == Quorum::all;
  answers_.push_back({rank,
                      {key,
                       needs_all ? ErrorCode::timeout : ErrorCode::no_majority,
                       needs_all ? diagnostics::format("ranks {} did not arrive", absent)
                                 : diagnostics::format("ranks {} did not come, and the others are no majority of {}",
                                                       absent, assembly.members.size()),
                       {}}});
  assembly.parts.erase(rank);
  if (assembly.parts.empty()) assemblies_.erase(found);
}

void Assemblies::remove(int rank) {
  present_[static_cast<std::size_t>(rank)] = false;
  for (auto& [group, joiners] : joiners_) joiners.erase(rank);
  for (auto next = assemblies_.begin(); next != assemblies_.end();) {
    const auto current = next++;  // it may be erased
    Assembly& assembly = current->second;
    if (!std::ranges::binary_search(assembly.members, rank)) continue;
    assembly.parts.erase(rank);
    if (assembly.parts.empty()) {
      if (!may_have_late_members(assembly)) assemblies_.erase(current);
    } else {
      close_if_complete(current->first, assembly);
    }
  }
}

// Once everyone has come who still may.
void Assemblies::close_if_complete(const std::string& key, Assembly& assembly) {
  const bool awaited = std::ranges::any_of(assembly.members, [&](int member) {
    return present_[static_cast<std::size_t>(member)] && !assembly.parts.contains(member);
  });
  if (assembly.quorum == Quorum::majority) {
    if (awaited) return;
    if (has_majority(assembly)) return close(key, assembly);
    fail(key, assembly, ErrorCode::no_majority,
         diagnostics::format("ranks {} have gone, and the others are no majority of {}", missing(assembly),
                             assembly.members.size()));
    assemblies_.erase(std::string(key));
    return;
  }
  const bool all_present =
      std::ranges::all_of(assembly.members, [&](int member) { return present_[static_cast<std::size_t>(member)]; });
  if (all_present && awaited) return;
  if (all_present) return close(key, assembly);
  std::vector<int> gone;
  std::ranges::copy_if(assembly.members, std::back_inserter(gone),
                       [&](int member) { return !present_[static_cast<std::size_t>(member)]; });
  fail(key, assembly, ErrorCode::aborted, diagnostics::format("ranks {} have gone", fmt::join(gone, ", ")));
  assemblies_.erase(std::string(key));
}

void Assemblies::close(const std::string& key, Assembly& assembly) {
  if (assembly.quorum == Quorum::majority) {
    assembly.parts.merge(joiners_[assembly.parts.begin()->second.group]);  // none of them is a member
  }
  auto attendance = std::make_shared<Attendance>();
  for (auto& [rank, part] : assembly.parts) {
    attendance->ranks.push_back(rank);
    attendance->blocks.push_back(std::move(part.block));
    attendance->objects.push_back(std::move(part.object));
  }
  for (const auto& [rank, part] : assembly.parts) {
    answers_.push_back({rank, {part.key, ErrorCode::ok, {}, attendance}});
  }
  if (assembly.quorum == Quorum::all) {
    assemblies_.erase(std::string(key));
    return;
  }
  assembly.decided = attendance->ranks;
  assembly.parts.clear();
  if (!may_have_late_members(assembly)) assemblies_.erase(std::string(key));
}

// Of a majority that has closed: they are told that they are masked.
bool Assemblies::may_have_late_members(const Assembly& assembly) const {
  return !assembly.decided.empty() && std::ranges::any_of(assembly.members, [&](int member) {
    return present_[static_cast<std::size_t>(member)] && !std::ranges::binary_search(assembly.decided, member);
  });
}

void Assemblies::fail(const std::string& key, const Assembly& assembly, ErrorCode code, const std::string& text) {
  for (const auto& [rank, part] : assembly.parts) answers_.push_back({rank, {key, code, text, {}}});
}

bool Assemblies::has_majority(const Assembly& assembly) const {
  return assembly.quorum == Quorum::majority &&
         is_majority(assembly.parts.size(), assembly.members.size(), assembly.parts.contains(assembly.members.front()));
}

// Those who never came; if everybody has, those who gave up.
std::string Assemblies::missing(const Assembly& assembly) const {
  std::vector<int> ranks;
  std::ranges::set_difference(assembly.members, assembly.came, std::back_inserter(ranks));
  if (ranks.empty()) {
    std::ranges::copy_if(assembly.members, std::back_inserter(ranks),
                         [&](int member) { return !assembly.parts.contains(member); });
  }
  return diagnostics::format("{}", fmt::join(ranks, ", "));
}

std::string encode(const AssemblyRequest& request) {
  Writer to;
  to.text(request.key);
  to.number(static_cast<std::uint64_t>(request.members.size()));
  for (const int member : request.members) to.number(static_cast<std::int32_t>(member));
  to.number(static_cast<std::uint8_t>(request.quorum));
  to.text(request.group);
  to.text(request.reason);
  to.block(request.block);
  return to.take();
}

std::optional<AssemblyRequest> decode_request(std::string_view bytes) {
  Reader from(bytes);
  AssemblyRequest request;
  request.key = from.text();
  for (std::size_t left = from.count(sizeof(std::int32_t)); left > 0; --left) {
    request.members.push_back(from.number<std::int32_t>());
  }
  request.quorum = static_cast<Quorum>(from.number<std::uint8_t>());
  request.group = from.text();
  request.reason = from.text();
  request.block = from.block();
  if (!from.whole()) return std::nullopt;
  return request;
}

std::string encode(const AssemblyAnswer& answer) {
  Writer to;
  to.text(answer.key);
  to.number(static_cast<std::uint8_t>(answer.code));
  to.text(answer.text);
  const std::size_t count = answer.attendance ? answer.attendance->ranks.size() : 0;
  to.number(static_cast<std::uint64_t>(count));
  for (std::size_t index = 0; index < count; ++index) {
    to.number(static_cast<std::int32_t>(answer.attendance->ranks[index]));
    to.block(answer.attendance->blocks[index]);
  }
  return to.take();
}

std::optional<AssemblyAnswer> decode_answer(std::string_view bytes) {
  Reader from(bytes);
  AssemblyAnswer answer;
  answer.key = from.text();
  answer.code = static_cast<ErrorCode>(from.number<std::uint8_t>());
  answer.text = from.text();
  auto attendance = std::make_shared<Attendance>();
  for (std::size_t left = from.count(sizeof(std::int32_t)); left > 0; --left) {
    attendance->ranks.push_back(from.number<std::int32_t>());
    attendance->blocks.push_back(from.block());
  }
  attendance->objects.resize(attendance->ranks.size());
  if (!from.whole()) return std::nullopt;
  answer.attendance = std::move(attendance);
  return answer;
}

std::string encode(const AssemblyCall& call) {
  Writer to;
  to.text(call.key);
  to.number(static_cast<std::int32_t>(call.by));
  to.text(call.reason);
  return to.take();
}

std::optional<AssemblyCall> decode_call(std::string_view bytes) {
  Reader from(bytes);
  AssemblyCall call;
  call.key = from.text();
  call.by = from.number<std::int32_t>();
  call.reason = from.text();
  if (!from.whole()) return std::nullopt;
  return call;
}

// What a bootstrap without assemblies says of them.

Attendance Bootstrap::assemble(AssemblyRequest request, std::chrono::nanoseconds, AbortFlag&) {
  throw Error(ErrorCode::unsupported,
              diagnostics::format("{}: this rendezvous has no collectives of some ranks", request.purpose));
}

std::shared_ptr<AbortFlag> Bootstrap::departure_flag(int) { return nullptr; }

std::shared_ptr<AbortFlag> Bootstrap::call_flag(const std::string&) { return std::make_shared<AbortFlag>(); }

}  // namespace railyard::bootstrap
