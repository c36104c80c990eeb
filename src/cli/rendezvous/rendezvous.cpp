// SPDX-License-Identifier: Apache-2.0
#include "cli/rendezvous/rendezvous.hpp"

#include "bootstrap/bootstrap.hpp"
#include "bootstrap/tcp_hub.hpp"
#include "bootstrap/tcp_socket.hpp"
#include "diagnostics/environment.hpp"
#include "diagnostics/format.hpp"
#include "diagnostics/log.hpp"
#include "diagnostics/unblocked_write.hpp"

#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace railyard::cli::rendezvous {
namespace {

constexpr auto kPortTimeout = std::chrono::seconds(1);
constexpr rlim_t kSpareDescriptors = 300;  // beside one for each rank: strangers, and what a process has anyway
constexpr const char* kFooter =
    R"(Ranks meet here instead of in rank 0's process, so that rank 0 may be lost like any other rank: the others agree to
go on without it (Group::recover). They find it by RAILYARD_RENDEZVOUS=HOST:PORT beside the launcher's variables, or by
Rendezvous::external (docs/configuration.md). It holds no data and needs no GPU; where it ends, worlds that met there end.
When all ranks of a world have left or gone it waits for the next, without a deadline: ranks have theirs. The log on
stderr (RAILYARD_LOG) says who came and went; lines that nobody reads are dropped.

Examples:
  railyard rendezvous --ranks 16                         port 29600, until it is interrupted
  railyard rendezvous --ranks 4 --address 127.0.0.1 --port 0 --once    for one world of this machine, at a free port

Environment: RAILYARD_SECRET: who does not have it is refused.
Exit status: 0 the world of --once has ended, 1 it cannot listen, 2 a command line that cannot be.)";

/// The process lives on without whoever reads its output, and gives no socket a standard stream's place.
void keep_streams_harmless() {
  ::signal(SIGPIPE, SIG_IGN);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0) static_cast<void>(::open("/dev/null", O_RDWR));  // takes the lowest that is free
  }
}

/// One line on stderr, if that does not have to wait for a reader.
void write_line(LogLevel level, std::string_view line) {
  const std::string text = diagnostics::format("{}: {}\n", level == LogLevel::info ? "info" : "warning", line);
  static_cast<void>(diagnostics::write_unless_blocked(STDERR_FILENO, text));
}

void raise_descriptor_limit(int ranks) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t needed = static_cast<rlim_t>(ranks) + kSpareDescriptors;
  if (limit.rlim_cur >= needed) return;
  throw Error(ErrorCode::out_of_memory,
              diagnostics::format("{} files may be open, and {} ranks need {}: raise `ulimit -Hn`", limit.rlim_cur,
                                  ranks, needed));
}

bootstrap::FileDescriptor duplicate(const bootstrap::FileDescriptor& descriptor) {
  bootstrap::FileDescriptor copy(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) throw Error(ErrorCode::out_of_memory, "no file descriptor to listen");
  return copy;
}

}  // namespace

std::function<Options()> add_options(CLI::App& command) {
  auto options = std::make_shared<Options>(Options{.address = "0.0.0.0", .port = 29600});
  command.footer(kFooter);
  command.add_option("--ranks", options->ranks, "Ranks of a world")
      ->required()
      ->check(CLI::Range(1, bootstrap::kMaxRanks));
  command
      .add_option("--address", options->address,
                  "A loopback address: only this machine is let in; others: every interface")
      ->capture_default_str();
  command.add_option("--port", options->port, "Where to listen; 0: a free port, which is printed")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  command.add_flag("--once", options->once, "End with the first world, however long it takes to meet");
  return [options] { return *options; };
}

ExitStatus run(const Options& options) {
  keep_streams_harmless();
  raise_descriptor_limit(options.ranks);
  const diagnostics::Environment environment = diagnostics::read_environment();
  const auto log = std::make_shared<diagnostics::Log>(environment.log_level.value_or(LogLevel::info), write_line);
  const bootstrap::FileDescriptor listener =
      bootstrap::listen_at(options.address, options.port, bootstrap::deadline_after(kPortTimeout));
  const std::string place =
      diagnostics::format("rendezvous of {} ranks at port {}\n", options.ranks, bootstrap::port_of(listener.get()));
  std::fwrite(place.data(), 1, place.size(), stdout);
  std::fflush(stdout);
  do {
    bootstrap::TcpHub(options.ranks, environment.secret, log, duplicate(listener), {}).run();
    if (log->enabled(LogLevel::info)) log->write(LogLevel::info, "rendezvous: the world has ended");
  } while (!options.once);
  return ExitStatus::verified;
}

}  // namespace railyard::cli::rendezvous
