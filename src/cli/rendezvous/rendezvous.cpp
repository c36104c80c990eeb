// SPDX-License-Identifier: Apache-2.0
#include "cli/rendezvous/rendezvous.hpp"

#include "bootstrap/tcp_hub.hpp"
#include "bootstrap/tcp_socket.hpp"
#include "diagnostics/environment.hpp"
#include "diagnostics/format.hpp"
#include "diagnostics/log.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>

namespace railyard::cli::rendezvous {
namespace {

constexpr int kMaxRanks = 4096;
constexpr auto kPortTimeout = std::chrono::seconds(1);
constexpr const char* kFooter =
    R"(Ranks meet here instead of in rank 0's process, so that rank 0 may be lost like any other rank: the others agree to
go on without it (Group::recover). They find it by RAILYARD_RENDEZVOUS=HOST:PORT beside the launcher's variables, or by
Rendezvous::external (docs/configuration.md). It holds no data and needs no GPU; where it ends, worlds that met there end.
When all ranks of a world have left or gone it waits for the next. The log on stderr (RAILYARD_LOG) says who came and went.

Examples:
  railyard rendezvous --ranks 16                         port 29501, until it is interrupted
  railyard rendezvous --ranks 4 --address 127.0.0.1 --port 0 --once    for one world of this machine, at a free port

Environment: RAILYARD_SECRET: who does not have it is refused.
Exit status: 0 the world of --once has ended, 1 it cannot listen, 2 a command line that cannot be.)";

}  // namespace

std::function<Options()> add_options(CLI::App& command) {
  auto options = std::make_shared<Options>(Options{.address = "0.0.0.0", .port = 29501});
  command.footer(kFooter);
  command.add_option("--ranks", options->ranks, "Ranks of a world")->required()->check(CLI::Range(1, kMaxRanks));
  command
      .add_option("--address", options->address,
                  "A loopback address: only this machine is let in; others: every interface")
      ->capture_default_str();
  command.add_option("--port", options->port, "Where to listen; 0: a free port, which is printed")
      ->capture_default_str();
  command.add_flag("--once", options->once, "End with the first world");
  return [options] { return *options; };
}

ExitStatus run(const Options& options) {
  const diagnostics::Environment environment = diagnostics::read_environment();
  const auto log = std::make_shared<diagnostics::Log>(environment.log_level.value_or(LogLevel::info), LogCallback{});
  const auto listen = [&options](std::uint16_t port) {
    return bootstrap::listen_at(options.address, port, bootstrap::deadline_after(kPortTimeout));
  };
  bootstrap::FileDescriptor listener = listen(options.port);
  const std::uint16_t port = bootstrap::port_of(listener.get());
  diagnostics::print(stdout, "rendezvous of {} ranks at port {}\n", options.ranks, port);
  std::fflush(stdout);
  while (true) {
    bootstrap::TcpHub(options.ranks, environment.secret, log, std::move(listener), {}).run();
    if (log->enabled(LogLevel::info)) log->write(LogLevel::info, "rendezvous: the world has ended");
    if (options.once) return ExitStatus::verified;
    listener = listen(port);  // ranks of the next world try again until they get in
  }
}

}  // namespace railyard::cli::rendezvous
