// SPDX-License-Identifier: Apache-2.0
// TCP sockets of the rendezvous: non-blocking, close-on-exec, without Nagle's delay, with keep-alive.
#pragma once

#include "bootstrap/deadline.hpp"
#include "bootstrap/file_descriptor.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace railyard::bootstrap {

/// Listens at `port`: on the interface of `address` alone if that is the number of a loopback address, or localhost,
/// else on all of them (rank 0's own name often resolves to something that others cannot reach, a loopback address
/// too). A port in use is tried again for a second, or until `deadline`. Port 0: one that is free. RY-INVALID-ARGUMENT
/// says why it cannot.
[[nodiscard]] FileDescriptor listen_at(const std::string& address, std::uint16_t port, Clock::time_point deadline);

/// The port of a socket that listens.
[[nodiscard]] std::uint16_t port_of(int listener);

/// One attempt at each of the addresses that the name has, IPv4 and IPv6. Invalid, with the reason in `failure`, if
/// nobody answers before `deadline`. The look-up of a name is not bounded by the deadline.
[[nodiscard]] FileDescriptor connect_to(const std::string& address, std::uint16_t port, Clock::time_point deadline,
                                        std::string& failure);

/// The addresses of a host, as numbers. None, with the reason in `failure`, if they are not known before `deadline`.
[[nodiscard]] std::vector<std::string> addresses_of(const std::string& host, Clock::time_point deadline,
                                                    std::string& failure);

/// The next connection of a listener, and where it comes from; invalid, with errno, if there is none.
[[nodiscard]] FileDescriptor accept_from(int listener, std::string& origin);

/// A free port of 127.0.0.1, which the kernel gives to nobody who does not ask for it by number while the socket, which
/// never listens, is open.
[[nodiscard]] std::pair<FileDescriptor, std::uint16_t> reserve_loopback_port();

/// Two connected stream sockets of this process.
[[nodiscard]] std::pair<FileDescriptor, FileDescriptor> make_socket_pair();

}  // namespace railyard::bootstrap
