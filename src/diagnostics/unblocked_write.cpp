// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/unblocked_write.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstddef>

namespace railyard::diagnostics {
namespace {

// A pipe that says it can be written takes this much without waiting.
constexpr std::size_t kPiece = PIPE_BUF;

ssize_t write_piece(int descriptor, std::string_view piece) noexcept {
  const ssize_t sent = ::send(descriptor, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  pollfd stream{.fd = descriptor, .events = POLLOUT, .revents = 0};
  if (::poll(&stream, 1, 0) != 1 || stream.revents != POLLOUT) return -1;  // with POLLERR its readers have gone
  return ::write(descriptor, piece.data(), piece.size());
}

}  // namespace

bool write_unless_blocked(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = write_piece(descriptor, text.substr(0, kPiece));
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace railyard::diagnostics
