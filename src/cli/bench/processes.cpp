// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/processes.hpp"

#include "cli/bench/timing.hpp"
#include "diagnostics/format.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <vector>

namespace railyard::cli::bench {
namespace {

/// Memory in which forked processes meet until they have a world.
class Page {
 public:
  explicit Page(int ranks) : bytes_(sizeof(StartLine) + static_cast<std::size_t>(ranks) * kBlock) {
    void* const data = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      throw Error(ErrorCode::out_of_memory, diagnostics::format("a page for {} processes: {}", ranks, reason()));
    }
    line_ = new (data) StartLine(ranks);
  }
  ~Page() { ::munmap(line_, bytes_); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  void all_gather(int rank, int size, const void* mine, void* all, std::size_t bytes) {
    if (bytes > kBlock) {
      throw std::logic_error("more than fits into the page where processes meet");
    }
    std::memcpy(block(rank), mine, bytes);
    static_cast<void>(line_->wait());
    for (int other = 0; other < size; ++other) {
      std::memcpy(static_cast<std::byte*>(all) + static_cast<std::size_t>(other) * bytes, block(other), bytes);
    }
    static_cast<void>(line_->wait());  // nobody's next block comes earlier
  }

  static const char* reason() { return std::strerror(errno); }

 private:
  static constexpr std::size_t kBlock = 1024;

  std::byte* block(int rank) {
    return static_cast<std::byte*>(static_cast<void*>(line_ + 1)) + static_cast<std::size_t>(rank) * kBlock;
  }

  std::size_t bytes_;
  StartLine* line_;
};

/// What the process of a rank does.
ExitStatus be_rank(int rank, int ranks, Page& page, const std::function<ExitStatus(World&, int)>& run_rank) try {
  World world = World::from_all_gather(rank, ranks, [&](const void* mine, void* all, std::size_t bytes) {
    page.all_gather(rank, ranks, mine, all, bytes);
  });
  const ExitStatus status = run_rank(world, rank);
  world.run([](Rank& own) { own.barrier(); });  // nobody leaves while others measure
  return status;
} catch (const std::exception& error) {
  diagnostics::print(stderr, "{}\n", error.what());
  return ExitStatus::failed;
}

void kill_all(const std::vector<pid_t>& processes) {
  for (const pid_t process : processes) {
    ::kill(process, SIGKILL);
  }
}

/// Waits for all. The first that fails ends the others.
ExitStatus wait_for(const std::vector<pid_t>& processes) {
  ExitStatus result = ExitStatus::verified;
  std::vector<pid_t> running = processes;
  while (!running.empty()) {
    int status = 0;
    const pid_t process = ::wait(&status);
    const auto place = std::find(running.begin(), running.end(), process);
    if (place == running.end()) {
      continue;
    }
    running.erase(place);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      continue;
    }
    if (WIFSIGNALED(status) && result == ExitStatus::verified) {
      const auto rank = std::find(processes.begin(), processes.end(), process) - processes.begin();
      diagnostics::print(stderr, "{}: the process of rank {} ended by signal {} ({})\n",
                         code_name(ErrorCode::rank_failed), rank, WTERMSIG(status), ::strsignal(WTERMSIG(status)));
    }
    result = ExitStatus::failed;
    kill_all(running);
  }
  return result;
}

}  // namespace

ExitStatus run_as_processes(int ranks, const std::function<ExitStatus(World& world, int rank)>& run_rank) {
  Page page(ranks);
  const pid_t parent = ::getpid();
  std::vector<pid_t> processes;
  std::fflush(nullptr);  // or every process would write it
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t process = ::fork();
    if (process < 0) {
      const std::string reason = Page::reason();
      kill_all(processes);
      static_cast<void>(wait_for(processes));
      throw Error(ErrorCode::out_of_memory,
                  diagnostics::format("the system refused a process for rank {} of {}: {}", rank, ranks, reason));
    }
    if (process == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) {
        std::_Exit(static_cast<int>(ExitStatus::failed));
      }
      std::exit(static_cast<int>(be_rank(rank, ranks, page, run_rank)));
    }
    processes.push_back(process);
  }
  return wait_for(processes);
}

}  // namespace railyard::cli::bench
