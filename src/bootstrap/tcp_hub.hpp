// SPDX-License-Identifier: Apache-2.0
// The centre of the star, which every rank speaks to through a socket: a thread of rank 0's process, or a process of
// its own.
#pragma once

#include "bootstrap/assembly.hpp"
#include "bootstrap/deadline.hpp"
#include "bootstrap/tcp_connection.hpp"
#include "diagnostics/log.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::bootstrap {

/// Joins `size` ranks, runs their collectives one after another and their assemblies beside them, passes aborts on, and
/// tells everyone when a rank's process has gone: the assemblies go on without it. It has no deadline of its own: each
/// rank withdraws at its own. A connection that does not present itself as a missing rank of this world is refused with
/// a text that says why, whenever it comes, and logged. Ranks that have left or gone, and all once the world has ended,
/// are sent away without one: they come for the next world.
class TcpHub {
 public:
  /// `own_end`: the other end is rank 0's; invalid: rank 0 connects like all others. `listener`: where they connect;
  /// may be invalid if nobody does. Who does not know the `secret` is refused; who has not said within `hello_timeout`
  /// which rank it is, is closed, and logged.
  TcpHub(int size, std::string secret, std::shared_ptr<diagnostics::Log> log, FileDescriptor listener,
         FileDescriptor own_end, std::chrono::nanoseconds hello_timeout = std::chrono::seconds(10));

  /// Returns when rank 0 has left or closed its end; without such an end, when all ranks have met and left or gone.
  /// Sleeps in poll() when nothing happens.
  void run();

 private:
  struct Peer {
    Connection connection;
    std::string origin;
    Clock::time_point hello_deadline;        // for those without a rank
    Clock::time_point since = Clock::now();  // it has been connected
    int rank = -1;
    bool own = false;      // rank 0's end, in this process
    bool refused = false;  // what it says is dropped
    bool left = false;
    bool closed = false;  // to be forgotten
  };
  // What a rank has brought to the collective that is under way.
  struct Part {
    bool present = false;
    bool arrived = false;  // also if the rank has withdrawn since
    std::vector<std::byte> payload;
    std::string_view purpose;  // in `payload`
    std::string_view block;    // in `payload`
  };
  enum class Stage : std::uint8_t { joining, running, ended };

  void wait_for_events();
  void accept_all();
  void take_in(Peer& peer, short events);
  void read_to_the_end(Peer& peer);
  void send_out(Peer& peer);
  void read(Peer& peer);
  void handle(Peer& peer, Message& message);
  void admit(Peer& peer, const Message& message);
  void refuse(Peer& peer, std::string reason);
  void write_log(LogLevel level, std::string_view line);
  void contribute(Peer& peer, Message& message);
  void withdraw(Peer& peer, std::uint64_t sequence);
  void attend(Peer& peer, const Message& message);
  void pass_on_assemblies();
  void answer_ping(Peer& peer, std::uint64_t sequence);
  void take_hello_back(Peer& peer);
  void put_off(Peer& peer);
  void complete();
  void close(Peer& peer);
  void close_silent(Peer& peer);
  void end(int rank, std::string_view reason);
  void broadcast(const Packet& packet, const Peer* except);
  void say_farewell();
  [[nodiscard]] MessageHeader header(MessageKind kind, int rank = 0) const;

  const int size_;
  const bool is_of_rank_0_;
  const std::string secret_;
  const std::chrono::nanoseconds hello_timeout_;
  const std::shared_ptr<diagnostics::Log> log_;  // or null
  FileDescriptor listener_;
  Clock::time_point accept_after_{};
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<Peer*> ranks_;    // [rank], null: not connected, or gone
  std::vector<bool> has_left_;  // [rank], or gone
  Stage stage_ = Stage::joining;
  std::string last_refusal_;
  Clock::time_point last_refusal_at_{};
  std::uint64_t sequence_ = 0;
  std::vector<Part> parts_;  // [rank]
  Assemblies assemblies_;
  bool finished_ = false;
};

}  // namespace railyard::bootstrap
