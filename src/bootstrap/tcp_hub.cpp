// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/tcp_hub.hpp"

#include "bootstrap/tcp_socket.hpp"

#include "diagnostics/format.hpp"

#include <fmt/ranges.h>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace railyard::bootstrap {
namespace {

constexpr auto kAcceptPause = std::chrono::milliseconds(200);  // after the process ran out of descriptors
constexpr auto kFarewellTimeout = std::chrono::seconds(5);     // in which no rank takes anything more
constexpr std::size_t kMaxStrangers = 256;                     // beside the ranks; more have to wait
constexpr std::size_t kMaxHelloBytes = 4096;
constexpr std::size_t kMaxContributionBytes = kMaxBlockBytes + kMaxTextBytes + sizeof(std::uint32_t);

template <typename IsMissing>
std::string missing_ranks(int size, IsMissing is_missing) {
  std::vector<int> ranks;
  for (int rank = 0; rank < size; ++rank) {
    if (is_missing(static_cast<std::size_t>(rank))) ranks.push_back(rank);
  }
  return diagnostics::format("{}", fmt::join(ranks, ", "));
}

// Takes as long for a wrong secret as for the right one.
bool equal_in_constant_time(std::string_view one, std::string_view other) {
  if (one.size() != other.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < one.size(); ++i) difference |= static_cast<unsigned char>(one[i] ^ other[i]);
  return difference == 0;
}

}  // namespace

TcpHub::TcpHub(int size, std::string secret, std::shared_ptr<diagnostics::Log> log, FileDescriptor listener,
               FileDescriptor own_end, std::chrono::nanoseconds hello_timeout)
    : size_(size),
      is_of_rank_0_(own_end.valid()),
      secret_(std::move(secret)),
      hello_timeout_(hello_timeout),
      log_(std::move(log)),
      listener_(std::move(listener)),
      ranks_(static_cast<std::size_t>(size), nullptr),
      has_left_(static_cast<std::size_t>(size), false),
      parts_(static_cast<std::size_t>(size)),
      assemblies_(size) {
  if (!is_of_rank_0_) return;
  peers_.push_back(std::make_unique<Peer>(Peer{.connection = Connection(std::move(own_end), kMaxHelloBytes),
                                               .origin = "rank 0's process",
                                               .hello_deadline = Clock::now() + hello_timeout_,
                                               .own = true}));
}

void TcpHub::run() {
  while (!finished_) {
    wait_for_events();
    std::erase_if(peers_, [](const auto& peer) { return peer->closed; });
  }
  say_farewell();
}

void TcpHub::wait_for_events() {
  std::vector<pollfd> events;
  Clock::time_point wake = Clock::now() + std::chrono::minutes(1);
  for (const auto& peer : peers_) {
    const short wanted = peer->connection.has_output() ? POLLIN | POLLRDHUP | POLLOUT : POLLIN | POLLRDHUP;
    events.push_back({.fd = peer->connection.descriptor(), .events = wanted, .revents = 0});
    if (peer->rank < 0) wake = std::min(wake, peer->hello_deadline);
  }
  const bool full = peers_.size() >= static_cast<std::size_t>(size_) + kMaxStrangers;
  const bool paused = Clock::now() < accept_after_;
  if (paused) wake = std::min(wake, accept_after_);
  events.push_back({.fd = full || paused ? -1 : listener_.get(), .events = POLLIN, .revents = 0});
  if (::poll(events.data(), events.size(), poll_timeout_ms(wake)) < 0) return;
  const std::size_t known = peers_.size();
  for (std::size_t index = 0; index < known; ++index) take_in(*peers_[index], events[index].revents);
  // The own end is the first: what rank 0 has been told the others have been sent, and may its process stop then.
  for (std::size_t index = known; index-- > 0;) send_out(*peers_[index]);
  if (events[known].revents != 0) accept_all();
}

void TcpHub::accept_all() {
  while (peers_.size() < static_cast<std::size_t>(size_) + kMaxStrangers) {
    std::string origin;
    FileDescriptor socket = accept_from(listener_.get(), origin);
    if (!socket.valid()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        if (accept_after_ == Clock::time_point{}) {
          write_log(LogLevel::warn, diagnostics::format("rendezvous: ranks have to wait: {}; raise `ulimit -n`",
                                                        std::generic_category().message(errno)));
        }
        accept_after_ = Clock::now() + kAcceptPause;
      }
      return;
    }
    peers_.push_back(std::make_unique<Peer>(Peer{.connection = Connection(std::move(socket), kMaxHelloBytes),
                                                 .origin = std::move(origin),
                                                 .hello_deadline = Clock::now() + hello_timeout_}));
  }
}

void TcpHub::take_in(Peer& peer, short events) {
  if (peer.closed || (events & (POLLIN | POLLHUP | POLLERR)) == 0) return;
  // Ranks never close one way alone: whoever has closed before it got in is not there any more.
  if (peer.rank < 0 && !peer.refused && (events & POLLRDHUP) != 0) return close(peer);
  read(peer);
}

// Of a peer that takes nothing more: it may have said why, and that it leaves.
void TcpHub::read_to_the_end(Peer& peer) {
  constexpr int kReads = 2048;  // more than the longest message takes
  for (int i = 0; i < kReads && !peer.closed; ++i) read(peer);
}

void TcpHub::send_out(Peer& peer) {
  if (!peer.closed && peer.connection.has_output()) {
    if (!peer.connection.write_some()) {
      read_to_the_end(peer);
      return close(peer);
    }
    // The other side reads why, and closes: closing first could take the text away from it.
    if (peer.refused && !peer.connection.has_output()) peer.connection.shut_down_output();
  }
  if (peer.rank < 0 && Clock::now() >= peer.hello_deadline) close_silent(peer);
}

// Of one that was refused everything has been said.
void TcpHub::close_silent(Peer& peer) {
  if (!peer.closed && !peer.refused) {
    write_log(LogLevel::warn,
              diagnostics::format("rendezvous: closed: a connection from {} has not said within {} ms which rank it is",
                                  peer.origin, in_milliseconds(hello_timeout_)));
  }
  close(peer);
}

void TcpHub::read(Peer& peer) {
  const bool open = peer.connection.read_some();
  Message message;
  while (!peer.closed && !peer.refused) {
    const Connection::Next next = peer.connection.next(message);
    if (next == Connection::Next::none) break;
    if (next == Connection::Next::message) {
      handle(peer, message);
    } else if (peer.rank < 0) {
      refuse(peer, diagnostics::format("a connection from {} does not speak Railyard's rendezvous", peer.origin));
    } else {
      close(peer);
    }
  }
  if (peer.refused) peer.connection.discard_input();
  if (!open) close(peer);
}

void TcpHub::handle(Peer& peer, Message& message) {
  if (peer.rank < 0) return admit(peer, message);
  switch (message.kind()) {
    case MessageKind::contribute:
      return contribute(peer, message);
    case MessageKind::withdraw:
      return stage_ == Stage::joining ? take_hello_back(peer) : withdraw(peer, message.header.sequence);
    case MessageKind::attend:
      return attend(peer, message);
    case MessageKind::stop:
      assemblies_.stop(peer.rank, std::string(message.text()), message.header.sequence == 1);
      return pass_on_assemblies();
    case MessageKind::abort:
      return end(peer.rank, message.text());
    case MessageKind::ping:
      return answer_ping(peer, message.header.sequence);
    case MessageKind::leave:
      peer.left = true;
      return close(peer);
    default:
      return close(peer);
  }
}

void TcpHub::admit(Peer& peer, const Message& message) {
  const MessageHeader& hello = message.header;
  const int rank = hello.rank;
  if (hello.version != kWireVersion) {
    return refuse(peer, diagnostics::format("rank {} from {} speaks version {} of the rendezvous, {} version {}", rank,
                                            peer.origin, hello.version,
                                            is_of_rank_0_ ? "rank 0" : "the rendezvous itself", kWireVersion));
  }
  if (static_cast<MessageKind>(hello.kind) != MessageKind::hello || rank < 0 || rank >= hello.world_size) {
    return refuse(peer, diagnostics::format("a connection from {} does not begin as a rank does", peer.origin));
  }
  if (!equal_in_constant_time(message.text(), secret_)) {
    return refuse(peer, diagnostics::format("rank {} from {} does not know this job's secret", rank, peer.origin));
  }
  // Of the next world at this address: it tries again until this one has ended and somebody listens for that.
  const bool is_next = stage_ == Stage::ended || (rank < size_ && has_left_[static_cast<std::size_t>(rank)]);
  if (is_of_rank_0_ && is_next) return close(peer);
  if (hello.world_size != size_) {
    return refuse(peer,
                  diagnostics::format("rank {} from {} is of a world of {} ranks, {} of one of {}", rank, peer.origin,
                                      hello.world_size, is_of_rank_0_ ? "rank 0" : "the rendezvous", size_));
  }
  if (!is_of_rank_0_ && stage_ != Stage::joining) return put_off(peer);
  Peer*& place = ranks_[static_cast<std::size_t>(rank)];
  if (place != nullptr || stage_ != Stage::joining || (is_of_rank_0_ && (rank == 0) != peer.own)) {
    return refuse(peer, diagnostics::format("rank {} from {} is there twice: another process has joined as that rank",
                                            rank, peer.origin));
  }
  place = &peer;
  peer.rank = rank;
  peer.connection.set_max_payload(kMaxContributionBytes);
  if (std::ranges::find(ranks_, nullptr) != ranks_.end()) return;
  stage_ = Stage::running;
  write_log(LogLevel::info, diagnostics::format("rendezvous: all {} ranks have met", size_));
  MessageHeader welcome = header(MessageKind::welcome);
  welcome.sequence = is_of_rank_0_ ? 0 : 1;
  broadcast(make_packet(welcome), nullptr);
}

void TcpHub::refuse(Peer& peer, std::string reason) {
  peer.connection.queue(make_packet(header(MessageKind::refused), reason));
  write_log(LogLevel::warn, diagnostics::format("rendezvous: refused: {}", reason));
  peer.refused = true;
  last_refusal_ = std::move(reason);
  last_refusal_at_ = Clock::now();
}

// Of the next world at this rendezvous: it tries again.
void TcpHub::put_off(Peer& peer) {
  const std::string here = missing_ranks(size_, [&](std::size_t rank) { return ranks_[rank] != nullptr; });
  peer.connection.queue(make_packet(header(MessageKind::leave), here));
  peer.refused = true;
}

void TcpHub::write_log(LogLevel level, std::string_view line) {
  try {
    if (log_ && log_->enabled(level)) log_->write(level, line);
  } catch (...) {  // the caller's callback threw: nobody here can be told, and the world goes on
  }
}

void TcpHub::contribute(Peer& peer, Message& message) {
  if (stage_ == Stage::ended) return;
  std::uint32_t purpose_bytes = 0;
  const std::string_view text = message.text();
  if (stage_ != Stage::running || message.header.sequence != sequence_ || text.size() < sizeof(purpose_bytes)) {
    return close(peer);
  }
  std::memcpy(&purpose_bytes, text.data(), sizeof(purpose_bytes));
  if (purpose_bytes > text.size() - sizeof(purpose_bytes)) return close(peer);
  Part& part = parts_[static_cast<std::size_t>(peer.rank)];
  part.payload = std::move(message.payload);  // `text` still sees it
  part.purpose = text.substr(sizeof(purpose_bytes), purpose_bytes);
  part.block = text.substr(sizeof(purpose_bytes) + purpose_bytes);
  part.present = part.arrived = true;
  if (std::ranges::all_of(parts_, &Part::present)) complete();
}

void TcpHub::complete() {
  const auto differs = [](const Part& one, const Part& other) {
    return one.purpose != other.purpose || one.block.size() != other.block.size();
  };
  MessageHeader answer = header(MessageKind::gathered);
  answer.sequence = sequence_;
  if (std::ranges::none_of(parts_, [&](const Part& part) { return differs(part, parts_.front()); })) {
    std::string blocks;
    blocks.reserve(parts_.size() * parts_.front().block.size());
    for (const Part& part : parts_) blocks += part.block;
    broadcast(make_packet(answer, blocks), nullptr);
  } else {
    answer.kind = static_cast<std::uint16_t>(MessageKind::mismatch);
    for (std::size_t rank = 0; rank < parts_.size(); ++rank) {
      const Part& mine = parts_[rank];
      const auto other = std::ranges::find_if(parts_, [&](const Part& part) { return differs(part, mine); });
      if (ranks_[rank] == nullptr) continue;
      ranks_[rank]->connection.queue(make_packet(
          answer,
          diagnostics::format("this rank called {} with {} bytes, rank {} called {} with {} bytes", mine.purpose,
                              mine.block.size(), other - parts_.begin(), other->purpose, other->block.size())));
    }
  }
  parts_.assign(parts_.size(), Part{});
  ++sequence_;
}

void TcpHub::withdraw(Peer& peer, std::uint64_t sequence) {
  if (sequence != sequence_ || stage_ != Stage::running) return;  // the answer is on its way
  Part& part = parts_[static_cast<std::size_t>(peer.rank)];
  part = Part{.present = false, .arrived = true, .payload = {}, .purpose = {}, .block = {}};
  MessageHeader answer = header(MessageKind::withdrawn);
  answer.sequence = sequence;
  std::string missing = missing_ranks(size_, [&](std::size_t rank) { return !parts_[rank].arrived; });
  if (missing.empty()) {  // all came, and some gave up before
    missing = missing_ranks(size_, [&](std::size_t rank) { return !parts_[rank].present && ranks_[rank] != &peer; });
  }
  peer.connection.queue(make_packet(answer, missing));
  if (std::ranges::none_of(parts_, &Part::present)) {
    for (Part& other : parts_) other.arrived = false;
  }
}

void TcpHub::attend(Peer& peer, const Message& message) {
  if (stage_ == Stage::ended) return;
  std::optional<AssemblyRequest> request = decode_request(message.text());
  if (stage_ != Stage::running || !request || !assemblies_.attend(peer.rank, std::move(*request))) return close(peer);
  pass_on_assemblies();
}

void TcpHub::pass_on_assemblies() {
  for (const auto& [rank, answer] : assemblies_.take_answers()) {
    Peer* const to = ranks_[static_cast<std::size_t>(rank)];
    if (to != nullptr) to->connection.queue(make_packet(header(MessageKind::assembled, rank), encode(answer)));
  }
  for (const auto& [rank, call] : assemblies_.take_calls()) {
    Peer* const to = ranks_[static_cast<std::size_t>(rank)];
    if (to != nullptr) to->connection.queue(make_packet(header(MessageKind::called, call.by), encode(call)));
  }
}

void TcpHub::answer_ping(Peer& peer, std::uint64_t sequence) {
  MessageHeader answer = header(MessageKind::ping);
  answer.sequence = sequence;
  peer.connection.queue(make_packet(answer));
}

void TcpHub::take_hello_back(Peer& peer) {
  const std::string missing = missing_ranks(size_, [&](std::size_t rank) { return ranks_[rank] == nullptr; });
  const std::string refusal = last_refusal_at_ >= peer.since ? last_refusal_ : "";
  peer.connection.queue(make_packet(header(MessageKind::withdrawn), missing + '\n' + refusal));
  ranks_[static_cast<std::size_t>(peer.rank)] = nullptr;
  peer.rank = -1;
  peer.refused = true;
  peer.hello_deadline = Clock::now() + hello_timeout_;
}

void TcpHub::close(Peer& peer) {
  if (peer.closed) return;
  peer.closed = true;
  if (peer.own) finished_ = true;
  if (peer.rank < 0) return;
  ranks_[static_cast<std::size_t>(peer.rank)] = nullptr;
  if (stage_ == Stage::joining) return;
  has_left_[static_cast<std::size_t>(peer.rank)] = true;
  const MessageKind how = peer.left ? MessageKind::leave : MessageKind::gone;
  write_log(LogLevel::info, diagnostics::format("rendezvous: rank {}{}", peer.rank,
                                                peer.left ? " has left" : ": its process has gone"));
  if (!peer.own) broadcast(make_packet(header(how, peer.rank)), nullptr);
  assemblies_.remove(peer.rank);
  pass_on_assemblies();
  if (!is_of_rank_0_ && std::ranges::find(has_left_, false) == has_left_.end()) finished_ = true;
}

void TcpHub::end(int rank, std::string_view reason) {
  if (stage_ != Stage::running) return;
  stage_ = Stage::ended;
  broadcast(make_packet(header(MessageKind::abort, rank), reason), ranks_[static_cast<std::size_t>(rank)]);
}

void TcpHub::broadcast(const Packet& packet, const Peer* except) {
  for (Peer* peer : ranks_) {
    if (peer != nullptr && peer != except) peer->connection.queue(packet);
  }
}

void TcpHub::say_farewell() {
  std::string missing;
  if (stage_ == Stage::joining) {
    missing = missing_ranks(size_, [&](std::size_t rank) { return rank != 0 && ranks_[rank] == nullptr; });
  }
  broadcast(make_packet(header(MessageKind::leave, 0), missing), nullptr);
  Clock::time_point deadline = Clock::now() + kFarewellTimeout;
  while (Clock::now() < deadline) {
    std::vector<pollfd> events;
    for (Peer* peer : ranks_) {
      if (peer == nullptr || !peer->connection.has_output()) continue;
      if (peer->connection.write_some() && peer->connection.has_output()) {
        events.push_back({.fd = peer->connection.descriptor(), .events = POLLOUT, .revents = 0});
      }
    }
    if (events.empty()) break;
    if (::poll(events.data(), events.size(), poll_timeout_ms(deadline)) > 0) deadline = Clock::now() + kFarewellTimeout;
  }
}

MessageHeader TcpHub::header(MessageKind kind, int rank) const {
  return {.kind = static_cast<std::uint16_t>(kind), .world_size = size_, .rank = rank};
}

}  // namespace railyard::bootstrap
