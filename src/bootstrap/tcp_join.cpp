// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/tcp_join.hpp"

#include "bootstrap/tcp_socket.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <poll.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace railyard::bootstrap {
namespace {

constexpr auto kFirstPause = std::chrono::milliseconds(2);
constexpr auto kLongestPause = std::chrono::milliseconds(200);
constexpr auto kAnswerTimeout = std::chrono::seconds(2);  // for the answer to a hello that is taken back
constexpr std::size_t kMaxAnswerBytes = std::size_t{1} << 20;

class Joining {
 public:
  Joining(const TcpRendezvous& rendezvous, std::chrono::nanoseconds timeout, Clock::time_point deadline)
      : rendezvous_(rendezvous), timeout_(timeout), deadline_(deadline) {}

  Connection through_network() {
    std::string failure = "no attempt was made";
    for (Clock::duration pause = kFirstPause;; pause = std::min<Clock::duration>(2 * pause, kLongestPause)) {
      FileDescriptor socket = connect_to(rendezvous_.address, rendezvous_.port, deadline_, failure);
      if (socket.valid()) {
        std::optional<Connection> joined = through(std::move(socket));
        if (joined) return std::move(*joined);
        failure = "it closed the connection";
      }
      const Clock::duration left = deadline_ - Clock::now();
      if (left <= Clock::duration::zero()) {
        if (!gave_up_.empty()) {
          failure = rendezvous_.external ? gave_up_ : diagnostics::format("{}, then {}", gave_up_, failure);
        }
        throw_no_host(failure);
      }
      std::this_thread::sleep_for(std::min(pause, left));
    }
  }

  /// Nothing if the other side closed before it said anything final.
  std::optional<Connection> through(FileDescriptor socket) {
    Connection connection(std::move(socket), kMaxAnswerBytes);
    connection.queue(make_packet(header(MessageKind::hello), rendezvous_.secret));
    Message answer;
    bool lives = true;
    switch (exchange_until_deadline(connection, answer, lives)) {
      case Outcome::closed:
        return std::nullopt;
      case Outcome::answered:
        break;
      case Outcome::late:
        if (!lives) throw_no_host("it does not answer");
        // If it crosses the welcome, it is of no collective there, and this rank is in.
        MessageHeader withdraw = header(MessageKind::withdraw);
        withdraw.sequence = kHelloSequence;
        connection.queue(make_packet(withdraw));
        const Outcome outcome = exchange(connection, answer, Clock::now() + kAnswerTimeout);
        if (outcome == Outcome::closed) throw_no_host(gave_up_.empty() ? "it closed the connection" : gave_up_);
        if (outcome == Outcome::late) throw_no_host("it does not answer");
    }
    if (answer.kind() == MessageKind::refused) {
      throw Error(ErrorCode::config_mismatch, diagnostics::format("{}: refused: {}", place(), answer.text()));
    }
    if (answer.header.version != kWireVersion) throw_stranger();
    if (answer.kind() == MessageKind::leave) {
      gave_up_ = rendezvous_.external
                     ? diagnostics::format("an earlier world has not ended: ranks {} are in it", answer.text())
                     : diagnostics::format("it gave up waiting for ranks {}", answer.text());
      return std::nullopt;
    }
    if (answer.kind() == MessageKind::withdrawn) {
      const std::string_view text = answer.text();
      const std::size_t line = std::min(text.find('\n'), text.size());
      const std::string_view refusal = text.substr(std::min(line + 1, text.size()));
      throw_timeout(text.substr(0, line), refusal.empty() ? "" : diagnostics::format("refused meanwhile: {}", refusal));
    }
    if (answer.kind() != MessageKind::welcome) throw_stranger();
    if ((answer.header.sequence == 1) != rendezvous_.external) {
      throw Error(ErrorCode::config_mismatch,
                  diagnostics::format("{}: {} listens there, and this rank looks for {}; all ranks of a world look for "
                                      "the same",
                                      place(), rendezvous_.external ? "rank 0" : "`railyard rendezvous`",
                                      rendezvous_.external ? "`railyard rendezvous`" : "rank 0"));
    }
    connection.set_max_payload(std::numeric_limits<std::size_t>::max());
    return connection;
  }

 private:
  enum class Outcome : std::uint8_t { answered, closed, late };

  // Asks in time whether the other side lives.
  Outcome exchange_until_deadline(Connection& connection, Message& answer, bool& lives) {
    const std::chrono::nanoseconds ahead = ping_ahead(timeout_);
    const Outcome early = exchange(connection, answer, deadline_ - ahead);
    if (early != Outcome::late || ahead == std::chrono::nanoseconds(0)) return early;
    connection.queue(make_packet(header(MessageKind::ping)));
    const Outcome outcome = exchange(connection, answer, deadline_);
    lives = has_answered_ping_;
    return outcome;
  }

  // Sends what is queued and waits for one message that is no answer to a ping.
  Outcome exchange(Connection& connection, Message& answer, Clock::time_point deadline) {
    while (true) {
      const short wanted = connection.has_output() ? POLLIN | POLLOUT : POLLIN;
      pollfd event{.fd = connection.descriptor(), .events = wanted, .revents = 0};
      const int ready = ::poll(&event, 1, poll_timeout_ms(deadline));
      if (ready <= 0) {
        if (Clock::now() >= deadline) return Outcome::late;
        continue;
      }
      // A refusal may have come before what is sent here fails.
      const bool sent = connection.write_some();
      const bool open = (event.revents & (POLLIN | POLLHUP | POLLERR)) == 0 || connection.read_some();
      Connection::Next next = connection.next(answer);
      while (next == Connection::Next::message && answer.kind() == MessageKind::ping) {
        has_answered_ping_ = true;
        next = connection.next(answer);
      }
      switch (next) {
        case Connection::Next::message:
          return Outcome::answered;
        case Connection::Next::malformed:
          throw_stranger();
        case Connection::Next::none:
          if (!open || !sent) return Outcome::closed;
      }
    }
  }

  [[nodiscard]] MessageHeader header(MessageKind kind) const {
    return {.kind = static_cast<std::uint16_t>(kind), .world_size = rendezvous_.size, .rank = rendezvous_.rank};
  }

  [[nodiscard]] std::string place() const {
    return diagnostics::format("rendezvous of rank {} at {} port {}", rendezvous_.rank, rendezvous_.address,
                               rendezvous_.port);
  }

  [[noreturn]] void throw_stranger() const {
    throw Error(ErrorCode::config_mismatch, diagnostics::format("{}: what listens there is not Railyard", place()));
  }

  [[noreturn]] void throw_timeout(std::string_view missing, std::string_view detail) const {
    throw Error(ErrorCode::timeout,
                diagnostics::format("{}: ranks {} did not arrive within {} ms{}{}", place(), missing,
                                    in_milliseconds(timeout_), detail.empty() ? "" : ": ", detail));
  }

  [[noreturn]] void throw_no_host(std::string_view detail) const {
    if (!rendezvous_.external) throw_timeout("0", detail);
    throw Error(ErrorCode::timeout, diagnostics::format("{}: no `railyard rendezvous` let it in within {} ms: {}",
                                                        place(), in_milliseconds(timeout_), detail));
  }

  const TcpRendezvous& rendezvous_;
  const std::chrono::nanoseconds timeout_;
  const Clock::time_point deadline_;
  std::string gave_up_;  // whom rank 0 missed when it ended an attempt
  bool has_answered_ping_ = false;
};

}  // namespace

Connection join_world(const TcpRendezvous& rendezvous, std::chrono::nanoseconds timeout, Clock::time_point deadline) {
  return Joining(rendezvous, timeout, deadline).through_network();
}

Connection join_world(const TcpRendezvous& rendezvous, std::chrono::nanoseconds timeout, Clock::time_point deadline,
                      FileDescriptor own_end) {
  std::optional<Connection> joined = Joining(rendezvous, timeout, deadline).through(std::move(own_end));
  if (!joined) throw Error(ErrorCode::out_of_memory, "rank 0's rendezvous ended: its thread ran out of memory");
  return std::move(*joined);
}

}  // namespace railyard::bootstrap
