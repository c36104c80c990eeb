// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/meeting.hpp"

#include "bootstrap/deadline.hpp"
#include "bootstrap/descriptor_exchange.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_socket.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

constexpr std::string_view kLoopback = "127.0.0.1";

// A text of at most N - 1 bytes; longer ones are cut.
template <std::size_t N>
using Text = std::array<char, N>;

template <std::size_t N>
void put(Text<N>& text, std::string_view value) {
  text.fill('\0');
  std::copy_n(value.begin(), std::min(value.size(), N - 1), text.begin());
}

// What rank 0 tells the others. Without a port it could not listen.
struct Invitation {
  Text<256> address{};
  Text<64> secret{};
  std::uint16_t port = 0;
};

std::string random_secret() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error(ErrorCode::unsupported, "the system has no random numbers for the secret of the job (getrandom)");
  }
  std::string text;
  for (const unsigned char byte : bytes) text += diagnostics::format("{:02x}", byte);
  return text;
}

std::string host_name() {
  Text<256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

bool on_one_machine(int size, const AllGather& all_gather) {
  Text<128> mine{};
  put(mine, machine_identity());
  std::vector<Text<128>> all(static_cast<std::size_t>(size));
  all_gather(&mine, all.data(), sizeof(mine));
  return std::ranges::all_of(all, [&](const Text<128>& other) { return other == mine; });
}

}  // namespace

std::shared_ptr<Bootstrap> make_bootstrap_through(int rank, int size, const AllGather& all_gather,
                                                  std::chrono::nanoseconds timeout,
                                                  std::shared_ptr<diagnostics::Log> log) {
  if (size < 1 || rank < 0 || rank >= size) {
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("rank {} of a world of {} ranks: a rank is in [0, size)", rank, size));
  }
  const std::string address = on_one_machine(size, all_gather) ? std::string(kLoopback) : host_name();
  Invitation mine;
  FileDescriptor listener;
  std::exception_ptr refusal;
  if (rank == 0) {
    try {
      put(mine.secret, random_secret());
      listener = listen_at(address, 0, deadline_after(timeout));
      put(mine.address, address);
      mine.port = port_of(listener.get());
    } catch (const Error&) {
      refusal = std::current_exception();  // the others wait for the invitation: tell them first
    }
  }
  std::vector<Invitation> all(static_cast<std::size_t>(size));
  all_gather(&mine, all.data(), sizeof(mine));
  if (refusal) std::rethrow_exception(refusal);
  const Invitation& invitation = all.front();
  if (invitation.port == 0) throw Error(ErrorCode::rank_failed, "rank 0 cannot listen for the other ranks");
  return make_tcp_bootstrap({.rank = rank,
                             .size = size,
                             .address = invitation.address.data(),
                             .port = invitation.port,
                             .secret = invitation.secret.data()},
                            timeout, std::move(log), std::move(listener));
}

}  // namespace railyard::bootstrap
