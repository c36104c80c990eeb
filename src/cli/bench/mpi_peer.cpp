// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/mpi_peer.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

namespace railyard::cli::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kSilence{120};  // the peer writes a line each second while it works
constexpr int kNotFound = 127;                 // as shells have it

/// Beside this program.
std::filesystem::path find_program() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::filesystem::path program = self.parent_path() / "railyard_mpi_peer";
  if (::access(program.c_str(), X_OK) != 0) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("--peers mpi: {} is not there; it is built where CMake finds MPI (RAILYARD_MPI)",
                                    program.string()));
  }
  return program;
}

std::vector<std::string> command_of(const Options& options) {
  std::vector<std::string> command = {
      "mpirun", "--oversubscribe", "--bind-to", "none", "-n", std::to_string(options.ranks)};
  if (::geteuid() == 0) {
    command.emplace_back("--allow-run-as-root");
  }
  command.push_back(find_program());
  command.emplace_back(name(options.subject));
  std::string tokens;
  for (const int count : options.tokens) {
    tokens += diagnostics::format("{}{}", tokens.empty() ? "" : ",", count);
  }
  const auto add = [&](const char* option, std::string value) {
    command.emplace_back(option);
    command.push_back(std::move(value));
  };
  add("--ranks", std::to_string(options.ranks));
  add("--tokens", tokens);
  add("--hidden", std::to_string(options.hidden));
  add("--experts", std::to_string(options.experts));
  add("--top-k", std::to_string(options.top_k));
  add("--codec", std::string(railyard::name(options.codec)));
  add("--routing", std::string(name(options.routing)));
  if (options.routing == Routing::zipf) {
    add("--skew", diagnostics::format("{}", options.skew));
  }
  add("--seed", std::to_string(options.seed));
  add("--warmup", std::to_string(options.warmup));
  add("--iterations", std::to_string(options.iterations));
  if (options.reuse_buffers) {
    command.emplace_back("--reuse-buffers");
  }
  return command;
}

/// A program that runs, and what it writes to standard output. It ends with this process.
class Child {
 public:
  explicit Child(std::vector<std::string> command) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0 || (process_ = ::fork()) < 0) {
      throw Error(ErrorCode::out_of_memory, diagnostics::format("{}: {}", command.front(), std::strerror(errno)));
    }
    if (process_ == 0) {
      std::vector<char*> arguments;
      for (std::string& argument : command) {
        arguments.push_back(argument.data());
      }
      arguments.push_back(nullptr);
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      ::dup2(ends[1], STDOUT_FILENO);
      ::execvp(arguments.front(), arguments.data());
      std::_Exit(kNotFound);
    }
    ::close(ends[1]);
    output_ = ends[0];
  }
  ~Child() {
    if (process_ > 0) {
      ::kill(process_, SIGTERM);  // mpirun ends its processes
      for (int look = 0; look < 50 && ::waitpid(process_, nullptr, WNOHANG) == 0; ++look) {
        ::usleep(100'000);
      }
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
    ::close(output_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Everything, once the program has ended its output; false if nothing comes for `silence`.
  bool read(std::chrono::milliseconds silence, std::string& text) {
    std::array<char, 4096> part{};
    Clock::time_point deadline = Clock::now() + silence;
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      pollfd ready{output_, POLLIN, 0};
      if (left.count() <= 0) {
        return false;
      }
      if (::poll(&ready, 1, static_cast<int>(left.count())) <= 0) {
        continue;
      }
      const ssize_t bytes = ::read(output_, part.data(), part.size());
      if (bytes <= 0) {
        return true;
      }
      text.append(part.data(), static_cast<std::size_t>(bytes));
      deadline = Clock::now() + silence;
    }
  }

  /// As a shell has it. After `read`.
  int wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t process_ = 0;
  int output_ = -1;
};

}  // namespace

std::string answer_of(std::vector<std::string> command, std::chrono::milliseconds silence) {
  Child child(std::move(command));
  std::string text;
  if (!child.read(silence, text)) {
    throw Error(ErrorCode::timeout, diagnostics::format("the peer mpi gave no sign of life for {} s",
                                                        std::chrono::duration<double>(silence).count()));
  }
  const int status = child.wait();
  if (status == kNotFound) {
    throw Error(ErrorCode::unsupported, "--peers mpi: mpirun cannot be started; is Open MPI installed?");
  }
  if (status != 0) {
    throw Error(ErrorCode::rank_failed, diagnostics::format("the peer mpi ended with status {}", status));
  }
  return text;
}

std::vector<Result> results_of(const Options& options, std::string_view answer) {
  const nlohmann::json document = nlohmann::json::parse(answer, nullptr, false);
  if (!document.is_object()) {
    throw Error(ErrorCode::rank_failed, "the peer mpi wrote something that is no JSON");
  }
  std::vector<Result> results;
  try {
    for (const nlohmann::json& measured : document.at("results")) {
      Result& result = results.emplace_back();
      result.name = measured.at("name");
      result.operation = measured.at("operation");
      result.layout = options.layout;
      result.codec = options.codec;
      result.input_dtype = element_type(options.codec);
      result.algorithm = "MPI_Alltoallv of " + document.at("library").get<std::string>();
      result.tokens = measured.at("tokens");
      result.wire_bytes = measured.at("wire_bytes");
      result.verified = measured.at("verified");
      if (result.verified) {
        result.times = Times{measured.at("us_median"), measured.at("us_p99")};
        result.gbps = static_cast<double>(result.wire_bytes) / result.times->median_us * 1e-3;
      }
    }
  } catch (const nlohmann::json::exception& error) {
    const std::string_view text = error.what();  // after the library's own number of it
    throw Error(ErrorCode::rank_failed, diagnostics::format("the peer mpi wrote JSON that cannot be used: {}",
                                                            text.substr(text.find(']') + 2)));
  }
  return results;
}

std::vector<Result> measure_mpi(const Options& options) {
  return results_of(options, answer_of(command_of(options), kSilence));
}

}  // namespace railyard::cli::bench
