// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/doctor.hpp"

#include "cli/doctor/checks.hpp"
#include "cli/environment_json.hpp"
#include "cli/output.hpp"
#include "diagnostics/format.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

namespace railyard::cli::doctor {
namespace {

using diagnostics::format;
using Json = nlohmann::ordered_json;

constexpr auto kLimit = std::chrono::seconds(30);  // of a check
constexpr const char* kFooter =
    R"(Each finding is ok, a note, a problem or not checked, with what was found and a remedy (docs/doctor.md).

Examples:
  railyard doctor                                        measures memory, and links between GPUs, too
  railyard doctor --quick --json -
  railyard doctor --rendezvous node-7:29501              on rank 0's machine: can it listen there, is it reached?

Exit status: 0 no problem, 1 a problem, 2 a command line that cannot be.)";

struct Check {
  std::string name;
  std::string remedy;  // of whatever it throws
  std::function<Findings()> look;
};

Findings left_out(const char* name, const char* found, const char* remedy) {
  return {{.check = name, .state = State::not_checked, .found = found, .remedy = remedy}};
}

std::vector<Check> checks_of(const Options& options, const std::optional<std::string>& trace_file) {
  const bool quick = options.quick;
  std::vector<Check> checks = {
      {"build", "", check_build},
      {"cpu", "mount /proc and /sys", check_cpu},
      {"memory", "mount /proc and /sys", check_memory},
      {"memory_limits", "mount /proc", check_memory_limits},
      {"memory_bandwidth", "free memory, and let the process have as many threads as cores",
       quick ? [] { return left_out("memory_bandwidth", "left out by --quick", "leave out --quick"); }
             : measure_memory_bandwidth},
      {"shared_memory", "mount /dev/shm", check_shared_memory},
      {"memfd", "raise `ulimit -n`; let the container's seccomp profile pass memfd_create and Unix sockets",
       check_memfd},
      {"open_files", "raise `ulimit -n`", check_open_files},
      {"variables", "unset the RAILYARD_ variables", [trace_file] { return check_variables(trace_file); }},
      {"launcher", "unset the launcher's variables", check_launcher},
      {"rendezvous", "raise `ulimit -n`; bring up the interface lo, and let firewalls pass it",
       check_loopback_rendezvous},
  };
  if (options.rendezvous) {
    checks.back().look = [at = *options.rendezvous] { return check_rendezvous_at(at.host, at.port); };
  }
  checks.push_back({"rendezvous", "raise `ulimit -n`, or unset RAILYARD_RENDEZVOUS", check_external_rendezvous});
#if defined(RAILYARD_CUDA)
  checks.push_back({"gpus", "see what nvidia-smi says", [quick] { return check_gpus(quick); }});
#else
  checks.push_back({"gpus", "", [] {
                      return left_out("gpus", "this build has no CUDA part",
                                      "to use GPUs build with the preset cuda (CONTRIBUTING.md)");
                    }});
#endif
  return checks;
}

/// What the check finds; of one that throws, that. Variables that cannot be read are one problem, not several.
Findings look(const Check& check) {
  try {
    return check.look();
  } catch (const Error& error) {
    const bool variables = error.code() == ErrorCode::environment;
    return {{.check = check.name,
             .state = variables ? State::not_checked : State::problem,
             .found = error.what(),
             .remedy = variables ? "correct the variable first" : check.remedy}};
  } catch (const std::exception& error) {
    return {{.check = check.name, .state = State::problem, .found = error.what(), .remedy = check.remedy}};
  }
}

/// The same, waiting no longer than the limit; `hung` says that the check is still running.
Findings look_in_time(const Check& check, bool& hung) {
  std::packaged_task<Findings()> task([check] { return look(check); });  // its own copy: it may outlive this call
  std::future<Findings> findings = task.get_future();
  std::thread thread;
  try {
    thread = std::thread(std::move(task));
  } catch (const std::system_error& error) {
    return {{.check = check.name,
             .state = State::problem,
             .found = format("no thread: {}", error.what()),
             .remedy = "raise `ulimit -u`, or the container's limit of processes"}};
  }
  if (findings.wait_for(kLimit) == std::future_status::ready) {
    thread.join();
    return findings.get();
  }
  hung = true;
  thread.detach();
  return {{.check = check.name,
           .state = State::problem,
           .found = format("no answer within {} s", kLimit.count()),
           .remedy = check.remedy}};
}

std::size_t count(const Findings& findings, State state) {
  return static_cast<std::size_t>(std::ranges::count(findings, state, &Finding::state));
}

void print(std::FILE* stream, const Finding& finding) {
  diagnostics::print(stream, "{:<11}  {:<16}  {}\n", name(finding.state), finding.check, finding.found);
  if (!finding.remedy.empty()) {
    diagnostics::print(stream, "{:<11}  {:<16}  -> {}\n", "", "", finding.remedy);
  }
  std::fflush(stream);
}

Json json_of(double number) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  return number == std::floor(number) && std::abs(number) <= kExact ? Json(static_cast<std::int64_t>(number))
                                                                    : Json(number);
}

Json json_of(const Finding& finding) {
  Json numbers = Json::object();
  for (const auto& [name, value] : finding.numbers) {
    numbers[name] = json_of(value);
  }
  return {{"check", finding.check},
          {"state", name(finding.state)},
          {"found", finding.found},
          {"remedy", finding.remedy.empty() ? Json(nullptr) : Json(finding.remedy)},
          {"numbers", numbers}};
}

Json json_of(const Environment& environment, const Findings& findings) {
  Json document = {{"schema", 1}, {"environment", to_json(environment)}, {"findings", Json::array()}};
  for (const Finding& finding : findings) {
    document["findings"].push_back(json_of(finding));
  }
  return document;
}

diagnostics::Endpoint parse_rendezvous(const std::string& text) {
  std::optional<diagnostics::Endpoint> endpoint = diagnostics::parse_endpoint(text);
  if (!endpoint) {
    throw UsageError(format("--rendezvous is '{}'; it is HOST:PORT with a port from 1 to 65535", text));
  }
  return std::move(*endpoint);
}

}  // namespace

std::function<Options()> add_options(CLI::App& command) {
  struct Parsed {
    Options options;
    std::string rendezvous;
  };
  auto parsed = std::make_shared<Parsed>();
  command.footer(kFooter);
  command.add_option("--json", parsed->options.json,
                     "Write the findings to this file; '-': to standard output, the rest to stderr");
  CLI::Option* rendezvous = command.add_option(
      "--rendezvous", parsed->rendezvous, "HOST:PORT at which ranks shall meet (default: two ranks here, on loopback)");
  command.add_flag("--quick", parsed->options.quick, "Measure nothing");
  return [parsed, rendezvous] {
    if (rendezvous->count() > 0) {
      parsed->options.rendezvous = parse_rendezvous(parsed->rendezvous);
    }
    return parsed->options;
  };
}

ExitStatus run(const Options& options) {
  require_writable("--json", options.json);
  std::FILE* stream = text_stream(options.json);
  Findings findings;
  bool hung = false;
  for (const Check& check : checks_of(options, take_trace_file())) {
    for (Finding& finding : look_in_time(check, hung)) {
      print(stream, finding);
      findings.push_back(std::move(finding));
    }
  }
  const std::size_t problems = count(findings, State::problem);
  diagnostics::print(stream, "\nok: {}, notes: {}, problems: {}, not checked: {}\n", count(findings, State::ok),
                     count(findings, State::note), problems, count(findings, State::not_checked));
  write_json(options.json, json_of(Environment::detect(), findings));
  const ExitStatus status = problems == 0 ? ExitStatus::verified : ExitStatus::failed;
  if (hung) {  // nothing is taken down under a check that still runs
    std::fflush(nullptr);
    std::_Exit(static_cast<int>(status));
  }
  return status;
}

}  // namespace railyard::cli::doctor
