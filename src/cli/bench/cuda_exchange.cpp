// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine on GPUs: verified, timed as graphs and as single calls, and compared again.
#include "cli/bench/cuda_bench.hpp"
#include "cli/bench/cuda_session.hpp"
#include "cli/bench/cuda_timing.hpp"
#include "cli/bench/traffic.hpp"
#include "cli/bench/verify.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <atomic>

namespace railyard::cli::bench {
namespace {

constexpr int kFewestOperations = 8;  // in a graph
constexpr int kMostSlots = 160;

/// So many that one rank's inputs exceed the L2 twice.
int slots_for(const CudaRun& cuda, const Payload& payload, int tokens) {
  const std::size_t inputs =
      static_cast<std::size_t>(tokens) * static_cast<std::size_t>(cuda.run.options.hidden) * size_of(payload.input);
  return static_cast<int>(std::clamp<std::size_t>(2 * cuda.cache_bytes / inputs + 1, 2, kMostSlots));
}

/// What an operation must give, as digests of what was verified; and what it gave.
class Digests {
 public:
  explicit Digests(CudaSession& session) : session_(session), rows_(table()), received_(table()), outputs_(table()) {
    session.world().run([&](Rank& rank) {
      for (int slot = 0; slot < session_.num_slots(); ++slot) {
        const Dispatched& received = session_.slot(rank.index(), slot).received;
        const std::size_t at = index(rank.index(), slot);
        rows_[at] = received.route.num_rows();
        received_[at] = static_cast<std::int64_t>(session_.digest(rank.index(), received, rows_[at]));
        outputs_[at] = static_cast<std::int64_t>(session_.output_digest(rank.index(), slot));
      }
    });
  }

  [[nodiscard]] bool same_received(int rank, int slot, const Dispatched& received) const {
    const std::size_t at = index(rank, slot);
    return received.status().ok() &&
           static_cast<std::int64_t>(session_.digest(rank, received, rows_[at])) == received_[at];
  }
  [[nodiscard]] bool same_output(int rank, int slot) const {
    return static_cast<std::int64_t>(session_.output_digest(rank, slot)) == outputs_[index(rank, slot)];
  }

 private:
  [[nodiscard]] std::vector<std::int64_t> table() const {
    return std::vector<std::int64_t>(static_cast<std::size_t>(session_.options().ranks * session_.num_slots()));
  }
  [[nodiscard]] std::size_t index(int rank, int slot) const {
    return static_cast<std::size_t>(rank * session_.num_slots() + slot);
  }

  CudaSession& session_;
  std::vector<std::int64_t> rows_;
  std::vector<std::int64_t> received_;
  std::vector<std::int64_t> outputs_;
};

class CudaMeasurement {
 public:
  CudaMeasurement(const CudaRun& cuda, CudaSession& session, int operations)
      : cuda_(cuda),
        session_(session),
        operations_(operations),
        digests_(session),
        traffic_(traffic_of(session, cuda.of_ranks())) {}

  void dispatch() {
    std::vector<std::vector<Dispatched>> held(static_cast<std::size_t>(session_.options().ranks));
    for (std::vector<Dispatched>& own : held) {
      own.resize(static_cast<std::size_t>(operations_));
    }
    const auto place = [&](int rank, int operation) -> Dispatched& {
      return held[static_cast<std::size_t>(rank)][static_cast<std::size_t>(operation % operations_)];
    };
    const Submit submit = [&](int rank, int operation) {
      place(rank, operation) = {};  // its block first
      place(rank, operation) = session_.start_dispatch(rank, slot_of(operation % operations_));
    };
    const auto check = [&](int rank, int operation) {
      const Dispatched& received = place(rank, operation);
      return !received.rows.defined() || digests_.same_received(rank, slot_of(operation), received);
    };
    Result result = own_result("dispatch", "push");
    result.codec = session_.payload().codec;
    result.quantise = session_.payload().quantise;
    result.input_dtype = session_.payload().input;
    const auto row_bytes = static_cast<std::int64_t>(session_.payload().wire_row_bytes(session_.options().hidden));
    measure(
        result, row_bytes, "push", submit,
        [&](int rank, int operation) { session_.poison(rank, place(rank, operation)); }, check);
  }

  void combine() {
    const Submit submit = [&](int rank, int operation) {
      static_cast<void>(session_.start_combine(rank, slot_of(operation % operations_)));
    };
    Result result = own_result("combine", "pull");
    result.codec = Codec::bf16;
    result.input_dtype = session_.payload().output();
    const std::int64_t row_bytes =
        session_.options().hidden * static_cast<std::int64_t>(size_of(session_.payload().output()));
    measure(
        result, row_bytes, "pull", submit,
        [&](int rank, int operation) { session_.poison_output(rank, slot_of(operation)); },
        [&](int rank, int operation) { return digests_.same_output(rank, slot_of(operation)); });
  }

 private:
  using OnOperation = std::function<void(int rank, int operation)>;
  using Check = std::function<bool(int rank, int operation)>;

  [[nodiscard]] int slot_of(int operation) const { return operation % session_.num_slots(); }

  [[nodiscard]] Result own_result(const char* operation, const char* algorithm) {
    Result result;
    result.operation = operation;
    result.algorithm = algorithm;
    result.layout = session_.options().layout;
    result.sms = session_.group(0).statistics().num_sms;
    result.tokens = session_.tokens();
    return result;
  }

  /// Calls first: a graph keeps the blocks that its operations took.
  void measure(const Result& base, std::int64_t row_bytes, std::string_view link, const Submit& submit,
               const OnOperation& poison, const Check& check) {
    const Options& options = session_.options();
    const Series calls = time_calls(cuda_.world, cuda_.streams, options.warmup, options.iterations, submit);
    const bool calls_right = all_right(std::min(operations_, options.warmup + options.iterations), check);
    const Series graph = time_graph(cuda_.world, cuda_.streams,
                                    {.operations = operations_,
                                     .warmup = options.warmup,
                                     .replays = options.iterations,
                                     .prepare =
                                         [&](int rank) {
                                           for (int operation = 0; operation < operations_; ++operation) {
                                             poison(rank, operation);
                                           }
                                         }},
                                    submit);
    const bool graph_right = all_right(operations_, check);
    add(base, "graph", row_bytes, link, graph, graph_right);
    add(base, "event", row_bytes, link, calls, calls_right);
  }

  void add(Result result, const char* timing, std::int64_t row_bytes, std::string_view link, const Series& series,
           bool verified) {
    result.timing = timing;
    result.wire_bytes = traffic_.wire_bytes(row_bytes);
    result.verified = verified;
    if (verified) {
      result.times = Times{series.median(), series.p99()};
      result.gbps = static_cast<double>(result.wire_bytes) / series.median() * 1e-3;
      const double limit_us = traffic_.limit_us(row_bytes, cuda_.run.limits, link);
      if (limit_us > 0) {
        result.limit_ratio = series.median() / limit_us;
      }
    } else {
      diagnostics::print(stderr, "wrong: {} ({}) after timing\n", result.operation, timing);
    }
    cuda_.run.results.push_back(std::move(result));
  }

  bool all_right(int operations, const Check& check) {
    std::atomic<bool> right{true};
    cuda_.world.run([&](Rank& rank) {
      for (int operation = 0; operation < operations; ++operation) {
        if (!check(rank.index(), operation)) {
          right = false;
        }
      }
    });
    return right;
  }

  const CudaRun& cuda_;
  CudaSession& session_;
  int operations_;
  Digests digests_;
  Traffic traffic_;
};

/// Against the reference with few tokens, then all rows of all slots.
bool verify(const CudaRun& cuda, CudaSession& session, int num_sms) {
  Comparison result;
  {
    CudaSession small(cuda.world, cuda.streams, session.options(), session.payload(),
                      reference_tokens(session.options(), session.tokens()), 1, num_sms, 0);
    result = verify_against_reference(small);
  }
  result.add(verify_at_full_size(session));
  return said_right(result);
}

void measure_payload(const CudaRun& cuda, const Payload& payload, int tokens, int num_sms, bool with_combine) {
  const int slots = slots_for(cuda, payload, tokens);
  const int operations = std::max(slots, kFewestOperations);
  CudaSession session(cuda.world, cuda.streams, cuda.run.options, payload, tokens, slots, num_sms, operations);
  if (!verify(cuda, session, num_sms)) {
    Result& result = cuda.run.results.emplace_back();
    result.operation = "dispatch";
    result.algorithm = "push";
    result.layout = session.options().layout;
    result.codec = payload.codec;
    result.quantise = payload.quantise;
    result.input_dtype = payload.input;
    result.timing = "graph";
    result.sms = num_sms;
    result.tokens = tokens;
    return;
  }
  CudaMeasurement measurement(cuda, session, operations);
  measurement.dispatch();
  if (with_combine) {
    measurement.combine();
  }
}

}  // namespace

void measure_cuda_exchange(const CudaRun& cuda, int tokens) {
  const Options& options = cuda.run.options;
  const std::vector<int> sweep = options.sms.empty() ? std::vector<int>{0} : options.sms;
  bool first = true;
  for (const Payload& payload : payloads_of(options.codec)) {
    for (const int num_sms : sweep) {
      measure_payload(cuda, payload, tokens, num_sms, first);
    }
    first = false;
  }
}

}  // namespace railyard::cli::bench
