// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/tcp_bootstrap.hpp"

#include "bootstrap/background_thread.hpp"
#include "bootstrap/tcp_hub.hpp"
#include "bootstrap/tcp_join.hpp"
#include "bootstrap/tcp_socket.hpp"

#include "diagnostics/environment.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

using namespace std::chrono_literals;

// For the answer to a part that is taken back, from who has just shown that it lives. Also after a cancel: an assembly
// may have closed with this rank.
constexpr auto kAnswerTimeout = std::chrono::seconds(1);
constexpr std::size_t kSlowBytesPerSecond = std::size_t{64} << 20;
constexpr auto kFarewellTimeout = std::chrono::seconds(1);

// The same where blocks of this many bytes together may be on their way before it.
std::chrono::nanoseconds answer_timeout(std::size_t bytes) {
  return kAnswerTimeout + std::chrono::seconds(bytes / kSlowBytesPerSecond);
}

// Rank 0's hub on its thread, which ends once the other end of `own_end` is closed.
class HubThread {
 public:
  HubThread() = default;
  explicit HubThread(std::unique_ptr<TcpHub> made)
      : thread_(start_background_thread([hub = std::move(made)]() mutable {
          try {
            hub->run();
          } catch (const std::exception&) {  // out of memory: the connections close, and every rank sees that
          }
          hub.reset();
        })) {}
  HubThread(HubThread&&) = default;
  HubThread& operator=(HubThread&&) = delete;
  HubThread(const HubThread&) = delete;
  HubThread& operator=(const HubThread&) = delete;
  ~HubThread() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

// One rank's end. A thread of its own does all that touches the socket; the caller's threads exchange packets and
// replies with it under a mutex.
class TcpBootstrap final : public Bootstrap {
 public:
  TcpBootstrap(const TcpRendezvous& rendezvous, HubThread hub, Connection connection)
      : rank_(rendezvous.rank),
        size_(rendezvous.size),
        external_(rendezvous.external),
        flag_(std::make_shared<AbortFlag>()),
        survivor_flag_(std::make_shared<AbortFlag>()),
        hub_(std::move(hub)),
        connection_(std::move(connection)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_.valid()) throw Error(ErrorCode::out_of_memory, "no file descriptor for the rendezvous (eventfd)");
    for (int other = 0; other < size_; ++other) departures_.push_back(std::make_shared<AbortFlag>());
    thread_ = start_background_thread([this] { serve(); });
  }
  TcpBootstrap(const TcpBootstrap&) = delete;
  TcpBootstrap& operator=(const TcpBootstrap&) = delete;

  ~TcpBootstrap() override {
    {
      const std::lock_guard lock(mutex_);
      send(MessageKind::leave, {});
      leaving_ = true;
    }
    thread_.join();
  }

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return size_; }
  [[nodiscard]] bool one_process() const noexcept override { return false; }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& abort_flag() const noexcept override { return flag_; }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& survivor_flag() const noexcept override { return survivor_flag_; }
  std::shared_ptr<AbortFlag> departure_flag(int rank) override { return departures_[static_cast<std::size_t>(rank)]; }
  std::shared_ptr<AbortFlag> call_flag(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    return calls_.of(key);
  }

  void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                  std::chrono::nanoseconds timeout) override {
    if (bytes > kMaxBlockBytes) {
      throw Error(ErrorCode::invalid_argument,
                  diagnostics::format("{}: a block of {} bytes is above the limit of {} between processes", purpose,
                                      bytes, kMaxBlockBytes));
    }
    purpose = purpose.substr(0, kMaxTextBytes);
    const Clock::time_point deadline = deadline_after(timeout);
    std::unique_lock lock(mutex_);
    throw_if_ended(purpose);
    reply_.reset();
    send(MessageKind::contribute, contribution(mine, bytes, purpose));
    const auto answered = [this] { return reply_.has_value() || flag_->raised() || left_ >= 0; };
    const std::chrono::nanoseconds patience = answer_timeout(bytes * static_cast<std::size_t>(size_));
    const bool is_slow = patience > kAnswerTimeout;  // an answer to a ping may stand behind blocks
    const HostState host = wait(lock, deadline, is_slow ? 0ns : ping_ahead(timeout), answered);
    if (!answered()) {
      send(MessageKind::withdraw, {});
      if (host == HostState::silent || !changed_.wait_for(lock, patience, answered)) {
        lock.unlock();
        lose_host("it does not answer");
        if (!external_) throw_timeout(purpose, "0", timeout);
        throw Error(ErrorCode::timeout, diagnostics::format("{}: the rendezvous does not answer", purpose));
      }
    }
    if (!reply_) throw_if_ended(purpose);
    const Message reply = std::move(*reply_);
    reply_.reset();
    if (reply.kind() == MessageKind::withdrawn) throw_timeout(purpose, reply.text(), timeout);
    ++sequence_;
    if (reply.kind() == MessageKind::mismatch) throw Error(ErrorCode::operation_mismatch, std::string(reply.text()));
    lock.unlock();
    if (!reply.payload.empty()) std::memcpy(all, reply.payload.data(), reply.payload.size());
  }

  std::vector<std::shared_ptr<void>> share(std::shared_ptr<void>, std::string_view purpose,
                                           std::chrono::nanoseconds) override {
    throw Error(ErrorCode::unsupported, diagnostics::format("{}: objects cannot be shared between processes", purpose));
  }

  Attendance assemble(AssemblyRequest request, std::chrono::nanoseconds timeout, AbortFlag& cancel) override {
    const Clock::time_point deadline = deadline_after(timeout);
    const auto watch = cancel.watch([this] { wake(); });
    std::unique_lock lock(mutex_);
    throw_if_raised(*survivor_flag_, request.purpose);
    std::optional<AssemblyAnswer>& place = assembled_[request.key];
    const auto answered = [&] { return place.has_value() || survivor_flag_->raised() || host_has_left(); };
    send(MessageKind::attend, encode(request));
    const HostState host = wait(lock, deadline, ping_ahead(timeout), [&] { return answered() || cancel.raised(); });
    if (!answered()) {
      send(MessageKind::stop, request.key, cancel.raised() ? 0 : 1);
      if (host == HostState::silent || !changed_.wait_for(lock, kAnswerTimeout, answered)) {
        lock.unlock();
        lose_host("it does not answer");
        lock.lock();
      }
    }
    const std::optional<AssemblyAnswer> answer = std::move(place);
    assembled_.erase(request.key);
    if (request.quorum == Quorum::majority) calls_.forget(request.key);
    lock.unlock();
    // Where the assembly has closed with this rank, it must know.
    if (!answer || answer->code != ErrorCode::ok) {
      throw_if_raised(*survivor_flag_, request.purpose);
      throw_if_raised(cancel, request.purpose);
    }
    if (!answer) throw Error(ErrorCode::aborted, diagnostics::format("{}: rank 0 has left", request.purpose));
    throw_unless_met(*answer, request.purpose, timeout);
    return *answer->attendance;
  }

  void abort(std::string_view reason) override {
    if (survivor_flag_->raised()) return;
    const std::string text = diagnostics::format("rank {}: {}", rank_, reason.substr(0, kMaxTextBytes / 2));
    end(text);
    const std::lock_guard lock(mutex_);
    send(MessageKind::abort, text);
    changed_.notify_all();
  }

 private:
  static std::string contribution(const void* mine, std::size_t bytes, std::string_view purpose) {
    const auto purpose_bytes = static_cast<std::uint32_t>(purpose.size());
    std::string payload(sizeof(purpose_bytes), '\0');
    std::memcpy(payload.data(), &purpose_bytes, sizeof(purpose_bytes));
    payload.reserve(payload.size() + purpose.size() + bytes);
    payload += purpose;
    if (bytes > 0) payload.append(static_cast<const char*>(mine), bytes);
    return payload;
  }

  enum class HostState : std::uint8_t { alive, silent };

  // With the mutex held. Until `done()` or the deadline; `ahead` of that it asks whether who passes messages on lives.
  template <typename Done>
  HostState wait(std::unique_lock<std::mutex>& lock, Clock::time_point deadline, std::chrono::nanoseconds ahead,
                 Done done) {
    if (changed_.wait_until(lock, deadline - ahead, done) || ahead == 0ns) return HostState::alive;
    const std::uint64_t ping = ++pings_;
    send(MessageKind::ping, {}, ping);
    if (changed_.wait_until(lock, deadline, done)) return HostState::alive;
    return answered_ping_ >= ping ? HostState::alive : HostState::silent;
  }

  // With the mutex held.
  void send(MessageKind kind, std::string_view payload) { send(kind, payload, sequence_); }
  void send(MessageKind kind, std::string_view payload, std::uint64_t sequence) {
    outgoing_.push_back(make_packet(
        {.kind = static_cast<std::uint16_t>(kind), .world_size = size_, .rank = rank_, .sequence = sequence}, payload));
    ::eventfd_write(wake_.get(), 1);
  }

  // Without the mutex: the flags' watchers may take it.
  void end(std::string_view reason) {
    survivor_flag_->raise(reason);
    flag_->raise(reason);
  }
  // Whether the others have this rank's part is unknown: nothing can follow it.
  void lose_host(std::string_view what) {
    const std::string reason = diagnostics::format("{}: {}", external_ ? "the rendezvous" : "rank 0", what);
    if (!external_) departures_.front()->raise(reason);
    end(reason);
  }
  // With the mutex held. Rank 0 has left in order, and with it who passes messages on.
  [[nodiscard]] bool host_has_left() const { return !external_ && left_ == 0; }
  // So that whoever has looked at a flag before it was raised is waiting now.
  void wake() {
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }

  static void throw_if_raised(const AbortFlag& flag, std::string_view purpose) {
    if (flag.raised()) throw Error(ErrorCode::aborted, diagnostics::format("{}: {}", purpose, flag.reason()));
  }
  void throw_if_ended(std::string_view purpose) const {
    throw_if_raised(*flag_, purpose);
    if (left_ >= 0) throw Error(ErrorCode::aborted, diagnostics::format("{}: rank {} has left", purpose, left_));
  }

  [[noreturn]] static void throw_timeout(std::string_view purpose, std::string_view missing,
                                         std::chrono::nanoseconds timeout) {
    throw Error(ErrorCode::timeout, diagnostics::format("{}: ranks {} did not arrive within {} ms", purpose, missing,
                                                        in_milliseconds(timeout)));
  }

  // The thread: moves packets and replies until this rank leaves or the connection ends.
  void serve() {
    bool open = take_in();  // what came together with the welcome
    std::optional<Clock::time_point> farewell;
    while (open) {
      {
        const std::lock_guard lock(mutex_);
        for (Packet& packet : outgoing_) connection_.queue(std::move(packet));
        outgoing_.clear();
        if (leaving_ && !farewell) farewell = Clock::now() + kFarewellTimeout;
      }
      open = connection_.write_some();
      if (farewell && (!connection_.has_output() || Clock::now() >= *farewell)) return;
      wait_for_events(farewell.value_or(Clock::now() + std::chrono::minutes(1)));
      open = connection_.read_some() && open;
      open = take_in() && open;
    }
    std::unique_lock lock(mutex_);
    const bool in_order = host_has_left();
    lock.unlock();
    if (!in_order) lose_host("its process has gone");
    wake();
  }

  void note_departure(int rank) {
    if (rank < 0 || rank >= size_) return;
    const std::string reason = diagnostics::format("rank {}: its process has gone", rank);
    departures_[static_cast<std::size_t>(rank)]->raise(reason);
    flag_->raise(reason);
  }

  void wait_for_events(Clock::time_point deadline) {
    const short wanted = connection_.has_output() ? POLLIN | POLLOUT : POLLIN;
    pollfd events[] = {{.fd = connection_.descriptor(), .events = wanted, .revents = 0},
                       {.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    ::poll(events, 2, poll_timeout_ms(deadline));
    eventfd_t count = 0;
    ::eventfd_read(wake_.get(), &count);
  }

  // False: what came is not from a hub of this version.
  bool take_in() {
    Message message;
    while (true) {
      const Connection::Next next = connection_.next(message);
      if (next != Connection::Next::message) return next == Connection::Next::none;
      switch (message.kind()) {
        case MessageKind::abort:
          end(message.text());
          break;
        case MessageKind::gone:
          note_departure(message.header.rank);
          break;
        case MessageKind::called:
          if (const std::optional<AssemblyCall> call = decode_call(message.text())) {
            call_flag(call->key)->raise(call->text());
          }
          break;
        default:
          if (!take_reply(message)) return false;
      }
      wake();
    }
  }

  bool take_reply(Message& message) {
    const std::lock_guard lock(mutex_);
    switch (message.kind()) {
      case MessageKind::gathered:
      case MessageKind::mismatch:
      case MessageKind::withdrawn:
        if (message.header.sequence == sequence_) reply_ = std::move(message);
        return true;
      case MessageKind::ping:
        answered_ping_ = std::max(answered_ping_, message.header.sequence);
        return true;
      case MessageKind::assembled:
        if (std::optional<AssemblyAnswer> answer = decode_answer(message.text())) {
          const auto place = assembled_.find(answer->key);
          if (place != assembled_.end()) place->second = std::move(answer);
        }
        return true;
      case MessageKind::leave:
        // That of who passes messages on is remembered above others': its connection closes next.
        if (left_ < 0 || (!external_ && message.header.rank == 0)) left_ = message.header.rank;
        return true;
      default:
        return false;
    }
  }

  const int rank_;
  const int size_;
  const bool external_;  // who passes messages on is no rank
  const std::shared_ptr<AbortFlag> flag_;
  const std::shared_ptr<AbortFlag> survivor_flag_;
  std::vector<std::shared_ptr<AbortFlag>> departures_;  // [rank]
  HubThread hub_;                                       // destroyed after the connection, whose end ends it
  Connection connection_;                               // of the thread alone
  FileDescriptor wake_;                                 // written whenever there is something to send

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Packet> outgoing_;
  std::optional<Message> reply_;
  std::map<std::string, std::optional<AssemblyAnswer>> assembled_;  // by key, of those who wait
  CallFlags calls_;
  std::uint64_t sequence_ = 0;  // of completed collectives
  std::uint64_t pings_ = 0;
  std::uint64_t answered_ping_ = 0;  // the latest
  int left_ = -1;                    // a rank that has left
  bool leaving_ = false;

  std::thread thread_;
};

void validate(const TcpRendezvous& rendezvous) {
  const auto& [rank, size, address, port, secret, external] = rendezvous;
  if (size < 1 || rank < 0 || rank >= size) {
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("rank {} of a world of {} ranks: a rank is in [0, size)", rank, size));
  }
  if (port == 0) throw Error(ErrorCode::invalid_argument, "the port of the rendezvous is 0: it is 1 to 65535");
  if (address.empty()) throw Error(ErrorCode::invalid_argument, "the address of the rendezvous is empty");
  if (secret.size() > diagnostics::kMaxSecretBytes) {
    throw Error(ErrorCode::invalid_argument, diagnostics::format("the secret of the job has {} bytes; at most {}",
                                                                 secret.size(), diagnostics::kMaxSecretBytes));
  }
}

}  // namespace

std::shared_ptr<Bootstrap> make_tcp_bootstrap(const TcpRendezvous& rendezvous, std::chrono::nanoseconds timeout,
                                              std::shared_ptr<diagnostics::Log> log, FileDescriptor listener) {
  validate(rendezvous);
  const Clock::time_point deadline = deadline_after(timeout);
  if (rendezvous.rank != 0 || rendezvous.external) {
    return std::make_shared<TcpBootstrap>(rendezvous, HubThread(), join_world(rendezvous, timeout, deadline));
  }
  if (!listener.valid()) listener = listen_at(rendezvous.address, rendezvous.port, deadline);
  auto [hub_end, own_end] = make_socket_pair();
  HubThread hub(std::make_unique<TcpHub>(rendezvous.size, rendezvous.secret, std::move(log), std::move(listener),
                                         std::move(hub_end)));
  Connection connection = join_world(rendezvous, timeout, deadline, std::move(own_end));
  return std::make_shared<TcpBootstrap>(rendezvous, std::move(hub), std::move(connection));
}

}  // namespace railyard::bootstrap
