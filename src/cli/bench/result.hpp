// SPDX-License-Identifier: Apache-2.0
// What a run has to say, as data. docs/bench.schema.json describes the JSON.
#pragma once

#include "cli/bench/options.hpp"
#include "cli/bench/timing.hpp"
#include "cli/environment.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace railyard::cli::bench {

struct Times {
  double median_us = 0.0;
  double p99_us = 0.0;
};

/// Work that ran at the same time, on other SMs.
struct Beside {
  std::string name;
  int sms = 0;
  double alone_ratio = 0.0;  // median beside it / median alone
};

/// One line of the table. Absent: does not apply, or (times) not measured because the result was wrong.
struct Result {
  std::string name;  // of a peer; empty for our own
  std::string operation;
  std::optional<Layout> layout;
  std::optional<Codec> codec;
  bool quantise = false;
  std::optional<DType> input_dtype;
  std::string algorithm;
  std::string timing = "host";  // or graph, event
  int sms = 0;                  // that it was allowed; 0 on the host
  int tokens = 0;
  std::int64_t wire_bytes = 0;  // that the busiest rank sent over links, mean over the slots
  std::optional<Times> times;
  double gbps = 0.0;                  // wire bytes per time; link: bytes copied or encoded per time
  std::optional<double> limit_ratio;  // median / median of memcpy of the same bytes, or their time at the link's rate
  std::optional<Beside> beside;
  bool verified = false;
};

/// memcpy of as many bytes as an operation moves, by as many threads.
struct MeasuredLimit {
  std::string operation;
  int tokens = 0;
  std::int64_t bytes = 0;  // of the busiest rank
  double median_us = 0.0;
  double gbps = 0.0;
};

/// Bytes per time between two GPUs, or within one.
struct MeasuredRate {
  std::string operation;  // push, pull, copy_engine, local_copy
  std::string algorithm;
  int sms = 0;  // 0: none takes part
  double gbps = 0.0;
};

struct Limits {
  std::vector<MeasuredLimit> copies;
  std::vector<MeasuredRate> links;    // cuda: the best of each operation
  std::optional<double> flag_us;      // one way
  std::optional<double> encode_gbps;  // FP8, input bytes per core
};

struct Run {
  Environment environment;
  Options options;
  Limits limits;
  std::vector<Result> results;
  std::vector<Result> peers;

  [[nodiscard]] bool verified() const;
};

void print_heading(std::FILE* stream, const Run& run);
void print_results(std::FILE* stream, const Run& run);
[[nodiscard]] nlohmann::ordered_json to_json(const Run& run);

}  // namespace railyard::cli::bench
