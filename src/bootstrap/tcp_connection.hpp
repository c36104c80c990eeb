// SPDX-License-Identifier: Apache-2.0
// The messages between a rank and rank 0's hub, and a socket that carries them.
#pragma once

#include "bootstrap/file_descriptor.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::bootstrap {

inline constexpr std::uint32_t kWireMagic = 0x31425952;  // "RYB1"
inline constexpr std::uint16_t kWireVersion = 4;
inline constexpr std::size_t kMaxBlockBytes = std::size_t{64} << 20;  // what a rank may bring to one collective
inline constexpr std::uint64_t kHelloSequence = ~std::uint64_t{0};    // of no collective
inline constexpr std::size_t kMaxTextBytes = std::size_t{64} << 10;   // longer purposes and reasons are cut

enum class MessageKind : std::uint16_t {
  hello,       // rank -> hub: first message; text: the job's secret
  welcome,     // hub -> rank: everyone has connected. `sequence` is 1 if the hub is of no rank's process
  refused,     // hub -> rank: text: why; the connection ends. The same in every version
  contribute,  // rank -> hub: sequence; length of the purpose (32 bits), purpose, block
  withdraw,    // rank -> hub: sequence; answered by `withdrawn`, unless the collective was complete before. Of a hello:
               // kHelloSequence; unless all have been welcomed
  gathered,    // hub -> rank: sequence; every rank's block
  mismatch,    // hub -> rank: sequence; text: how the calls differ
  withdrawn,   // hub -> rank: sequence; text: the ranks that have not arrived; before `welcome`, a line break and
               // why the last stranger was refused
  abort,       // either way: text: which rank, and why
  leave,   // either way: `rank` ends in order. Before `welcome`: from rank 0: text: the ranks it no longer waits for;
           // from a hub of its own: those that are still in its world before
  gone,    // hub -> rank: the process of `rank` has gone
  attend,  // rank -> hub: an assembly's request
  stop,    // rank -> hub: text: the assembly's key. `sequence` is 1: its deadline has passed; 0: it gives up
  assembled,  // hub -> rank: the assembly's answer, one for each `attend`
  called,     // hub -> rank: a rank has come to a majority assembly: an AssemblyCall
  ping,       // rank -> hub, and back with its sequence: whether the hub lives
};

/// Stands before every payload, little-endian. Its layout and magic are the same in every version.
struct MessageHeader {
  std::uint32_t magic = kWireMagic;
  std::uint16_t version = kWireVersion;
  std::uint16_t kind = 0;
  std::int32_t world_size = 0;
  std::int32_t rank = 0;  // whom it is about: the sender, or the rank that leaves
  std::uint64_t sequence = 0;
  std::uint64_t payload_bytes = 0;
};
static_assert(sizeof(MessageHeader) == 32);

struct Message {
  MessageHeader header;
  std::vector<std::byte> payload;

  [[nodiscard]] MessageKind kind() const noexcept { return static_cast<MessageKind>(header.kind); }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }
};

/// Header and payload as they travel; shared by the connections that send the same.
using Packet = std::shared_ptr<const std::vector<std::byte>>;

/// `header.payload_bytes` is set from `payload`.
[[nodiscard]] Packet make_packet(MessageHeader header, std::string_view payload = {});

/// A non-blocking stream socket and what is on its way. One thread at a time.
class Connection {
 public:
  enum class Next : std::uint8_t { none, message, malformed };

  /// A payload longer than `max_payload_bytes` is malformed.
  Connection(FileDescriptor socket, std::size_t max_payload_bytes)
      : socket_(std::move(socket)), max_payload_bytes_(max_payload_bytes) {}

  [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }
  void set_max_payload(std::size_t bytes) noexcept { max_payload_bytes_ = bytes; }
  void queue(Packet packet) { outgoing_.push_back(std::move(packet)); }
  [[nodiscard]] bool has_output() const noexcept { return !outgoing_.empty(); }

  /// Sends what the socket takes now. False: the peer has gone.
  [[nodiscard]] bool write_some();
  /// Takes in what has arrived, up to a bound. False: the peer has gone; what came before it did is still there.
  [[nodiscard]] bool read_some();
  /// The next complete message. Malformed: not a message of any version.
  [[nodiscard]] Next next(Message& message);
  void discard_input() noexcept { incoming_.clear(), begin_ = 0; }
  void shut_down_output() noexcept;

 private:
  FileDescriptor socket_;
  std::size_t max_payload_bytes_;
  std::deque<Packet> outgoing_;
  std::size_t sent_ = 0;  // of the first packet
  std::vector<std::byte> incoming_;
  std::size_t begin_ = 0;  // of what has not been taken
};

}  // namespace railyard::bootstrap
