// SPDX-License-Identifier: Apache-2.0
// Route, dispatch and combine: verified, then timed beside memcpy of the same bytes.
#include "cli/bench/bench.hpp"
#include "cli/bench/explain.hpp"
#include "cli/bench/limits.hpp"
#include "cli/bench/session.hpp"
#include "cli/bench/together.hpp"
#include "cli/bench/verify.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <optional>

namespace railyard::cli::bench {
namespace {

/// What the operations of one session move, by rank, mean over the slots.
struct Volumes {
  std::vector<std::int64_t> rows_sent;      // to itself too
  std::vector<std::int64_t> dispatch_wire;  // over links
  std::vector<std::int64_t> combine_wire;
};

/// One pass over all slots with the group's own counters.
Volumes count_volumes(Session& session) {
  const auto ranks = static_cast<std::size_t>(session.options().ranks);
  Volumes volumes{std::vector<std::int64_t>(ranks), std::vector<std::int64_t>(ranks), std::vector<std::int64_t>(ranks)};
  session.world().run([&](Rank& rank) {
    const auto index = static_cast<std::size_t>(rank.index());
    const auto sent = [&] { return static_cast<std::int64_t>(session.group(rank.index()).statistics().wire_bytes); };
    for (int slot = 0; slot < session.num_slots(); ++slot) {
      const std::int64_t start = sent();
      session.release(rank.index(), slot);
      session.dispatch(rank.index(), slot);
      const std::int64_t dispatched = sent();
      session.combine(rank.index(), slot);
      volumes.dispatch_wire[index] += dispatched - start;
      volumes.combine_wire[index] += sent() - dispatched;
      for (const std::int32_t rows : session.slot(rank.index(), slot).received.route.send_counts().as<std::int32_t>()) {
        volumes.rows_sent[index] += rows;
      }
    }
    for (auto* sums : {&volumes.rows_sent, &volumes.dispatch_wire, &volumes.combine_wire}) {
      (*sums)[index] /= session.num_slots();
    }
  });
  for (auto* sums : {&volumes.rows_sent, &volumes.dispatch_wire, &volumes.combine_wire}) {
    gather_by_rank(session.world(), *sums);
  }
  return volumes;
}

std::int64_t largest(const std::vector<std::int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

/// Bytes of rows that a dispatch puts in place, by source rank.
std::vector<std::int64_t> dispatched_bytes(const Session& session, const Volumes& volumes) {
  std::vector<std::int64_t> bytes = volumes.rows_sent;
  const auto row = static_cast<std::int64_t>(session.payload().wire_row_bytes(session.options().hidden));
  std::for_each(bytes.begin(), bytes.end(), [row](std::int64_t& value) { value *= row; });
  return bytes;
}

/// Half of what a combine reads and writes: memcpy of so many bytes reads and writes as much.
std::vector<std::int64_t> combined_bytes(const Session& session, const Volumes& volumes) {
  std::vector<std::int64_t> bytes = volumes.rows_sent;
  const std::int64_t row = session.options().hidden * static_cast<std::int64_t>(size_of(session.payload().output()));
  std::for_each(bytes.begin(), bytes.end(), [&](std::int64_t& value) { value = (value + session.tokens()) * row / 2; });
  return bytes;
}

class Measurement {
 public:
  Measurement(Session& session, bool verified, Run& run) : session_(session), verified_(verified), run_(run) {}

  /// Times `work`; with `bytes` (by rank) beside memcpy of them.
  Result& add(const std::string& operation, std::int64_t wire_bytes, const std::vector<std::int64_t>& bytes,
              const TimedWork& timed) {
    const Options& options = session_.options();
    Result result;
    result.operation = operation;
    result.layout = options.layout;
    result.tokens = session_.tokens();
    result.wire_bytes = wire_bytes;
    result.verified = verified_;
    if (verified_) {
      time(result, bytes, timed);
    }
    run_.results.push_back(std::move(result));
    return run_.results.back();
  }

 private:
  void time(Result& result, const std::vector<std::int64_t>& bytes, const TimedWork& timed) {
    const Options& options = session_.options();
    std::vector<TimedWork> works{timed};
    std::optional<Copies> copies;
    int warmup = std::max(options.warmup, session_.num_slots());
    if (!bytes.empty()) {
      copies.emplace(session_.world(), options.seed, bytes, options.reuse_buffers);
      works.push_back(copies->timed());
      warmup = std::max(warmup, copies->num_slots());
    }
    const std::vector<Series> series = time_in_turn(session_.world(), warmup, options.iterations, works);
    result.times = Times{series[0].median(), series[0].p99()};
    result.gbps = static_cast<double>(result.wire_bytes) / series[0].median() * 1e-3;
    if (copies) {
      result.limit_ratio = series[0].median() / series[1].median();
      add_limit(result.operation, *copies, series[1]);
    }
  }

  void add_limit(const std::string& operation, const Copies& copies, const Series& series) {
    const double gbps = static_cast<double>(copies.most_bytes()) / series.median() * 1e-3;
    run_.limits.copies.push_back({operation, session_.tokens(), copies.most_bytes(), series.median(), gbps});
    if (session_.options().peers_include("memcpy")) {
      Result& peer = run_.peers.emplace_back();
      peer.name = "memcpy";
      peer.operation = operation;
      peer.algorithm = "memcpy";
      peer.tokens = session_.tokens();
      peer.wire_bytes = copies.most_bytes();
      peer.times = Times{series.median(), series.p99()};
      peer.gbps = gbps;
      peer.limit_ratio = 1.0;
      peer.verified = holds_everywhere(session_.world(), copies.verified());
    }
  }

  Session& session_;
  bool verified_;
  Run& run_;
};

bool verify(World& world, const Options& options, const Payload& payload, Session& session) {
  Comparison result;
  {
    Session small(world, options, payload, reference_tokens(options, session.tokens()), 1);
    result = verify_against_reference(small);
  }
  result.add(verify_at_full_size(session));
  return holds_everywhere(world, said_right(result));
}

void measure_payload(World& world, const Payload& payload, int tokens, bool first, std::FILE* stream, Run& run) {
  const Options& options = run.options;
  Session session(world, options, payload, tokens, count_slots(options, payload, tokens));
  const bool verified = verify(world, options, payload, session);
  const Volumes volumes = count_volumes(session);
  Measurement measurement(session, verified, run);
  const auto slot_of = [&](int iteration) { return iteration % session.num_slots(); };
  const bool throughput = options.subject == Subject::throughput;

  if (first && (throughput || options.explain)) {
    Result& route =
        measurement.add("route", 0, {},
                        {.prepare = [&](int rank, int iteration) { session.slot(rank, slot_of(iteration)).route = {}; },
                         .work = [&](int rank, int iteration) { session.route(rank, slot_of(iteration)); }});
    route.algorithm = "counts";
  }
  Result& dispatch =
      measurement.add("dispatch", largest(volumes.dispatch_wire), dispatched_bytes(session, volumes),
                      {.prepare = [&](int rank, int iteration) { session.release(rank, slot_of(iteration)); },
                       .work = [&](int rank, int iteration) { session.dispatch(rank, slot_of(iteration)); }});
  dispatch.codec = payload.codec;
  dispatch.quantise = payload.quantise;
  dispatch.input_dtype = payload.input;
  dispatch.algorithm = throughput ? "push" : "slots";
  if (first) {
    Result& combine =
        measurement.add("combine", largest(volumes.combine_wire), combined_bytes(session, volumes),
                        {.work = [&](int rank, int iteration) { session.combine(rank, slot_of(iteration)); }});
    combine.codec = payload.output() == DType::fp32   ? Codec::fp32
                    : payload.output() == DType::fp16 ? Codec::fp16
                                                      : Codec::bf16;
    combine.input_dtype = payload.output();
    combine.algorithm = "pull";
  }
  if (options.explain && verified) {
    explain(session, stream, run);
  }
}

}  // namespace

void measure_exchange(World& world, int tokens, std::FILE* stream, Run& run) {
  bool first = true;
  for (const Payload& payload : payloads_of(run.options.codec)) {
    measure_payload(world, payload, tokens, first, stream, run);
    first = false;
  }
}

}  // namespace railyard::cli::bench
