// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/process_world.hpp"

#include "bootstrap/tcp_hub.hpp"
#include "bootstrap/tcp_socket.hpp"
#include "multi_rank/backend.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

namespace railyard::multi_rank {
namespace {

constexpr int kMaxCalls = 2;  // World::from_all_gather makes as many
constexpr std::size_t kMaxBytes = 1024;

/// What a child tells its parent: the untouched rows, a line break, and the failures.
std::string pack(const Report& report) { return std::to_string(report.untouched_rows()) + '\n' + report.text(); }

void unpack(const std::string& text, Report& report) {
  const std::size_t line = text.find('\n');
  if (line == std::string::npos) return;
  report.count_untouched_rows(std::stoll(text.substr(0, line)));
  if (line + 1 < text.size()) report.fail(text.substr(line + 1));
}

}  // namespace

/// All-gather through memory that forked processes share.
class ProcessWorld::SharedPage {
 public:
  explicit SharedPage(int size) : size_(size) {}
  [[nodiscard]] int size() const { return size_; }

  void all_gather(int rank, int call, const void* mine, void* all, std::size_t bytes) {
    if (call >= kMaxCalls || bytes > kMaxBytes) throw std::logic_error("the shared page is too small");
    Call& meeting = calls_[static_cast<std::size_t>(call)];
    std::memcpy(meeting.blocks[static_cast<std::size_t>(rank)].data(), mine, bytes);
    meeting.arrived.fetch_add(1, std::memory_order_release);
    while (meeting.arrived.load(std::memory_order_acquire) < size_) std::this_thread::yield();
    for (std::size_t other = 0; other < static_cast<std::size_t>(size_); ++other) {
      std::memcpy(static_cast<std::byte*>(all) + other * bytes, meeting.blocks[other].data(), bytes);
    }
  }

 private:
  struct Call {
    std::atomic<int> arrived{0};
    std::array<std::array<std::byte, kMaxBytes>, ProcessWorld::kMaxRanks> blocks{};
  };
  const int size_;
  std::array<Call, kMaxCalls> calls_;
};

ProcessWorld::ProcessWorld(int ranks, const WorldOptions& options, const std::function<void(Rank&)>& body,
                           Report& report, const Preparation& prepare, Meeting meeting)
    : report_(report), page_(std::make_unique<ProcessShared<SharedPage>>(ranks)) {
  if (meeting == Meeting::external) start_rendezvous(ranks);
  for (int rank = 0; rank < ranks; ++rank) children_.push_back(start(rank, options, body, prepare));
}

ProcessWorld::~ProcessWorld() {
  for (const Child& child : children_) {
    if (child.output >= 0) ::close(child.output);
  }
  if (rendezvous_ == 0) return;
  ::kill(rendezvous_, SIGKILL);
  ::waitpid(rendezvous_, nullptr, 0);
}

void ProcessWorld::start_rendezvous(int ranks) {
  using namespace bootstrap;
  FileDescriptor listener = listen_at("127.0.0.1", 0, deadline_after(case_deadline()));
  rendezvous_port_ = port_of(listener.get());
  rendezvous_ = ::fork();
  if (rendezvous_ < 0) throw std::runtime_error("no process");
  if (rendezvous_ > 0) return;
  ::alarm(static_cast<unsigned>(3 * case_deadline().count()));
  try {
    TcpHub(ranks, "", nullptr, std::move(listener), {}).run();
  } catch (const std::exception&) {
    ::_exit(1);
  }
  ::_exit(0);
}

ProcessWorld::Child ProcessWorld::start(int rank, WorldOptions options, const std::function<void(Rank&)>& body,
                                        const Preparation& prepare) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
  const pid_t process = ::fork();
  if (process < 0) throw std::runtime_error("no process");
  if (process > 0) {
    ::close(ends[1]);
    return {process, ends[0]};
  }
  ::alarm(static_cast<unsigned>(3 * case_deadline().count()));
  int call = 0;
  const auto all_gather = [&](const void* mine, void* all, std::size_t bytes) {
    (*page_)->all_gather(rank, call++, mine, all, bytes);
  };
  if (prepare) prepare(rank, options);
  try {
    World world = rendezvous_ == 0 ? World::from_all_gather(rank, (*page_)->size(), all_gather, options)
                                   : World::connect({.rank = rank,
                                                     .size = (*page_)->size(),
                                                     .address = "127.0.0.1",
                                                     .port = rendezvous_port_,
                                                     .external = true},
                                                    options);
    world.run(body);
  } catch (const std::exception& error) {
    report_.fail(std::string("threw ") + error.what());
  }
  const std::string text = pack(report_);
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t bytes = ::write(ends[1], text.data() + sent, text.size() - sent);
    if (bytes <= 0) ::_exit(2);
    sent += static_cast<std::size_t>(bytes);
  }
  ::_exit(0);
}

int ProcessWorld::finish(int rank, Report& report) {
  Child& child = children_[static_cast<std::size_t>(rank)];
  std::string text;
  std::array<char, 4096> part{};
  for (ssize_t bytes = 0; (bytes = ::read(child.output, part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(bytes));
  }
  ::close(child.output);
  child.output = -1;
  int status = 0;
  ::waitpid(child.process, &status, 0);
  unpack(text, report);
  return status;
}

void ProcessWorld::wait_until_stopped(int rank) const {
  siginfo_t seen{};
  ::waitid(P_PID, static_cast<id_t>(process(rank)), &seen, WSTOPPED | WEXITED | WNOWAIT);
}

void ProcessWorld::finish_with_victim(int victim, int signal, Report& report) {
  for (int rank = 0; rank < static_cast<int>(children_.size()); ++rank) {
    if (rank != victim) require_success(rank, report);
  }
  ::kill(process(victim), SIGCONT);
  Report of_victim;
  const int status = finish(victim, of_victim);
  if (signal != 0 ? !WIFSIGNALED(status) || WTERMSIG(status) != signal : status != 0) {
    report.fail("the victim ended with status " + std::to_string(status) + of_victim.text());
  }
}

void ProcessWorld::require_success(int rank, Report& report) {
  if (const int status = finish(rank, report); status != 0) {
    report.fail("the process of rank " + std::to_string(rank) + " ended with status " + std::to_string(status));
  }
}

void run_processes(int ranks, const WorldOptions& options, const std::function<void(Rank&)>& body, Report& report,
                   const ProcessWorld::Preparation& prepare) {
  ProcessWorld world(ranks, options, body, report, prepare);
  for (int rank = 0; rank < ranks; ++rank) world.require_success(rank, report);
}

}  // namespace railyard::multi_rank
