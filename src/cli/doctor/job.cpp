// SPDX-License-Identifier: Apache-2.0
// What a job tells its processes, and where they meet.
#include "bootstrap/launch_environment.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_socket.hpp"
#include "cli/doctor/checks.hpp"
#include "diagnostics/environment.hpp"
#include "diagnostics/format.hpp"
#include "diagnostics/trace.hpp"

#include <railyard/error.hpp>

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <future>
#include <optional>
#include <string>
#include <vector>

namespace railyard::cli::doctor {
namespace {

using bootstrap::Clock;
using bootstrap::FileDescriptor;
using diagnostics::format;

constexpr auto kRendezvousTimeout = std::chrono::seconds(5);
constexpr auto kArrivalTimeout = std::chrono::milliseconds(200);

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Meeting {
  double join_ms = 0.0;
  double gather_ms = 0.0;
};

/// One rank of two: joins, and sees what both brought.
Meeting meet(int rank, std::uint16_t port) {
  const Clock::time_point start = Clock::now();
  const auto self = bootstrap::make_tcp_bootstrap({.rank = rank, .size = 2, .address = "127.0.0.1", .port = port},
                                                  kRendezvousTimeout);
  Meeting meeting{.join_ms = milliseconds_since(start)};
  const int mine = rank + 1;
  std::array<int, 2> all{};
  const Clock::time_point joined = Clock::now();
  self->all_gather(&mine, all.data(), sizeof(mine), "the doctor's rendezvous", kRendezvousTimeout);
  meeting.gather_ms = milliseconds_since(joined);
  if (all != std::array{1, 2}) {
    throw Error(ErrorCode::unsupported, format("all_gather gave {} and {} for 1 and 2", all[0], all[1]));
  }
  return meeting;
}

/// Where the next connection to `listener` comes from; empty if none does.
std::string next_arrival(int listener) {
  pollfd event{.fd = listener, .events = POLLIN, .revents = 0};
  std::string origin;
  if (::poll(&event, 1, static_cast<int>(kArrivalTimeout.count())) > 0) {
    static_cast<void>(bootstrap::accept_from(listener, origin));
  }
  return origin;
}

/// Whether it is where RAILYARD_RENDEZVOUS says, by whatever name.
bool is_external(const std::string& host, std::uint16_t port, Clock::time_point deadline) {
  const auto external = external_rendezvous();
  if (!external || external->port != port) {
    return false;
  }
  if (external->host == host) {
    return true;
  }
  std::string failure;
  const auto addresses = bootstrap::addresses_of(host, deadline, failure);
  const auto externals = bootstrap::addresses_of(external->host, deadline, failure);
  return std::ranges::find_first_of(addresses, externals) != addresses.end();
}

/// This process's, or 0 without a launcher: another finding says what is wrong with it.
int rank_of_job() {
  try {
    return bootstrap::read_launch_environment(external_rendezvous()).rank;
  } catch (const Error&) {
    return 0;
  }
}

std::vector<std::string> faults_of_variables(const std::optional<std::string>& trace_file) {
  std::vector<std::string> faults = diagnostics::environment_faults();
  if (trace_file) {
    try {
      diagnostics::Trace::require_writable({.file = *trace_file, .first_rank = rank_of_job()});
    } catch (const Error& error) {
      faults.emplace_back(error.what());
    }
  }
  return faults;
}

}  // namespace

std::optional<diagnostics::Endpoint> external_rendezvous() {
  try {
    return diagnostics::read_environment().rendezvous;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<std::string> take_trace_file() {
  const char* value = std::getenv("RAILYARD_TRACE");
  if (value == nullptr || *value == '\0') {  // empty: it cannot be read
    return std::nullopt;
  }
  std::string file = value;
  ::unsetenv("RAILYARD_TRACE");
  return file;
}

Findings check_variables(const std::optional<std::string>& trace_file) {
  Findings findings;
  for (const std::string& fault : faults_of_variables(trace_file)) {
    findings.push_back({.check = "variables",
                        .state = State::problem,
                        .found = fault,
                        .remedy = "correct it or unset it (docs/configuration.md)"});
  }
  for (const std::string& variable : diagnostics::unread_variables()) {
    findings.push_back({.check = "variables",
                        .state = State::note,
                        .found = format("{} is set, and nothing reads it", variable),
                        .remedy = "look for a misspelling (docs/configuration.md)"});
  }
  if (findings.empty()) {
    findings.push_back({.check = "variables", .found = "every RAILYARD_ variable that is set can be read"});
  }
  return findings;
}

Findings check_launcher() {
  const std::string_view launcher = bootstrap::launcher_name();
  if (launcher.empty()) {
    return {{.check = "launcher",
             .state = State::note,
             .found = "none: no rank in RANK (torchrun), OMPI_COMM_WORLD_RANK (Open MPI) or SLURM_PROCID (Slurm)",
             .remedy = "ranks as threads need none; processes are started by torchrun, mpirun or srun"}};
  }
  try {
    const bootstrap::LaunchEnvironment job = bootstrap::read_launch_environment(external_rendezvous());
    std::string failure;
    if (!job.external &&
        bootstrap::addresses_of(job.address, bootstrap::deadline_after(kRendezvousTimeout), failure).empty()) {
      return {{.check = "launcher",
               .state = State::problem,
               .found = format("{}: MASTER_ADDR=\"{}\" has no address here: {}", launcher, job.address, failure),
               .remedy = "give a name or number of rank 0's machine that every machine of the job knows"}};
    }
    return {{.check = "launcher",
             .found = format("{}: rank {} of {}, {} on this machine, {} at {} port {}", launcher, job.rank, job.size,
                             job.local_rank, job.external ? "the rendezvous" : "rank 0", job.address, job.port),
             .numbers = {{"rank", job.rank}, {"size", job.size}, {"local_rank", job.local_rank}, {"port", job.port}}}};
  } catch (const Error& error) {
    return {{.check = "launcher",
             .state = State::problem,
             .found = format("{}: {}", launcher, error.what()),
             .remedy = "set it for every process, or unset the launcher's variables if ranks are threads "
                       "(docs/configuration.md)"}};
  }
}

Findings check_loopback_rendezvous() {
  const auto [reservation, port] = bootstrap::reserve_loopback_port();
  std::future<Meeting> other = std::async(std::launch::async, meet, 1, port);
  const Meeting meeting = meet(0, port);
  static_cast<void>(other.get());
  return {{.check = "rendezvous",
           .found = format("two ranks met at 127.0.0.1 port {} in {:.2f} ms; an all_gather took {:.2f} ms", port,
                           meeting.join_ms, meeting.gather_ms),
           .numbers = {{"join_ms", meeting.join_ms}, {"gather_ms", meeting.gather_ms}}}};
}

Findings check_rendezvous_at(const std::string& host, std::uint16_t port) {
  const Clock::time_point deadline = bootstrap::deadline_after(kRendezvousTimeout);
  if (is_external(host, port, deadline)) {
    return {};
  }
  FileDescriptor listener;
  std::string refusal;
  try {
    listener = bootstrap::listen_at(host, port, deadline);
  } catch (const Error& error) {
    refusal = error.what();
  }
  std::string failure;
  const FileDescriptor connection = bootstrap::connect_to(host, port, deadline, failure);
  const std::string where = format("{} port {}", host, port);
  Finding finding{.check = "rendezvous", .numbers = {{"port", port}}};
  if (!connection.valid()) {
    finding.state = State::problem;
    finding.found = listener.valid() ? format("nothing answers at {}: {}", where, failure)
                                     : format("{}; nothing answers there: {}", refusal, failure);
    finding.remedy =
        "give the address of rank 0's machine, and let firewalls pass the port; from another machine, ask "
        "while something listens there";
  } else if (!listener.valid()) {
    finding.state = State::problem;
    finding.found = format("{}; something answers there already", refusal);
    finding.remedy =
        "take another port, or end what listens there: ss -ltnp shows it; if it is `railyard rendezvous`, set "
        "RAILYARD_RENDEZVOUS";
  } else if (const std::string origin = next_arrival(listener.get()); origin.empty()) {
    finding.found = format("another machine answers at {}", where);
  } else {
    finding.found = format("rank 0 can listen here at {}, and is reached (from {})", where, origin);
  }
  return {finding};
}

Findings check_external_rendezvous() {
  const auto external = external_rendezvous();
  if (!external) {
    return {};
  }
  std::string failure;
  const FileDescriptor connection =
      bootstrap::connect_to(external->host, external->port, bootstrap::deadline_after(kRendezvousTimeout), failure);
  const std::string where =
      format("at {} port {}, where RAILYARD_RENDEZVOUS says that ranks meet", external->host, external->port);
  Finding finding{.check = "rendezvous", .numbers = {{"port", external->port}}};
  if (connection.valid()) {
    finding.found = format("something answers {}", where);
  } else {
    finding.state = State::problem;
    finding.found = format("nobody answers {}: {}", where, failure);
    finding.remedy =
        "start `railyard rendezvous` there before the ranks, and let firewalls pass the port; or unset "
        "RAILYARD_RENDEZVOUS, so that rank 0 listens";
  }
  return {finding};
}

}  // namespace railyard::cli::doctor
