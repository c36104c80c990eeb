// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/descriptor_exchange.hpp"

#include "bootstrap/deadline.hpp"

#include "diagnostics/format.hpp"
#include "diagnostics/resource_limit.hpp"

#include <railyard/error.hpp>

#include <fmt/ranges.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

namespace railyard::bootstrap {
namespace {

constexpr int kBacklog = 4096;
constexpr auto kVerdictTimeout = std::chrono::seconds(1);  // for a rank that hits its deadline and says so
constexpr auto kSendPause = std::chrono::milliseconds(1);  // before a message that found no room is tried again

using Token = std::array<std::uint64_t, 2>;

// What each rank tells the others first.
struct Card {
  std::array<char, 160> machine{};
  Token name{};    // of its socket
  Token secret{};  // which a message to it must bear: names are listed in /proc, secrets are not
  std::int32_t count = 0;
  std::int32_t reserved = 0;
};

// What stands beside the descriptors.
struct Label {
  Token secret{};
  std::int32_t rank = 0;
  std::int32_t count = 0;
};

// How a rank fared; text ends with a zero.
struct Verdict {
  std::int32_t code = static_cast<std::int32_t>(ErrorCode::ok);
  std::array<char, 252> text{};

  [[nodiscard]] bool failed() const { return code != static_cast<std::int32_t>(ErrorCode::ok); }
  // It has waited for one that says more.
  [[nodiscard]] bool timed_out() const { return code == static_cast<std::int32_t>(ErrorCode::timeout); }
};

std::string text_of(int error) { return std::generic_category().message(error); }

Verdict failure(ErrorCode code, std::string_view text) {
  Verdict verdict{.code = static_cast<std::int32_t>(code)};
  std::copy_n(text.begin(), std::min(text.size(), verdict.text.size() - 1), verdict.text.begin());
  return verdict;
}

Token random_token() {
  Token token{};
  if (::getrandom(token.data(), sizeof(token), 0) != static_cast<ssize_t>(sizeof(token))) {
    throw Error(ErrorCode::unsupported, diagnostics::format("no random numbers: {}", text_of(errno)));
  }
  return token;
}

std::pair<sockaddr_un, socklen_t> address_of(const Token& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = diagnostics::format("railyard-{:016x}{:016x}", name[0], name[1]);
  std::copy(text.begin(), text.end(), address.sun_path + 1);  // a name that begins with zero is in no file system
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size())};
}

FileDescriptor make_socket() {
  return FileDescriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

FileDescriptor listen_as(const Token& name) {
  FileDescriptor socket = make_socket();
  if (!socket.valid())
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("no Unix socket: {}", diagnostics::error_and_limit(errno)));
  const auto [address, bytes] = address_of(name);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    throw Error(ErrorCode::out_of_memory, diagnostics::format("no Unix socket to listen at: {}", text_of(errno)));
  }
  return socket;
}

// Room for the descriptors of one message.
union Control {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int) * kMaxDescriptorsPerRank)];
};

// Zero, or the errno. Waits for nothing: the message lies in the receiver's queue when this returns zero. `socket` is
// made and connected if it is not, and stays so if the message found no room.
int send_to(FileDescriptor& socket, const Card& to, const Label& label, std::span<const int> descriptors) {
  if (!socket.valid()) {
    FileDescriptor made = make_socket();
    if (!made.valid()) return errno;
    const auto [address, bytes] = address_of(to.name);
    if (::connect(made.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0) return errno;
    socket = std::move(made);
  }
  Control control{};
  iovec data{.iov_base = const_cast<Label*>(&label), .iov_len = sizeof(label)};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(label)) ? 0 : errno;
}

// The receiver has too many connections that it has not taken, or the user's processes have as many descriptors on
// their way as one may open (unix(7), ETOOMANYREFS): there is room once somebody has received some.
bool finds_no_room(int error) { return error == EAGAIN || error == ETOOMANYREFS; }

bool no_descriptor_left(int error) { return error == EMFILE || error == ENFILE; }

std::string open_file_limit() {
  const auto limit = diagnostics::resource_limit(RLIMIT_NOFILE);
  return limit ? diagnostics::format("{}", *limit) : "unlimited";
}

enum class Receipt : std::uint8_t { nothing_yet, label, stranger };

// One message. The kernel leaves out descriptors that this process may not open.
Receipt receive_from(int socket, Label& label, std::vector<FileDescriptor>& descriptors) {
  Control control{};
  iovec data{.iov_base = &label, .iov_len = sizeof(label)};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Receipt::nothing_yet;
  for (cmsghdr* header = got < 0 ? nullptr : CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t offset = CMSG_LEN(0); offset + sizeof(int) <= header->cmsg_len; offset += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header) + (offset - CMSG_LEN(0)), sizeof(descriptor));
      descriptors.emplace_back(descriptor);
    }
  }
  return got == static_cast<ssize_t>(sizeof(label)) ? Receipt::label : Receipt::stranger;
}

// One call, after the cards are known.
class Exchange {
 public:
  Exchange(const Bootstrap& bootstrap, std::vector<Card> cards, FileDescriptor listener)
      : bootstrap_(bootstrap),
        rank_(bootstrap.rank()),
        cards_(std::move(cards)),
        listener_(std::move(listener)),
        received_(cards_.size()) {}

  // Sends and receives until everyone's have come, `deadline`, or something can be read from `cancel`. Both at once:
  // what is under way takes room that others wait for.
  Verdict run(std::span<const int> mine, Clock::time_point deadline, int cancel) {
    Verdict verdict = send(mine);
    if (!verdict.failed() && !duplicate(mine)) return too_many();
    const std::size_t others = cards_.size() - 1;
    std::vector<bool> has_come(cards_.size(), false);
    has_come[static_cast<std::size_t>(rank_)] = true;
    std::vector<FileDescriptor> waiting;  // connections that have not said anything
    while (!verdict.failed() && (sent_ < others || std::ranges::find(has_come, false) != has_come.end())) {
      std::vector<pollfd> events{{.fd = cancel, .events = POLLIN, .revents = 0},
                                 {.fd = listener_.get(), .events = POLLIN, .revents = 0}};
      for (const FileDescriptor& socket : waiting)
        events.push_back({.fd = socket.get(), .events = POLLIN, .revents = 0});
      const Clock::time_point wake = sent_ == others ? deadline : std::min(deadline, Clock::now() + kSendPause);
      const int ready = ::poll(events.data(), events.size(), poll_timeout_ms(wake));
      if (events[0].revents != 0) return {};  // the next collective says why
      if (ready <= 0 && Clock::now() >= deadline) return late(has_come, mine.size());
      FileDescriptor next(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!next.valid() && no_descriptor_left(errno)) return too_many();
      if (next.valid()) waiting.push_back(std::move(next));
      bool fits = true;
      std::erase_if(waiting, [&](const FileDescriptor& socket) { return take(socket.get(), has_come, fits); });
      if (!fits) return too_many();
      verdict = send(mine);
    }
    return verdict;
  }

  std::vector<std::vector<FileDescriptor>> take_received() { return std::move(received_); }

 private:
  // To those who have not got this rank's, as far as there is room. Everyone begins with the next rank: no listener has
  // all at its door.
  Verdict send(std::span<const int> mine) {
    for (; sent_ + 1 < cards_.size(); ++sent_) {
      const std::size_t to = (static_cast<std::size_t>(rank_) + sent_ + 1) % cards_.size();
      const Label label{.secret = cards_[to].secret, .rank = rank_, .count = static_cast<std::int32_t>(mine.size())};
      const int error = send_to(connection_, cards_[to], label, mine);
      if (error == EPIPE && finds_no_room(send_error_)) return no_room(mine.size());  // it has given up before
      send_error_ = error;
      if (finds_no_room(error)) return {};
      connection_.reset();
      if (no_descriptor_left(error)) return too_many();
      if (error == 0) continue;
      return failure(ErrorCode::out_of_memory,
                     diagnostics::format("rank {} cannot hand its descriptors to rank {}: {}", named(rank_),
                                         named(static_cast<int>(to)), text_of(error)));
    }
    return {};
  }

  [[nodiscard]] Verdict no_room(std::size_t count) const {
    return failure(
        ErrorCode::out_of_memory,
        diagnostics::format("{} descriptors of rank {} found no room on their way to {} ranks: {}; a user "
                            "may have {} under way (RLIMIT_NOFILE)",
                            count, named(rank_), cards_.size() - 1 - sent_, text_of(send_error_), open_file_limit()));
  }

  [[nodiscard]] Verdict late(const std::vector<bool>& has_come, std::size_t count) const {
    if (sent_ + 1 < cards_.size()) return no_room(count);
    std::vector<int> missing;
    for (std::size_t rank = 0; rank < has_come.size(); ++rank) {
      if (!has_come[rank]) missing.push_back(named(static_cast<int>(rank)));
    }
    return failure(ErrorCode::timeout, diagnostics::format("descriptors of ranks {} did not reach rank {} in time",
                                                           fmt::join(missing, ", "), named(rank_)));
  }

  bool duplicate(std::span<const int> mine) {
    for (const int descriptor : mine) {
      FileDescriptor copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
      if (!copy.valid()) return false;
      received_[static_cast<std::size_t>(rank_)].push_back(std::move(copy));
    }
    return true;
  }

  // Whether this connection is done with. Strangers are dropped: the secret says who is none.
  bool take(int socket, std::vector<bool>& has_come, bool& fits) {
    Label label;
    std::vector<FileDescriptor> descriptors;
    const Receipt receipt = receive_from(socket, label, descriptors);
    if (receipt == Receipt::nothing_yet) return false;
    if (receipt == Receipt::stranger || label.secret != cards_[static_cast<std::size_t>(rank_)].secret) return true;
    const auto from = static_cast<std::size_t>(label.rank);
    if (from >= cards_.size() || label.count != cards_[from].count) return true;
    if (descriptors.size() != static_cast<std::size_t>(label.count)) fits = false;
    received_[from] = std::move(descriptors);
    has_come[from] = true;
    return true;
  }

  [[nodiscard]] Verdict too_many() const {
    return failure(ErrorCode::out_of_memory,
                   diagnostics::format("rank {} may not open so many file descriptors (RLIMIT_NOFILE)", named(rank_)));
  }

  [[nodiscard]] int named(int rank) const { return bootstrap_.rank_in_world(rank); }

  const Bootstrap& bootstrap_;
  const int rank_;
  const std::vector<Card> cards_;
  const FileDescriptor listener_;
  std::vector<std::vector<FileDescriptor>> received_;
  std::size_t sent_ = 0;       // to how many ranks behind this one
  FileDescriptor connection_;  // to the next of them, if a message found no room
  int send_error_ = 0;         // errno of the last message
};

void validate(std::span<const int> mine, std::string_view purpose) {
  if (mine.size() > kMaxDescriptorsPerRank) {
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("{}: {} file descriptors are above the limit of {} for a rank", purpose,
                                    mine.size(), kMaxDescriptorsPerRank));
  }
  for (const int descriptor : mine) {
    if (::fcntl(descriptor, F_GETFD) < 0) {
      throw Error(ErrorCode::invalid_argument,
                  diagnostics::format("{}: {} is not an open file descriptor", purpose, descriptor));
    }
  }
}

}  // namespace

std::string machine_identity() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::array<char, 64> space{};
  const ssize_t bytes = ::readlink("/proc/self/ns/net", space.data(), space.size());
  return boot + ' ' + std::string(space.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
}

std::vector<std::vector<FileDescriptor>> exchange_descriptors(Bootstrap& bootstrap, std::span<const int> mine,
                                                              std::string_view purpose,
                                                              std::chrono::nanoseconds timeout,
                                                              std::string_view machine) {
  validate(mine, purpose);
  Card card{.name = random_token(), .secret = random_token(), .count = static_cast<std::int32_t>(mine.size())};
  std::copy_n(machine.begin(), std::min(machine.size(), card.machine.size() - 1), card.machine.begin());
  FileDescriptor listener = listen_as(card.name);
  std::vector<Card> cards(static_cast<std::size_t>(bootstrap.size()));
  bootstrap.all_gather(&card, cards.data(), sizeof(card), purpose, timeout);
  for (std::size_t rank = 0; rank < cards.size(); ++rank) {
    // Against rank 0, so that all ranks say the same.
    if (cards[rank].machine == cards[0].machine) continue;
    throw Error(ErrorCode::unsupported,
                diagnostics::format("{}: rank {} is on another machine, or in another network namespace, than rank 0 "
                                    "(\"{}\", \"{}\"): memory cannot be mapped there",
                                    purpose, rank, cards[rank].machine.data(), cards[0].machine.data()));
  }

  const Clock::time_point deadline = deadline_after(timeout);  // from here on, where all ranks are
  // Shared: a call of the watcher may outlast this one.
  const auto cancel = std::make_shared<FileDescriptor>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const auto watch = bootstrap.abort_flag()->watch([cancel] { ::eventfd_write(cancel->get(), 1); });
  Exchange exchange(bootstrap, std::move(cards), std::move(listener));
  const Verdict verdict = exchange.run(mine, deadline, cancel->get());
  std::vector<Verdict> verdicts(static_cast<std::size_t>(bootstrap.size()));
  bootstrap.all_gather(&verdict, verdicts.data(), sizeof(verdict), diagnostics::format("{}: received", purpose),
                       std::max<std::chrono::nanoseconds>(deadline - Clock::now(), {}) + kVerdictTimeout);
  auto told = std::ranges::find_if(verdicts, [](const Verdict& other) { return other.failed() && !other.timed_out(); });
  if (told == verdicts.end()) told = std::ranges::find_if(verdicts, &Verdict::failed);
  if (told != verdicts.end()) {
    static_cast<void>(exchange.take_received());  // closed: this process may have none left
    throw Error(static_cast<ErrorCode>(told->code), diagnostics::format("{}: {}", purpose, told->text.data()));
  }
  return exchange.take_received();
}

}  // namespace railyard::bootstrap
