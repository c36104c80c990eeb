// SPDX-License-Identifier: Apache-2.0
// The peer `mpi` of `railyard bench`: the same exchange as pack, MPI_Alltoallv and reduce, started by it under mpirun
// with the same options. What is measured is written as an MPI program would be that wants to be fast: a token's row
// goes once to each rank, rows land where they stay, own rows are never sent, and the reduction is Railyard's. Combine
// is measured twice: with the rows of experts packed first, which an MPI program must where they are not ordered by
// rank, and sent from where they are. Everything that both need (inputs, routing, expected values, statistics) is
// Railyard's own code. Rank 0 writes JSON to standard output, and empty lines before it as long as all work.
#include "cli/bench/session.hpp"
#include "cli/bench/timing.hpp"
#include "cli/bench/verify.hpp"
#include "cli/exit_status.hpp"
#include "codecs/copy.hpp"
#include "codecs/reduction.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <numeric>

namespace railyard::cli::bench {
namespace {

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

/// A sign of life for the one who waits for the answer: an empty line, which JSON may begin with, at most one a second.
/// Rank 0's, which goes on only if all do.
void say_alive() {
  using Clock = std::chrono::steady_clock;
  static const bool speaks = [] {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank == 0;
  }();
  static Clock::time_point next = Clock::now();
  if (speaks && Clock::now() >= next) {
    next = Clock::now() + std::chrono::seconds(1);
    std::putchar('\n');
    std::fflush(stdout);
  }
}

/// Rows of one size, exchanged among all ranks; how many come from and go to whom is a table each.
class RowType {
 public:
  explicit RowType(std::size_t bytes) {
    MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type_);
    MPI_Type_commit(&type_);
  }
  ~RowType() { MPI_Type_free(&type_); }
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
  [[nodiscard]] MPI_Datatype get() const noexcept { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

/// Rows by rank: where they start and how many there are.
struct Parts {
  std::vector<int> counts;
  std::vector<int> starts;

  explicit Parts(std::size_t ranks) : counts(ranks), starts(ranks) {}
  void place() { std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), 0); }
  /// What is sent: own rows are not.
  [[nodiscard]] std::vector<int> counts_without(std::size_t rank) const {
    std::vector<int> result = counts;
    result[rank] = 0;
    return result;
  }
};

struct PeerSlot {
  std::vector<Choices> choices;  // by rank
  Buffer x;
  std::vector<std::vector<std::int32_t>> tokens;  // sent to each rank
  Parts sent{0};
  Parts received{0};
  Buffer rows;      // [capacity, hidden], ordered by source and token
  Buffer metadata;  // [capacity, words]: token, ids, weights
  Buffer y;
  Buffer out;
};

class MpiExchange {
 public:
  MpiExchange(const Options& options, int tokens, int rank)
      : options_(options),
        payload_(payloads_of(options.codec).front()),
        placement_(Placement::contiguous(options.experts, options.ranks)),
        tokens_(tokens),
        rank_(at(rank)),
        ranks_(at(options.ranks)),
        words_(1 + 2 * at(options.top_k)),
        row_bytes_(tensor(Content::x, 0, 0).row_bytes()),
        row_type_(row_bytes_),
        metadata_type_(words_ * sizeof(std::int32_t)),
        sum_(codecs::sum_rows(payload_.output(), payload_.output(), codecs::Stores::streaming)),
        slots_(at(count_slots(options, payload_, tokens))) {
    std::size_t most_sent = 0;
    std::size_t most_received = 0;
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      say_alive();
      most_sent = std::max(most_sent, prepare(slots_[index], static_cast<int>(index)));
      most_received = std::max(most_received, slots_[index].y.bytes());
    }
    packed_y_ = Buffer(most_received);
    send_rows_ = Buffer(most_sent * row_bytes_);
    send_metadata_ = Buffer(most_sent * words_ * sizeof(std::int32_t));
  }

  [[nodiscard]] int num_slots() const { return static_cast<int>(slots_.size()); }

  /// Counts, which the ranks exchange, then rows and what belongs to them.
  void dispatch(int index) {
    PeerSlot& slot = slots_[at(index)];
    choose_destinations(slot);
    MPI_Alltoall(slot.sent.counts.data(), 1, MPI_INT, slot.received.counts.data(), 1, MPI_INT, MPI_COMM_WORLD);
    slot.sent.place();
    slot.received.place();
    for (std::size_t destination = 0; destination < ranks_; ++destination) {
      const bool own = destination == rank_;
      const std::size_t start = at(own ? slot.received.starts[rank_] : slot.sent.starts[destination]);
      pack(slot, destination, (own ? slot.rows : send_rows_).data() + start * row_bytes_,
           (own ? slot.metadata : send_metadata_).data() + start * words_ * sizeof(std::int32_t));
    }
    exchange(send_rows_, slot.sent, slot.rows, slot.received, row_type_);
    exchange(send_metadata_, slot.sent, slot.metadata, slot.received, metadata_type_);
  }

  /// Rows of experts go back as they came, packed or from where they are, and are summed by token, by rank.
  void combine(int index, bool packed) {
    PeerSlot& slot = slots_[at(index)];
    if (packed) {
      for (std::size_t destination = 0; destination < ranks_; ++destination) {
        const std::size_t start = at(slot.received.starts[destination]) * row_bytes_;
        const int rows = destination == rank_ ? 0 : slot.received.counts[destination];
        for (int row = 0; row < rows; ++row) {
          const std::size_t place = start + at(row) * row_bytes_;
          std::memcpy(packed_y_.data() + place, slot.y.data() + place, row_bytes_);
        }
      }
    }
    exchange(packed ? packed_y_ : slot.y, slot.received, send_rows_, slot.sent, row_type_);
    std::vector<std::size_t> next(ranks_);
    std::vector<const void*> terms(ranks_);
    for (std::int32_t token = 0; token < tokens_; ++token) {
      int count = 0;
      for (std::size_t source = 0; source < ranks_; ++source) {
        const std::vector<std::int32_t>& there = slot.tokens[source];
        if (next[source] == there.size() || there[next[source]] != token) {
          continue;
        }
        const std::byte* first = source == rank_ ? slot.y.data() + at(slot.received.starts[rank_]) * row_bytes_
                                                 : send_rows_.data() + at(slot.sent.starts[source]) * row_bytes_;
        terms[at(count++)] = first + next[source]++ * row_bytes_;
      }
      sum_(terms.data(), nullptr, count, nullptr, slot.out.data() + at(token) * row_bytes_, options_.hidden);
    }
    codecs::store_fence();
  }

  /// Both operations on every slot, against the values that Railyard's own are held to.
  [[nodiscard]] bool verified() {
    bool right = true;
    for (int index = 0; index < num_slots(); ++index) {
      Buffer& out = slots_[at(index)].out;
      say_alive();
      dispatch(index);
      right = same_rows(index) && right;
      for (const bool packed : {false, true}) {
        std::fill_n(out.data(), out.bytes(), std::byte{0xFF});
        combine(index, packed);
        right = same_outputs(index) && right;
      }
    }
    return right;
  }

  /// Over links, by the busiest rank, mean over the slots; the same in both directions.
  [[nodiscard]] std::int64_t wire_bytes() const {
    std::int64_t rows = 0;
    for (const PeerSlot& slot : slots_) {
      rows += std::accumulate(slot.sent.counts.begin(), slot.sent.counts.end(), 0) - slot.sent.counts[rank_];
    }
    std::int64_t most = rows * static_cast<std::int64_t>(row_bytes_) / num_slots();
    MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
    return most;
  }

 private:
  [[nodiscard]] TensorOf tensor(Content content, int rank, int slot) const {
    return {content, rank, slot, payload_.input, options_.hidden};
  }
  [[nodiscard]] Arrivals arrivals(int index, int rank) const {
    std::vector<const Choices*> choices;
    for (const Choices& own : slots_[at(index)].choices) {
      choices.push_back(&own);
    }
    return arrivals_at(options_, placement_, choices, rank, 0);
  }

  /// Inputs, and memory whose pages are there. Returns the rows that it sends to others, its own included.
  std::size_t prepare(PeerSlot& slot, int index) {
    for (int source = 0; source < options_.ranks; ++source) {
      slot.choices.push_back(choose_experts(options_, tokens_, source, index));
    }
    slot.x = filled(options_.seed, tensor(Content::x, static_cast<int>(rank_), index), tokens_);
    slot.tokens.resize(ranks_);
    slot.sent = Parts(ranks_);
    slot.received = Parts(ranks_);
    const auto rows = static_cast<int>(arrivals(index, static_cast<int>(rank_)).needed);
    slot.y = filled(options_.seed, tensor(Content::y, static_cast<int>(rank_), index), rows);
    slot.rows = Buffer(at(rows) * row_bytes_);
    slot.metadata = Buffer(at(rows) * words_ * sizeof(std::int32_t));
    slot.out = Buffer(at(tokens_) * row_bytes_);
    for (Buffer* buffer : {&slot.rows, &slot.metadata, &slot.out}) {
      std::fill_n(buffer->data(), buffer->bytes(), std::byte{0xFF});
    }
    choose_destinations(slot);
    return at(std::accumulate(slot.sent.counts.begin(), slot.sent.counts.end(), 0));
  }

  void choose_destinations(PeerSlot& slot) const {
    for (std::vector<std::int32_t>& tokens : slot.tokens) {
      tokens.clear();
    }
    const std::int32_t* id = slot.choices[rank_].ids.data();
    for (std::int32_t token = 0; token < tokens_; ++token) {
      for (int k = 0; k < options_.top_k; ++k, ++id) {
        std::vector<std::int32_t>& there = slot.tokens[at(placement_.rank_of(*id))];
        if (there.empty() || there.back() != token) {
          there.push_back(token);
        }
      }
    }
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      slot.sent.counts[rank] = static_cast<int>(slot.tokens[rank].size());
    }
  }

  void pack(const PeerSlot& slot, std::size_t destination, std::byte* rows, std::byte* metadata) const {
    const Choices& choices = slot.choices[rank_];
    const std::size_t half = at(options_.top_k) * sizeof(std::int32_t);
    for (const std::int32_t token : slot.tokens[destination]) {
      std::memcpy(rows, slot.x.data() + at(token) * row_bytes_, row_bytes_);
      std::memcpy(metadata, &token, sizeof(token));
      std::memcpy(metadata + sizeof(token), &choices.ids[at(token) * at(options_.top_k)], half);
      std::memcpy(metadata + sizeof(token) + half, &choices.weights[at(token) * at(options_.top_k)], half);
      rows += row_bytes_;
      metadata += words_ * sizeof(std::int32_t);
    }
  }

  void exchange(const Buffer& from, const Parts& sent, const Buffer& to, const Parts& received,
                const RowType& type) const {
    const std::vector<int> out = sent.counts_without(rank_);
    const std::vector<int> in = received.counts_without(rank_);
    MPI_Alltoallv(from.data(), out.data(), sent.starts.data(), type.get(), to.data(), in.data(), received.starts.data(),
                  type.get(), MPI_COMM_WORLD);
  }

  [[nodiscard]] bool same_rows(int index) const {
    const PeerSlot& slot = slots_[at(index)];
    const Arrivals expected = arrivals(index, static_cast<int>(rank_));
    const std::size_t half = at(options_.top_k) * sizeof(std::int32_t);
    std::vector<std::byte> row(row_bytes_);
    bool right =
        std::accumulate(slot.received.counts.begin(), slot.received.counts.end(), std::int64_t{0}) == expected.needed;
    for (const PlacedRow& placed : expected.rows) {
      const Choices& choices = slot.choices[at(placed.source)];
      const std::size_t entry = at(placed.token) * at(options_.top_k);
      const std::byte* metadata = slot.metadata.data() + at(placed.row) * words_ * sizeof(std::int32_t);
      fill_row(row.data(), options_.seed, tensor(Content::x, placed.source, index), placed.token);
      right = right && std::memcmp(row.data(), slot.rows.data() + at(placed.row) * row_bytes_, row_bytes_) == 0 &&
              std::memcmp(metadata, &placed.token, sizeof(placed.token)) == 0 &&
              std::memcmp(metadata + sizeof(placed.token), &choices.ids[entry], half) == 0 &&
              std::memcmp(metadata + sizeof(placed.token) + half, &choices.weights[entry], half) == 0;
    }
    return right;
  }

  [[nodiscard]] bool same_outputs(int index) const {
    std::vector<std::vector<Contribution>> contributions(at(tokens_));
    for (int destination = 0; destination < options_.ranks; ++destination) {
      for (const PlacedRow& placed : arrivals(index, destination).rows) {
        if (at(placed.source) == rank_) {
          contributions[at(placed.token)].push_back({.rank = destination, .k = placed.k, .row = placed.row});
        }
      }
    }
    bool right = true;
    for (std::size_t token = 0; token < contributions.size(); ++token) {
      right = is_sum_of(options_, tensor(Content::y, 0, index), contributions[token],
                        slots_[at(index)].out.data() + token * row_bytes_) &&
              right;
    }
    return right;
  }

  const Options& options_;
  Payload payload_;
  Placement placement_;
  int tokens_;
  std::size_t rank_;
  std::size_t ranks_;
  std::size_t words_;
  std::size_t row_bytes_;
  RowType row_type_;
  RowType metadata_type_;
  codecs::SumRows sum_;
  std::vector<PeerSlot> slots_;
  Buffer packed_y_;
  Buffer send_rows_;  // packed; in combine, what comes back
  Buffer send_metadata_;
};

/// From a barrier on, the slowest rank of each iteration.
template <typename Work>
Series time_all(const Options& options, const MpiExchange& exchange, const Work& work) {
  const int warmup = std::max(options.warmup, exchange.num_slots());
  std::vector<double> microseconds;
  for (int iteration = 0; iteration < warmup + options.iterations; ++iteration) {
    say_alive();
    MPI_Barrier(MPI_COMM_WORLD);
    const auto start = std::chrono::steady_clock::now();
    work(iteration % exchange.num_slots());
    const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
    if (iteration >= warmup) {
      microseconds.push_back(elapsed.count());
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, microseconds.data(), options.iterations, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return Series(std::move(microseconds));
}

nlohmann::json measure(const Options& options, int tokens, int rank) {
  MpiExchange exchange(options, tokens, rank);
  int verified = exchange.verified() ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &verified, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  const std::int64_t wire_bytes = exchange.wire_bytes();
  nlohmann::json results = nlohmann::json::array();
  const auto add = [&](const char* name, const char* operation, const auto& work) {
    const Series series = time_all(options, exchange, work);
    results.push_back({{"name", name},
                       {"operation", operation},
                       {"tokens", tokens},
                       {"wire_bytes", wire_bytes},
                       {"us_median", series.median()},
                       {"us_p99", series.p99()},
                       {"verified", verified == 1}});
  };
  add("mpi", "dispatch", [&](int slot) { exchange.dispatch(slot); });
  add("mpi", "combine", [&](int slot) { exchange.combine(slot, true); });
  add("mpi in place", "combine", [&](int slot) { exchange.combine(slot, false); });
  return results;
}

std::string library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, at(length));
  return version.substr(0, version.find(','));
}

void run(int argc, char** argv) {
  CLI::App app{"The peer mpi of railyard bench, which starts it", "railyard_mpi_peer"};
  const auto parsed = add_options(app);
  app.parse(argc, argv);
  const Options options = parsed();
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks != options.ranks) {
    throw UsageError("--ranks is " + std::to_string(options.ranks) + " under mpirun with " + std::to_string(ranks));
  }
  nlohmann::json document{{"library", library_version()}, {"results", nlohmann::json::array()}};
  for (const int tokens : options.tokens) {
    for (nlohmann::json& result : measure(options, tokens, rank)) {
      document["results"].push_back(std::move(result));
    }
  }
  if (rank == 0) {
    std::printf("%s\n", document.dump().c_str());
  }
}

}  // namespace
}  // namespace railyard::cli::bench

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  try {
    railyard::cli::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "railyard_mpi_peer: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
