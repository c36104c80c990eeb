// SPDX-License-Identifier: Apache-2.0
// Ranks as processes of this machine, forked for each world. They meet through a page that they share, as they would
// through a library that launched them.
#include "multi_rank/backend.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

constexpr int kMaxRanks = 16;
constexpr int kMaxCalls = 2;  // World::from_all_gather makes as many
constexpr std::size_t kMaxBytes = 1024;

/// All-gather through memory that forked processes share.
class SharedPage {
 public:
  void all_gather(int rank, int size, int call, const void* mine, void* all, std::size_t bytes) {
    if (call >= kMaxCalls || bytes > kMaxBytes) throw std::logic_error("the shared page is too small");
    Call& meeting = calls_[static_cast<std::size_t>(call)];
    std::memcpy(meeting.blocks[static_cast<std::size_t>(rank)].data(), mine, bytes);
    meeting.arrived.fetch_add(1, std::memory_order_release);
    while (meeting.arrived.load(std::memory_order_acquire) < size) std::this_thread::yield();
    for (std::size_t other = 0; other < static_cast<std::size_t>(size); ++other) {
      std::memcpy(static_cast<std::byte*>(all) + other * bytes, meeting.blocks[other].data(), bytes);
    }
  }

 private:
  struct Call {
    std::atomic<int> arrived{0};
    std::array<std::array<std::byte, kMaxBytes>, kMaxRanks> blocks{};
  };
  std::array<Call, kMaxCalls> calls_;
};

/// What a child tells its parent: the untouched rows, a line break, and the failures.
std::string pack(const Report& report) { return std::to_string(report.untouched_rows()) + '\n' + report.text(); }

void unpack(const std::string& text, Report& report) {
  const std::size_t line = text.find('\n');
  if (line == std::string::npos) return;
  report.count_untouched_rows(std::stoll(text.substr(0, line)));
  if (line + 1 < text.size()) report.fail(text.substr(line + 1));
}

struct Child {
  pid_t process = 0;
  int output = -1;
};

class HostProcesses final : public HostBackend {
 public:
  std::string_view name() const override { return "host-processes"; }
  World make_world(int, WorldOptions) override {
    throw std::logic_error("no process has all ranks of a world of processes");
  }

  void run(int ranks, WorldOptions options, const std::function<void(Rank&)>& body, Report& report) override {
    void* const memory = ::mmap(nullptr, sizeof(SharedPage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    auto* const page = new (memory) SharedPage;
    std::vector<Child> children;
    for (int rank = 0; rank < ranks; ++rank) {
      children.push_back(start([&] { run_rank(rank, ranks, options, *page, body, report); }, report));
    }
    for (int rank = 0; rank < ranks; ++rank) finish(children[static_cast<std::size_t>(rank)], rank, report);
    ::munmap(memory, sizeof(SharedPage));
  }

 private:
  static void run_rank(int rank, int size, const WorldOptions& options, SharedPage& page,
                       const std::function<void(Rank&)>& body, Report& report) {
    int call = 0;
    const auto all_gather = [&](const void* mine, void* all, std::size_t bytes) {
      page.all_gather(rank, size, call++, mine, all, bytes);
    };
    try {
      World::from_all_gather(rank, size, all_gather, options).run(body);
    } catch (const std::exception& error) {
      report.fail(std::string("threw ") + error.what());
    }
  }

  template <typename Function>
  static Child start(Function function, const Report& report) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
    const pid_t process = ::fork();
    if (process < 0) throw std::runtime_error("no process");
    if (process > 0) {
      ::close(ends[1]);
      return {process, ends[0]};
    }
    ::alarm(static_cast<unsigned>(3 * case_deadline().count()));
    function();
    const std::string text = pack(report);
    for (std::size_t sent = 0; sent < text.size();) {
      const ssize_t bytes = ::write(ends[1], text.data() + sent, text.size() - sent);
      if (bytes <= 0) ::_exit(2);
      sent += static_cast<std::size_t>(bytes);
    }
    ::_exit(0);
  }

  static void finish(const Child& child, int rank, Report& report) {
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t bytes = 0; (bytes = ::read(child.output, part.data(), part.size())) > 0;) {
      text.append(part.data(), static_cast<std::size_t>(bytes));
    }
    ::close(child.output);
    int status = 0;
    ::waitpid(child.process, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      report.fail("the process of rank " + std::to_string(rank) + " ended with status " + std::to_string(status));
    }
    unpack(text, report);
  }
};

}  // namespace

Backend& host_processes() {
  static HostProcesses processes;
  return processes;
}

}  // namespace railyard::multi_rank
