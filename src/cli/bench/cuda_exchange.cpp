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

/// One operation, and how its outputs are handled. `number` counts the operations of a rank.
struct Operation {
  Result result;  // what is known before it is timed
  std::int64_t row_bytes = 0;
  std::string_view link;                               // what its rows cross links by
  std::function<void(int rank, int number)> submit;    // to the rank's stream
  std::function<void(int rank, int number)> poison;    // its outputs
  std::function<bool(int rank, int number)> check;     // its outputs
  std::function<void(int rank)> release = [](int) {};  // all outputs
};

class CudaMeasurement {
 public:
  /// `operations`: in a graph. More of them share the outputs of the first ones.
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
    const auto place = [&](int rank, int number) -> Dispatched& {
      return held[static_cast<std::size_t>(rank)][static_cast<std::size_t>(number % operations_)];
    };
    Operation operation;
    operation.result = own_result("dispatch", "push");
    operation.result.codec = session_.payload().codec;
    operation.result.quantise = session_.payload().quantise;
    operation.result.input_dtype = session_.payload().input;
    operation.row_bytes = static_cast<std::int64_t>(session_.payload().wire_row_bytes(session_.options().hidden));
    operation.link = "push";
    operation.submit = [&](int rank, int number) {
      place(rank, number) = {};  // its block may be the next one's
      place(rank, number) = session_.start_dispatch(rank, slot_of(number));
    };
    operation.poison = [&](int rank, int number) { session_.poison(rank, place(rank, number)); };
    operation.check = [&](int rank, int number) {
      return digests_.same_received(rank, slot_of(number), place(rank, number));
    };
    operation.release = [&](int rank) {
      for (int number = 0; number < operations_; ++number) {
        place(rank, number) = {};
      }
    };
    measure(operation);
  }

  void combine() {
    Operation operation;
    operation.result = own_result("combine", "pull");
    operation.result.codec = Codec::bf16;
    operation.result.input_dtype = session_.payload().output();
    operation.row_bytes = session_.options().hidden * static_cast<std::int64_t>(size_of(session_.payload().output()));
    operation.link = "pull";
    operation.submit = [this](int rank, int number) {
      static_cast<void>(session_.start_combine(rank, slot_of(number)));
    };
    operation.poison = [this](int rank, int number) { session_.poison_output(rank, slot_of(number)); };
    operation.check = [this](int rank, int number) { return digests_.same_output(rank, slot_of(number)); };
    measure(operation);
  }

 private:
  [[nodiscard]] int slot_of(int number) const { return number % operations_ % session_.num_slots(); }

  [[nodiscard]] Result own_result(const char* operation, const char* algorithm) {
    Result result;
    result.operation = operation;
    result.algorithm = algorithm;
    result.layout = session_.options().layout;
    result.sms = session_.group(0).statistics().num_sms;
    result.tokens = session_.tokens();
    return result;
  }

  void measure(const Operation& operation) {
    const Options& options = session_.options();
    std::atomic<bool> right{true};
    const auto check = [&](int rank, int numbers) {
      for (int number = 0; number < numbers; ++number) {
        if (!operation.check(rank, number)) {
          right = false;
        }
      }
    };
    // Calls first: a graph keeps the blocks that its operations took.
    const Series calls = time_calls(cuda_.world, cuda_.streams, options.warmup, options.iterations, operation.submit);
    cuda_.world.run([&](Rank& rank) {
      check(rank.index(), std::min(operations_, options.warmup + options.iterations));
      operation.release(rank.index());
      session_.synchronize(rank.index());
    });
    const bool calls_right = right.exchange(true);
    const Series graph = time_graph(cuda_.world, cuda_.streams,
                                    {.operations = operations_,
                                     .warmup = options.warmup,
                                     .replays = options.iterations,
                                     .prepare =
                                         [&](int rank) {
                                           for (int number = 0; number < operations_; ++number) {
                                             operation.poison(rank, number);
                                           }
                                         },
                                     .finish = [&](int rank) { check(rank, operations_); }},
                                    operation.submit);
    add(operation, "graph", graph, right);
    add(operation, "event", calls, calls_right);
  }

  void add(const Operation& operation, const char* timing, const Series& series, bool verified) {
    Result result = operation.result;
    result.timing = timing;
    result.wire_bytes = traffic_.wire_bytes(operation.row_bytes);
    result.verified = verified;
    if (verified) {
      result.times = Times{series.median(), series.p99()};
      result.gbps = static_cast<double>(result.wire_bytes) / series.median() * 1e-3;
      const double limit_us = traffic_.limit_us(operation.row_bytes, cuda_.run.limits, operation.link);
      if (limit_us > 0) {
        result.limit_ratio = series.median() / limit_us;
      }
    } else {
      diagnostics::print(stderr, "wrong: {} ({}) after timing\n", result.operation, timing);
    }
    cuda_.run.results.push_back(std::move(result));
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
