// SPDX-License-Identifier: Apache-2.0
// The options of `railyard bench throughput|low-latency|link`. They are an interface: scripts depend on them.
#pragma once

#include "cli/routing.hpp"

#include <railyard/types.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace railyard::cli::bench {

enum class Subject : std::uint8_t { throughput, low_latency, link };

/// As the command line spells it.
[[nodiscard]] std::string_view name(Subject subject) noexcept;

struct Options : SyntheticRouting {  // the routing of every rank; its seed is also that of rows and weights
  Subject subject = Subject::throughput;
  int ranks = 2;
  std::string launch = "threads";
  std::string device = "host";
  std::vector<int> tokens;  // per rank; several: a sweep
  int hidden = 7168;
  Layout layout = Layout::rank_major;
  Codec codec = Codec::bf16;
  std::vector<int> devices;  // of cuda, for the ranks in turn; empty: all that are there
  std::vector<int> sms;      // several: a sweep; empty: what the library takes
  int warmup = 5;
  int iterations = 50;
  std::string beside;            // work on the SMs that operations leave; empty: none
  bool wait_statistics = false;  // of cuda: operations keep them while they are measured
  bool reuse_buffers = false;    // of the host: two sets in turn, which stay in the caches if they fit
  std::vector<std::string> peers;
  bool explain = false;
  std::string json;  // path or "-"; empty: none
  std::string plot;  // path; empty: none

  [[nodiscard]] bool peers_include(std::string_view name) const {
    return std::find(peers.begin(), peers.end(), name) != peers.end();
  }
  [[nodiscard]] DeviceKind device_kind() const { return device == "cuda" ? DeviceKind::cuda : DeviceKind::host; }
  [[nodiscard]] Mode mode() const { return subject == Subject::low_latency ? Mode::low_latency : Mode::throughput; }
};

/// Adds the subcommands; the returned function gives the options after parsing. It throws UsageError.
[[nodiscard]] std::function<Options()> add_options(CLI::App& command);

}  // namespace railyard::cli::bench
