// SPDX-License-Identifier: Apache-2.0
// The program `railyard`.
#include "cli/bench/bench.hpp"
#include "cli/demo/demo.hpp"
#include "cli/doctor/doctor.hpp"
#include "cli/environment.hpp"
#include "cli/exit_status.hpp"
#include "cli/inspect/inspect.hpp"
#include "cli/output.hpp"
#include "cli/rendezvous/rendezvous.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <system_error>

namespace {

using railyard::cli::ExitStatus;

constexpr const char* kExamples = R"(Examples:
  railyard demo                                          a verified layer on 8 ranks, in seconds
  railyard demo --text README.md --ranks 5 --codec fp8_e4m3
  railyard demo --corrupt                                must end with 'verified: no' and status 1
  railyard bench throughput --explain                    against memcpy of the same bytes
  railyard bench throughput --layout expert_major --codec fp8_e4m3 --routing zipf --skew 1.2
  railyard bench low-latency --tokens 1 8 32 128 --json result.json
  railyard bench throughput --device cuda --sms 8,16,24 --plot sms.svg
  railyard bench link                                    what this machine's memory and cores can do
  railyard bench link --device cuda                      what its GPUs and the links between them can do
  railyard inspect --routing zipf --ranks 16 --domain-size 8    what a routing does to ranks and links
  railyard inspect --ids ids.npy --experts 256 --ranks 8 --svg heat.svg
  railyard doctor                                        what is wrong with this machine, before a job finds out
  railyard doctor --rendezvous node-7:29501              can ranks meet there?
  railyard rendezvous --ranks 16                         where ranks meet, so that any of them may be lost

Exit status: 0 all results verified, 1 a wrong result, a failure or a problem found, 2 a command line that cannot be.
Environment: RAILYARD_LOG, RAILYARD_TIMEOUT_S, RAILYARD_DEBUG, RAILYARD_GPU_HANDLES, RAILYARD_TRACE, RAILYARD_RENDEZVOUS,
RAILYARD_SECRET (docs/configuration.md).)";

int exit_code(ExitStatus status) { return static_cast<int>(status); }

/// One line on standard error.
int fail(ExitStatus status, const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return exit_code(status);
}

/// Takes no memory.
int fail_without_memory() {
  std::fputs(
      "RY-OUT-OF-MEMORY: the system refused the program memory: ask for less, or raise the limit of its memory, or "
      "`ulimit -v`\n",
      stderr);
  return exit_code(ExitStatus::failed);
}

std::terminate_handler terminate_before = nullptr;

/// Also where no exception can pass: a destructor that takes memory, as nlohmann-json's do.
void terminate() {
  try {
    if (std::current_exception()) throw;
  } catch (const std::bad_alloc&) {
    std::_Exit(fail_without_memory());
  } catch (...) {
  }
  terminate_before();
}

/// The subcommand that was named last, for the advice after a usage error.
std::string command_path(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* command = &app; !command->get_subcommands().empty();) {
    command = command->get_subcommands().front();
    path += " " + command->get_name();
  }
  return path;
}

}  // namespace

int main(int argc, char** argv) {
  terminate_before = std::set_terminate(terminate);
  CLI::App app{"Railyard: expert-parallel communication for Mixture-of-Experts models", "railyard"};
  app.require_subcommand(1);
  app.footer(kExamples);
  app.get_formatter()->column_width(34);
  app.set_version_flag(
      "--version", [] { return railyard::cli::version_text(); }, "Print what this build is, and exit");

  CLI::App* demo = app.add_subcommand("demo", "Run a Mixture-of-Experts layer on a text and verify it");
  const auto demo_options = railyard::cli::demo::add_options(*demo);
  CLI::App* bench = app.add_subcommand("bench", "Measure operations, verified first, beside this machine's limits");
  const auto bench_options = railyard::cli::bench::add_options(*bench);
  CLI::App* doctor = app.add_subcommand("doctor", "Look for what is wrong with this machine, and say what to do");
  const auto doctor_options = railyard::cli::doctor::add_options(*doctor);
  CLI::App* inspect = app.add_subcommand("inspect", "Count what a routing does to ranks, experts and links");
  const auto inspect_options = railyard::cli::inspect::add_options(*inspect);
  CLI::App* rendezvous = app.add_subcommand("rendezvous", "Let the processes of a world meet in one that is no rank");
  const auto rendezvous_options = railyard::cli::rendezvous::add_options(*rendezvous);

  const auto run = [&] {
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& request) {  // --help, --version
      app.exit(request);
      return ExitStatus::verified;
    }
    if (demo->parsed()) return railyard::cli::demo::run(demo_options());
    if (inspect->parsed()) return railyard::cli::inspect::run(inspect_options());
    if (rendezvous->parsed()) return railyard::cli::rendezvous::run(rendezvous_options());
    if (doctor->parsed()) return railyard::cli::doctor::run(doctor_options());
    return railyard::cli::bench::run(bench_options());
  };
  try {
    const ExitStatus status = run();
    if (!rendezvous->parsed()) railyard::cli::flush_standard_output();  // that one may lose its reader
    return exit_code(status);
  } catch (const CLI::ParseError& error) {
    return fail(ExitStatus::usage,
                "RY-INVALID-ARGUMENT: " + std::string(error.what()) + " (see " + command_path(app) + " --help)");
  } catch (const railyard::cli::UsageError& error) {
    return fail(ExitStatus::usage, std::string(error.what()) + " (see " + command_path(app) + " --help)");
  } catch (const std::bad_alloc&) {
    return fail_without_memory();
  } catch (const std::system_error& error) {
    const bool lost = std::ferror(stdout) != 0;
    return fail(
        ExitStatus::failed,
        lost ? "RY-INVALID-ARGUMENT: standard output cannot be written: " + error.code().message() : error.what());
  } catch (const std::exception& error) {
    return fail(ExitStatus::failed, error.what());
  }
}
