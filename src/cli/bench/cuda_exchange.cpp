// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine on GPUs: verified, timed as graphs and as single calls, and compared again.
#include "cli/bench/cuda_bench.hpp"
#include "cli/bench/cuda_operation.hpp"
#include "cli/bench/cuda_session.hpp"
#include "cli/bench/nccl_exchange.hpp"
#include "cli/bench/verify.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <functional>
#include <optional>

namespace railyard::cli::bench {
namespace {

constexpr int kFewestOperations = 8;  // in a graph
constexpr int kMostSlots = 160;
constexpr int kDefaultSms = 16;  // GroupOptions::num_sms

/// So many that one rank's inputs exceed the L2 twice.
int slots_for(const CudaRun& cuda, const Payload& payload, int tokens) {
  const std::size_t inputs =
      static_cast<std::size_t>(tokens) * static_cast<std::size_t>(cuda.run.options.hidden) * size_of(payload.input);
  return static_cast<int>(std::clamp<std::size_t>(2 * cuda.cache_bytes / inputs + 1, 2, kMostSlots));
}

/// 0: the library's choice.
std::vector<int> sms_of(const Options& options) { return options.sms.empty() ? std::vector<int>{0} : options.sms; }

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
    return static_cast<std::size_t>(rank) * static_cast<std::size_t>(session_.num_slots()) +
           static_cast<std::size_t>(slot);
  }

  CudaSession& session_;
  std::vector<std::int64_t> rows_;
  std::vector<std::int64_t> received_;
  std::vector<std::int64_t> outputs_;
};

class CudaMeasurement {
 public:
  /// `operations`: in a graph. More of them share the outputs of the first ones.
  CudaMeasurement(const CudaRun& cuda, CudaSession& session, int operations)
      : cuda_(cuda), session_(session), operations_(operations), digests_(session), traffic_(session.traffic()) {}

  /// From now on operations are measured beside it. It lowers the clocks, for a while after it has ended too.
  void start_gemm() { gemm_.emplace(cuda_.of_ranks(), sms_taken(session_.payload().quantise)); }

  void dispatch() {
    dispatch("dispatch", true, [this](int rank, int slot) { return session_.start_dispatch(rank, slot); });
  }
  /// Along the routes of the verified dispatches.
  void routed_dispatch() {
    dispatch("routed_dispatch", false, [this](int rank, int slot) {
      return session_.start_dispatch(rank, slot, session_.slot(rank, slot).received.route);
    });
  }

  void combine() {
    const std::int64_t row_bytes =
        session_.options().hidden * static_cast<std::int64_t>(size_of(session_.payload().output()));
    Operation operation = own_operation("combine", "pull", row_bytes);
    operation.result.codec = Codec::bf16;
    operation.result.input_dtype = session_.payload().output();
    operation.result.sms = sms_taken(false);
    operation.submit = [this](int rank, int number) {
      static_cast<void>(session_.start_combine(rank, slot_of(number)));
    };
    operation.poison = [this](int rank, int number) { session_.poison_output(rank, slot_of(number)); };
    operation.check = [this](int rank, int number) { return digests_.same_output(rank, slot_of(number)); };
    measure_operation(cuda_, operation, cuda_.run.results, gemm_ ? &*gemm_ : nullptr);
  }

 private:
  void dispatch(const char* name, bool makes_route, const std::function<Dispatched(int rank, int slot)>& start) {
    std::vector<std::vector<Dispatched>> held(static_cast<std::size_t>(session_.options().ranks));
    for (std::vector<Dispatched>& own : held) {
      own.resize(static_cast<std::size_t>(operations_));
    }
    const auto place = [&](int rank, int number) -> Dispatched& {
      return held[static_cast<std::size_t>(rank)][static_cast<std::size_t>(number % operations_)];
    };
    const auto row_bytes = static_cast<std::int64_t>(session_.payload().wire_row_bytes(session_.options().hidden));
    Operation operation = own_operation(name, "push", row_bytes);
    operation.result.codec = session_.payload().codec;
    operation.result.quantise = session_.payload().quantise;
    operation.result.input_dtype = session_.payload().input;
    operation.result.sms = sms_taken(session_.payload().quantise);
    operation.submit = [&](int rank, int number) {
      place(rank, number) = {};  // its block may be the next one's
      place(rank, number) = start(rank, slot_of(number));
    };
    operation.poison = [&](int rank, int number) { session_.poison(rank, place(rank, number), makes_route); };
    operation.check = [&](int rank, int number) {
      return digests_.same_received(rank, slot_of(number), place(rank, number));
    };
    operation.release = [&](int rank) {
      for (int number = 0; number < operations_; ++number) {
        place(rank, number) = {};
      }
    };
    measure_operation(cuda_, operation, cuda_.run.results, gemm_ ? &*gemm_ : nullptr);
  }

  [[nodiscard]] int slot_of(int number) const { return number % operations_ % session_.num_slots(); }

  /// The group knows the most of any operation; the library's choice is more for dispatches that quantise.
  [[nodiscard]] int sms_taken(bool quantises) {
    const int most = session_.group(0).statistics().num_sms;
    return session_.group(0).options().num_sms > 0 || quantises ? most : std::min(most, kDefaultSms);
  }

  /// `algorithm`: also how its rows cross links.
  [[nodiscard]] Operation own_operation(const char* name, const char* algorithm, std::int64_t row_bytes) {
    Operation operation;
    operation.result.operation = name;
    operation.result.algorithm = algorithm;
    operation.result.layout = session_.options().layout;
    operation.result.tokens = session_.tokens();
    operation.result.wire_bytes = traffic_.wire_bytes(row_bytes);
    operation.limit_us = traffic_.limit_us(row_bytes, cuda_.run.limits, algorithm);
    operation.in_graph = operations_;
    return operation;
  }

  const CudaRun& cuda_;
  CudaSession& session_;
  int operations_;
  Digests digests_;
  Traffic traffic_;
  std::optional<GemmBeside> gemm_;
};

Comparison verify_few_tokens(const CudaRun& cuda, const Payload& payload, int tokens, int num_sms) {
  CudaSession session(cuda.world, cuda.streams, cuda.run.options, payload, reference_tokens(cuda.run.options, tokens),
                      1, num_sms, 0);
  return verify_against_reference(session);
}

void add_wrong(const CudaRun& cuda, const Payload& payload, int tokens, int num_sms) {
  Result& result = cuda.run.results.emplace_back();
  result.operation = "dispatch";
  result.algorithm = "push";
  result.layout = cuda.run.options.layout;
  result.codec = payload.codec;
  result.quantise = payload.quantise;
  result.input_dtype = payload.input;
  result.timing = "graph";
  result.sms = num_sms;
  result.tokens = tokens;
}

/// First against the reference with few tokens, in groups of their own, which must be gone when the others take their
/// SMs; then all rows of all slots.
void measure_payload(const CudaRun& cuda, const Payload& payload, int tokens, int num_sms, bool with_combine,
                     bool with_peers) {
  Comparison comparison = verify_few_tokens(cuda, payload, tokens, num_sms);
  const int slots = slots_for(cuda, payload, tokens);
  const int operations = std::max(slots, kFewestOperations);
  CudaSession session(cuda.world, cuda.streams, cuda.run.options, payload, tokens, slots, num_sms, operations);
  comparison.add(verify_at_full_size(session));
  if (!said_right(comparison)) {
    add_wrong(cuda, payload, tokens, num_sms);
    return;
  }
  CudaMeasurement measurement(cuda, session, operations);
  measurement.dispatch();
  if (with_combine) {
    measurement.routed_dispatch();
    measurement.combine();
  }
  if (with_peers && !payload.quantise) {
    measure_nccl(cuda, session, with_combine);
  }
  if (cuda.run.options.beside == "gemm") {
    measurement.start_gemm();
    measurement.dispatch();
    if (with_combine) {
      measurement.combine();
    }
  }
}

}  // namespace

void require_supported(const CudaRun& cuda) {
  if (!cuda.run.options.beside.empty() && cuda.devices.size() < static_cast<std::size_t>(cuda.run.options.ranks)) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("--beside {} needs a GPU for each rank: {} ranks are on {}",
                                    cuda.run.options.beside, cuda.run.options.ranks, cuda.devices.size()));
  }
  const std::vector<int> sweep = sms_of(cuda.run.options);
  for (const Payload& payload : payloads_of(cuda.run.options.codec)) {
    for (const int num_sms : {sweep.front(), *std::max_element(sweep.begin(), sweep.end())}) {
      static_cast<void>(verify_few_tokens(cuda, payload, 1, num_sms));
    }
  }
}

void measure_cuda_exchange(const CudaRun& cuda, int tokens) {
  const Options& options = cuda.run.options;
  const std::vector<int> sweep = sms_of(options);
  bool first = true;
  for (const Payload& payload : payloads_of(options.codec)) {
    for (const int num_sms : sweep) {
      measure_payload(cuda, payload, tokens, num_sms, first, options.peers_include("nccl") && num_sms == sweep.front());
    }
    first = false;
  }
}

}  // namespace railyard::cli::bench
