// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/tcp_connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace railyard::bootstrap {
namespace {

static_assert(std::endian::native == std::endian::little, "headers travel as they are in memory");

constexpr std::size_t kReadBytes = std::size_t{64} << 10;

}  // namespace

Packet make_packet(MessageHeader header, std::string_view payload) {
  header.payload_bytes = payload.size();
  auto packet = std::make_shared<std::vector<std::byte>>(sizeof(header) + payload.size());
  std::memcpy(packet->data(), &header, sizeof(header));
  if (!payload.empty()) std::memcpy(packet->data() + sizeof(header), payload.data(), payload.size());
  return packet;
}

bool Connection::write_some() {
  while (!outgoing_.empty()) {
    const std::vector<std::byte>& packet = *outgoing_.front();
    const ssize_t sent = ::send(socket_.get(), packet.data() + sent_, packet.size() - sent_, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    sent_ += static_cast<std::size_t>(sent);
    if (sent_ < packet.size()) continue;
    outgoing_.pop_front();
    sent_ = 0;
  }
  return true;
}

bool Connection::read_some() {
  if (begin_ == incoming_.size()) {
    discard_input();
  } else if (begin_ > kReadBytes) {
    incoming_.erase(incoming_.begin(), incoming_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  const std::size_t end = incoming_.size();
  incoming_.resize(end + kReadBytes);
  const ssize_t got = ::recv(socket_.get(), incoming_.data() + end, kReadBytes, 0);
  const bool open = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
  incoming_.resize(end + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return open;
}

Connection::Next Connection::next(Message& message) {
  const std::size_t available = incoming_.size() - begin_;
  MessageHeader& header = message.header;
  const std::size_t known = std::min(available, sizeof(header.magic));
  if (known > 0 && std::memcmp(incoming_.data() + begin_, &kWireMagic, known) != 0) return Next::malformed;
  if (available < sizeof(header)) return Next::none;
  std::memcpy(&header, incoming_.data() + begin_, sizeof(header));
  if (header.payload_bytes > max_payload_bytes_) return Next::malformed;
  if (available - sizeof(header) < header.payload_bytes) return Next::none;
  const auto from = incoming_.begin() + static_cast<std::ptrdiff_t>(begin_ + sizeof(header));
  message.payload.assign(from, from + static_cast<std::ptrdiff_t>(header.payload_bytes));
  begin_ += sizeof(header) + header.payload_bytes;
  return Next::message;
}

void Connection::shut_down_output() noexcept { ::shutdown(socket_.get(), SHUT_WR); }

}  // namespace railyard::bootstrap
