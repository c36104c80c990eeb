// SPDX-License-Identifier: Apache-2.0
// Times the throughput kernels alone, without the library around them: one rank per GPU, hidden 7168, top-8 of 256.
// Everything is compared with the reference once per shape, and with that verified output after each timing.
//
// Times are of the whole operation with its exchange: median over replays of the slowest rank, microseconds. `graph`:
// eight operations per captured graph, inputs and outputs rotated through more than twice the L2; `event`: single
// calls.
#include "device/cuda_ranks.hpp"
#include "device/exchange.hpp"
#include "device/scenario.hpp"
#include "throughput/cuda_combine_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>

namespace railyard::device_tests {
namespace {

constexpr const char* kUsage =
    "usage: cuda_kernels_bench [name=value ...]\n"
    "\n"
    "  tokens=4096 ranks=2 devices=2 blocks=16 what=all zipf=0 reps=12 verify=1 routed=0\n"
    "  senders=0 stages=0 reducers=0 chunk=0\n"
    "\n"
    "what: bf16, fp8, quantise, combine or all. blocks, senders, stages, reducers and chunk take lists: every "
    "combination\n"
    "is timed (stages: 0 for the default; 3 to 8 where rows are copied, 2 to 8 of combine; chunk: at most; what a "
    "combine\n"
    "used of these is printed).\n";
constexpr const char* kNames[] = {"tokens", "ranks",  "devices", "blocks", "what",     "zipf", "reps",
                                  "verify", "routed", "senders", "stages", "reducers", "chunk"};

constexpr int kOperationsPerGraph = 8;
constexpr std::size_t kRotatedBytes = std::size_t{150} << 20;
constexpr std::size_t kMaxRotation = 6;

using Arguments = std::map<std::string, std::string>;

struct Times {
  double median = 0;
  double p99 = 0;
};

int number(const Arguments& arguments, const char* name, int fallback) {
  const auto found = arguments.find(name);
  return found == arguments.end() ? fallback : std::atoi(found->second.c_str());
}

std::vector<int> numbers(const Arguments& arguments, const char* name, const char* fallback) {
  const auto found = arguments.find(name);
  std::stringstream text(found == arguments.end() ? std::string(fallback) : found->second);
  std::vector<int> values;
  for (std::string item; std::getline(text, item, ',');) values.push_back(std::atoi(item.c_str()));
  return values;
}

Times summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values[values.size() * 99 / 100]};
}

// Experts drawn without repetition; with `zipf`, expert e has weight 1/(1 + e), so that the first rank is the busiest.
void route(Scenario& scenario, int tokens, bool zipf, std::mt19937& random) {
  constexpr int kExperts = 256;
  std::vector<double> cumulative(kExperts);
  double sum = 0;
  for (int e = 0; e < kExperts; ++e) {
    sum += zipf ? 1.0 / (1 + e) : 1.0;
    cumulative[static_cast<std::size_t>(e)] = sum;
  }
  for (reference::Source& source : scenario.sources) {
    source.tokens = tokens;
    source.ids.clear();
    source.weights.clear();
    for (int token = 0; token < tokens; ++token) {
      std::vector<std::int64_t> chosen;
      while (chosen.size() < 8) {
        const double draw = static_cast<double>(random()) / 4294967296.0 * sum;
        const std::int64_t id = std::upper_bound(cumulative.begin(), cumulative.end(), draw) - cumulative.begin();
        if (std::find(chosen.begin(), chosen.end(), id) == chosen.end()) chosen.push_back(id);
      }
      source.ids.insert(source.ids.end(), chosen.begin(), chosen.end());
      for (int k = 0; k < 8; ++k) source.weights.push_back(static_cast<float>(random() % 1000) / 1000.0F);
    }
  }
}

Scenario make_scenario(const std::string& what, int num_ranks, int tokens, bool zipf) {
  std::mt19937 random(123);
  Scenario scenario;
  reference::Config& config = scenario.config;
  config.experts_per_rank.assign(static_cast<std::size_t>(num_ranks), 256 / num_ranks);
  config.top_k = 8;
  config.hidden = 7168;
  config.has_weights = true;
  config.heap_exhausted.assign(static_cast<std::size_t>(num_ranks), false);
  if (what == "fp8") {
    config.input = DType::fp8_e4m3;
    config.input_scales = DType::fp32;
  }
  if (what == "quantise") config.codec = Codec::fp8_e4m3;
  scenario.sources.resize(static_cast<std::size_t>(num_ranks));
  route(scenario, tokens, zipf, random);
  const std::size_t elements = static_cast<std::size_t>(tokens) * 7168;
  for (reference::Source& source : scenario.sources) {
    source.x = random_elements(config.input, elements, random, false);
    if (config.input_scales)
      source.scales = random_elements(DType::fp32, static_cast<std::size_t>(tokens) * 56, random, false);
  }
  config.capacity.assign(static_cast<std::size_t>(num_ranks), static_cast<std::int64_t>(tokens) * num_ranks);
  scenario.placing.blocks.assign(static_cast<std::size_t>(num_ranks), 16);
  scenario.placing.combine_blocks = scenario.placing.blocks;
  if (what == "combine") {
    make_y(scenario, random);
  } else {
    scenario.combine.y.assign(static_cast<std::size_t>(num_ranks), reference::Bytes(config.capacity[0] * 7168 * 2));
  }
  return scenario;
}

// Launches per rank that use other copies of the same inputs, and other outputs.
struct Rotation {
  std::vector<std::vector<throughput::DispatchLaunch>> dispatches;  // [rank][copy]
  std::vector<std::vector<throughput::CombineLaunch>> combines;
};

class Bench {
 public:
  Bench(const Arguments& arguments, std::string what)
      : arguments_(arguments),
        what_(std::move(what)),
        tokens_(number(arguments, "tokens", 4096)),
        routed_(number(arguments, "routed", 0) != 0),
        scenario_(make_scenario(what_, number(arguments, "ranks", 2), tokens_, number(arguments, "zipf", 0) != 0)),
        ranks_({.num_ranks = number(arguments, "ranks", 2),
                .num_devices = number(arguments, "devices", 2),
                .heap_bytes = std::size_t{4} << 30,
                .local_bytes = std::size_t{3} << 30}),
        exchange_(ranks_, scenario_) {
    rotate();
  }

  [[nodiscard]] bool verify() {
    expected_ = reference::dispatch(scenario_.config, scenario_.sources);
    find_wire_bytes();
    if (number(arguments_, "verify", 1) == 0) {
      launch_all_once();
      keep_outputs();
      return true;
    }
    exchange_.poison();
    exchange_.launch_dispatch();
    ranks_.synchronize();
    std::string wrong = exchange_.compare_dispatch(expected_, false);
    if (wrong.empty() && what_ == "combine") {
      exchange_.launch_combine();
      ranks_.synchronize();
      wrong = exchange_.compare_combine(expected_);
    }
    if (!wrong.empty()) std::printf("%s: %s\n", what_.c_str(), wrong.c_str());
    keep_outputs();
    return wrong.empty();
  }

  struct Choice {
    int blocks;
    int senders;
    int stages;
    int reducers;
    int chunk;
  };

  void time(const Choice& choice) {
    const auto launch = [&](int r, int i) { launch_one(r, static_cast<std::size_t>(i), choice); };
    const Times graph = time_graph(launch);
    const Times event = time_events(24, launch);
    double wait = 0;
    if (what_ != "combine") {
      for (int r = 0; r < ranks_.size(); ++r) {
        ranks_.use(r);
        throughput::CudaDispatchResult result;
        to_host(&result, exchange_.rank(r).dispatch.result, sizeof(result));
        wait = std::max(wait, static_cast<double>(result.exchanged_ns - result.entry_ns) / 1000);
      }
    }
    const bool same = outputs_are_as_verified();
    Choice used = choice;
    if (what_ == "combine") {
      const auto plan = throughput::CombinePlan::of(combine_launch(0, 0, choice));
      used.reducers = plan.num_reducers;
      used.stages = plan.num_stages;
      used.chunk = static_cast<int>(plan.chunk);
    }
    std::printf(
        "%-8s T %5d R %d SMs %3d senders %2d stages %d reducers %2d chunk %4d | graph %6.1f p99 %6.1f | event %6.1f "
        "p99 "
        "%6.1f | %.2f MB %5.1f GB/s | exchange %.1f | %s\n",
        what_.c_str(), tokens_, ranks_.size(), used.blocks, used.senders, used.stages, used.reducers, used.chunk,
        graph.median, graph.p99, event.median, event.p99, wire_bytes_ / 1e6, wire_bytes_ / graph.median / 1e3, wait,
        same ? "verified" : "WRONG");
    std::fflush(stdout);
  }

 private:
  void find_wire_bytes() {
    for (int r = 0; r < ranks_.size(); ++r) {
      double rows = 0;
      for (int peer = 0; peer < ranks_.size(); ++peer) {
        // The busier direction of this rank's link: what it sends, or what it receives.
        if (peer != r) rows += expected_.sources[static_cast<std::size_t>(r)].counts[static_cast<std::size_t>(peer)];
      }
      double received = 0;
      for (int peer = 0; peer < ranks_.size(); ++peer) {
        if (peer != r)
          received += expected_.received[static_cast<std::size_t>(r)].receive_counts[static_cast<std::size_t>(peer)];
      }
      const double row_bytes = what_ == "combine" ? 14336.0
                                                  : static_cast<double>(exchange_.shape().row_bytes) +
                                                        static_cast<double>(exchange_.shape().scale_bytes);
      wire_bytes_ = std::max(wire_bytes_, std::max(rows, received) * row_bytes);
    }
  }

  // Bytes of a rank's output that timing must reproduce, and where the given copy of it is.
  [[nodiscard]] std::size_t output_bytes(int r) {
    if (what_ == "combine") return exchange_.rank(r).out_bytes - 16;
    const std::int64_t rows = expected_.received[static_cast<std::size_t>(r)].num_rows;
    return static_cast<std::size_t>(rows) * exchange_.shape().row_pitch;
  }
  [[nodiscard]] std::byte* output(int r, std::size_t copy) {
    if (what_ == "combine") return rotation_.combines[static_cast<std::size_t>(r)][copy].out;
    return ranks_[r].heap.base() + rotation_.dispatches[static_cast<std::size_t>(r)][copy].grant.payload_offset;
  }

  void keep_outputs() {
    for (int r = 0; r < ranks_.size(); ++r) {
      ranks_.use(r);
      kept_.push_back(ranks_[r].local.take(output_bytes(r)));
      REQUIRE_CUDA(cudaMemcpy(kept_.back(), output(r, 0), output_bytes(r), cudaMemcpyDeviceToDevice));
      REQUIRE_CUDA(cudaDeviceSynchronize());
    }
  }

  void rotate() {
    rotation_.dispatches.resize(static_cast<std::size_t>(ranks_.size()));
    rotation_.combines.resize(static_cast<std::size_t>(ranks_.size()));
    for (int r = 0; r < ranks_.size(); ++r) {
      ranks_.use(r);
      CudaRank& rank = ranks_[r];
      const ExchangeRank& mine = exchange_.rank(r);
      const std::size_t x_bytes = mine.dispatch.rows.bytes * static_cast<std::size_t>(tokens_);
      const std::size_t input_bytes =
          what_ == "combine" ? mine.combine.y_pitch * 2 * static_cast<std::size_t>(tokens_) : x_bytes;
      const std::size_t copies =
          std::clamp<std::size_t>(kRotatedBytes / std::max<std::size_t>(input_bytes, 1) + 1, 2, kMaxRotation);
      const auto payload = throughput::CudaPayloadLayout::of(mine.dispatch.grant.capacity, exchange_.shape(), 8);
      for (std::size_t copy = 0; copy < copies; ++copy) {
        throughput::DispatchLaunch dispatch = mine.dispatch;
        throughput::CombineLaunch combine = mine.combine;
        if (copy > 0 && what_ != "combine") {
          std::byte* const x = rank.local.take(x_bytes);
          REQUIRE_CUDA(cudaMemcpy(x, mine.dispatch.rows.data, x_bytes, cudaMemcpyDeviceToDevice));
          dispatch.rows.data = x;
          if (copy < 3) {
            dispatch.grant.payload_offset =
                static_cast<std::uint64_t>(rank.heap.take(payload.bytes) - rank.heap.base());
          } else {
            dispatch.grant.payload_offset =
                rotation_.dispatches[static_cast<std::size_t>(r)][copy - 3].grant.payload_offset;
          }
        }
        if (copy > 0 && what_ == "combine") {
          const std::size_t bytes = static_cast<std::size_t>(mine.dispatch.grant.capacity) * mine.combine.y_pitch;
          std::byte* const y = rank.heap.take(bytes);
          REQUIRE_CUDA(cudaMemcpy(y, mine.y, bytes, cudaMemcpyDeviceToDevice));
          combine.y_offset = static_cast<std::uint64_t>(y - rank.heap.base());
          combine.out = rank.local.take(mine.out_bytes);
        }
        rotation_.dispatches[static_cast<std::size_t>(r)].push_back(dispatch);
        rotation_.combines[static_cast<std::size_t>(r)].push_back(combine);
      }
      REQUIRE_CUDA(cudaDeviceSynchronize());
    }
  }

  throughput::CombineLaunch combine_launch(int r, std::size_t i, const Choice& choice) {
    auto& launches = rotation_.combines[static_cast<std::size_t>(r)];
    throughput::CombineLaunch launch = launches[i % launches.size()];
    launch.num_blocks = choice.blocks;
    launch.num_reducers = choice.reducers;
    launch.num_stages = choice.stages;
    launch.max_chunk = static_cast<std::uint32_t>(choice.chunk);
    return launch;
  }

  void launch_one(int r, std::size_t i, const Choice& choice) {
    if (what_ == "combine") {
      throughput::launch_combine(combine_launch(r, i, choice));
    } else {
      auto& launches = rotation_.dispatches[static_cast<std::size_t>(r)];
      throughput::DispatchLaunch launch = launches[i % launches.size()];
      launch.num_blocks = choice.blocks;
      launch.num_senders = choice.senders;
      launch.num_stages = choice.stages;
      if (routed_) launch.operation = throughput::CudaOperation::routed_dispatch;
      throughput::launch_dispatch(launch);
    }
  }

  void launch_all_once() {
    for (int r = 0; r < ranks_.size(); ++r) {
      ranks_.use(r);
      throughput::launch_dispatch(exchange_.rank(r).dispatch);
      if (what_ == "combine") throughput::launch_combine(exchange_.rank(r).combine);
    }
    ranks_.synchronize();
  }

  using LaunchOne = std::function<void(int, int)>;

  // Back to back on every rank's stream; `launch` per event interval.
  std::vector<double> intervals(int count, const LaunchOne& launch) {
    const int size = ranks_.size();
    std::vector<std::vector<cudaEvent_t>> events(static_cast<std::size_t>(size));
    for (int r = 0; r < size; ++r) {
      ranks_.use(r);
      events[static_cast<std::size_t>(r)].resize(static_cast<std::size_t>(count) + 1);
      for (cudaEvent_t& event : events[static_cast<std::size_t>(r)]) REQUIRE_CUDA(cudaEventCreate(&event));
    }
    for (int i = 0; i <= count; ++i) {
      for (int r = 0; r < size; ++r) {
        ranks_.use(r);
        if (i == 0) busy(300000, ranks_[r].stream);
        REQUIRE_CUDA(
            cudaEventRecord(events[static_cast<std::size_t>(r)][static_cast<std::size_t>(i)], ranks_[r].stream));
        if (i < count) launch(r, i);
      }
    }
    ranks_.synchronize();
    std::vector<double> slowest;
    for (std::size_t i = 3; i < static_cast<std::size_t>(count); ++i) {
      double worst = 0;
      for (int r = 0; r < size; ++r) {
        float elapsed = 0;
        ranks_.use(r);
        REQUIRE_CUDA(cudaEventElapsedTime(&elapsed, events[static_cast<std::size_t>(r)][i],
                                          events[static_cast<std::size_t>(r)][i + 1]));
        worst = std::max(worst, static_cast<double>(elapsed) * 1000);
      }
      slowest.push_back(worst);
    }
    for (int r = 0; r < size; ++r) {
      for (cudaEvent_t event : events[static_cast<std::size_t>(r)]) REQUIRE_CUDA(cudaEventDestroy(event));
    }
    return slowest;
  }

  Times time_events(int count, const LaunchOne& launch) { return summarize(intervals(count, launch)); }

  Times time_graph(const LaunchOne& launch) {
    std::vector<cudaGraphExec_t> graphs(static_cast<std::size_t>(ranks_.size()));
    for (int r = 0; r < ranks_.size(); ++r) {
      ranks_.use(r);
      cudaGraph_t graph = nullptr;
      REQUIRE_CUDA(cudaStreamBeginCapture(ranks_[r].stream, cudaStreamCaptureModeThreadLocal));
      for (int i = 0; i < kOperationsPerGraph; ++i) launch(r, i);
      REQUIRE_CUDA(cudaStreamEndCapture(ranks_[r].stream, &graph));
      REQUIRE_CUDA(cudaGraphInstantiate(&graphs[static_cast<std::size_t>(r)], graph, 0));
      REQUIRE_CUDA(cudaGraphUpload(graphs[static_cast<std::size_t>(r)], ranks_[r].stream));
      REQUIRE_CUDA(cudaGraphDestroy(graph));
    }
    ranks_.synchronize();
    std::vector<double> values = intervals(number(arguments_, "reps", 12) + 3, [&](int r, int) {
      REQUIRE_CUDA(cudaGraphLaunch(graphs[static_cast<std::size_t>(r)], ranks_[r].stream));
    });
    for (double& value : values) value /= kOperationsPerGraph;
    for (cudaGraphExec_t graph : graphs) REQUIRE_CUDA(cudaGraphExecDestroy(graph));
    return summarize(values);
  }

  // Both rotated outputs against the verified one.
  bool outputs_are_as_verified() {
    bool same = true;
    for (int r = 0; r < ranks_.size(); ++r) {
      ranks_.use(r);
      std::uint64_t* const differences = reinterpret_cast<std::uint64_t*>(ranks_[r].local.base());
      std::uint64_t count = 0;
      REQUIRE_CUDA(cudaMemset(differences, 0, 8));
      REQUIRE_CUDA(cudaDeviceSynchronize());
      for (std::size_t copy = 0; copy < 2; ++copy) {
        const std::byte* const kept = kept_[static_cast<std::size_t>(r)];
        count_differences(output(r, copy), kept, output_bytes(r), differences, ranks_[r].stream);
      }
      REQUIRE_CUDA(cudaStreamSynchronize(ranks_[r].stream));
      to_host(&count, differences, 8);
      same = same && count == 0 && ranks_[r].report->code == 0;
    }
    return same;
  }

  Arguments arguments_;
  std::string what_;
  int tokens_;
  bool routed_;  // dispatches are timed along the route of a first one
  Scenario scenario_;
  CudaRanks ranks_;
  Exchange exchange_;
  Rotation rotation_;
  reference::Result expected_;
  std::vector<std::byte*> kept_;  // [ranks] verified outputs
  double wire_bytes_ = 0;
};

int run(const Arguments& arguments) {
  const auto found = arguments.find("what");
  std::vector<std::string> kinds{"bf16", "fp8", "quantise", "combine"};
  if (found != arguments.end() && found->second != "all") {
    if (std::find(kinds.begin(), kinds.end(), found->second) == kinds.end()) {
      std::fprintf(stderr, "error: what is '%s'; it is bf16, fp8, quantise, combine or all\n", found->second.c_str());
      return 2;
    }
    kinds = {found->second};
  }
  for (const std::string& what : kinds) {
    Bench bench(arguments, what);
    if (!bench.verify()) return 1;
    for (const int blocks : numbers(arguments, "blocks", what == "quantise" ? "20" : "16")) {
      for (const int senders : numbers(arguments, "senders", "0")) {
        for (const int stages : numbers(arguments, "stages", "0")) {
          for (const int reducers : numbers(arguments, "reducers", "0")) {
            for (const int chunk : numbers(arguments, "chunk", "0")) {
              bench.time({blocks, senders, stages, reducers, chunk});
            }
          }
        }
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace railyard::device_tests

int main(int argc, char** argv) {
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  railyard::device_tests::Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string text = argv[i];
    if (text == "--help" || text == "-h") {
      std::fputs(railyard::device_tests::kUsage, stdout);
      return 0;
    }
    const std::size_t split = text.find('=');
    const std::string name = text.substr(0, split);
    const auto& names = railyard::device_tests::kNames;
    if (split == std::string::npos || std::find(std::begin(names), std::end(names), name) == std::end(names)) {
      std::fprintf(stderr, "error: '%s' is not name=value of a known name\n%s", argv[i],
                   railyard::device_tests::kUsage);
      return 2;
    }
    arguments[name] = text.substr(split + 1);
  }
  return railyard::device_tests::run(arguments);
}
