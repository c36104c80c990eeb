// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/nccl_exchange.hpp"

#include "cli/bench/cuda_kernels.hpp"
#include "cli/bench/cuda_operation.hpp"
#include "cli/bench/cuda_permute.hpp"
#include "cli/bench/nccl_library.hpp"
#include "cli/bench/nccl_plan.hpp"
#include "cli/bench/watchdog.hpp"
#include "codecs/row_format.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <chrono>
#include <functional>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

constexpr int kOperations = 8;
constexpr std::chrono::seconds kAnswer{120};
constexpr std::size_t kPitch = 256;

const std::int32_t* indices(const DeviceMemory& memory) {
  return static_cast<const std::int32_t*>(static_cast<const void*>(memory.data()));
}

class NcclExchange {
 public:
  NcclExchange(const CudaRun& cuda, CudaSession& session)
      : cuda_(cuda),
        session_(session),
        format_(codecs::RowFormat::of(session.payload().codec, session.options().hidden)),
        nccl_(cuda.of_ranks()),
        slots_(static_cast<std::size_t>(session.options().ranks)),
        send_rows_(slots_.size()),
        send_scales_(slots_.size()),
        digests_(slots_.size()),
        counts_(slots_.size()) {
    for (std::size_t rank = 0; rank < slots_.size(); ++rank) {
      plan(static_cast<int>(rank));
    }
    meet();
  }

  /// The counts travel first, as any dispatch of ids must know them; their way to the host, which needs them to call
  /// NCCL, is not counted.
  void dispatch() {
    dispatch("dispatch", "all-to-all of counts, permute, all-to-all", [this](int rank, int slot) {
      exchange_counts(rank);
      send_rows(rank, slot);
    });
  }
  /// The counts are known.
  void routed_dispatch() {
    dispatch("routed_dispatch", "permute, all-to-all", [this](int rank, int slot) { send_rows(rank, slot); });
  }

  void combine() {
    const std::int64_t row = output_row_bytes();
    Operation operation = own_operation("combine", "all-to-all, permute and sum", "pull", row);
    operation.result.codec = Codec::bf16;
    operation.result.input_dtype = DType::bf16;
    // The session's outputs are right: what they are is kept, and the peer writes into the same memory.
    std::vector<std::vector<std::uint64_t>> expected(slots_.size());
    cuda_.world.run([&](Rank& rank) {
      for (int slot = 0; slot < session_.num_slots(); ++slot) {
        expected[static_cast<std::size_t>(rank.index())].push_back(session_.output_digest(rank.index(), slot));
      }
    });
    operation.submit = [this](int rank, int number) { return_rows(rank, slot_of(number)); };
    operation.poison = [this](int rank, int number) { session_.poison_output(rank, slot_of(number)); };
    operation.check = [&](int rank, int number) {
      const auto slot = static_cast<std::size_t>(slot_of(number));
      return session_.output_digest(rank, slot_of(number)) == expected[static_cast<std::size_t>(rank)][slot];
    };
    measure_operation(cuda_, operation, cuda_.run.peers);
  }

 private:
  void dispatch(const char* name, const char* algorithm, const std::function<void(int rank, int slot)>& send) {
    Operation operation = own_operation(name, algorithm, "push", wire_row_bytes());
    operation.result.codec = session_.payload().codec;
    operation.result.input_dtype = session_.payload().input;
    operation.submit = [&](int rank, int number) { send(rank, slot_of(number)); };
    operation.poison = [this](int rank, int number) { poison(rank, slot_of(number)); };
    operation.check = [this](int rank, int number) { return same_rows(rank, slot_of(number)); };
    measure_operation(cuda_, operation, cuda_.run.peers);
  }

  [[nodiscard]] int slot_of(int number) const { return number % operations() % session_.num_slots(); }
  [[nodiscard]] int operations() const { return std::max(kOperations, session_.num_slots()); }
  [[nodiscard]] const NcclPlan& plan_of(int rank, int slot) const {
    return slots_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] std::int64_t wire_row_bytes() const {
    return static_cast<std::int64_t>(format_.row_bytes + format_.scale_bytes);
  }
  [[nodiscard]] std::int64_t output_row_bytes() const {
    return session_.options().hidden * static_cast<std::int64_t>(size_of(DType::bf16));
  }

  [[nodiscard]] Operation own_operation(const char* name, const char* algorithm, const char* link,
                                        std::int64_t row_bytes) const {
    const Traffic traffic = session_.traffic();
    Operation operation;
    operation.result.name = "nccl";
    operation.result.operation = name;
    operation.result.algorithm = diagnostics::format("{} (NCCL {})", algorithm, nccl_.version());
    operation.result.layout = session_.options().layout;
    operation.result.tokens = session_.tokens();
    operation.result.wire_bytes = traffic.wire_bytes(row_bytes);
    operation.limit_us = traffic.limit_us(row_bytes, cuda_.run.limits, link);
    operation.in_graph = operations();
    return operation;
  }

  /// Indices and memory of every slot of a rank.
  void plan(int rank) {
    const int device = cuda_.streams.device(rank);
    std::int64_t most_sent = 0;
    for (int slot = 0; slot < session_.num_slots(); ++slot) {
      auto& plans = slots_[static_cast<std::size_t>(rank)];
      most_sent = std::max(most_sent, plans.emplace_back(plan_nccl(session_, device, rank, slot)).all_sent);
    }
    const std::size_t row = std::max(format_.row_bytes, static_cast<std::size_t>(output_row_bytes()));
    const auto rows = static_cast<std::size_t>(most_sent);
    send_rows_[static_cast<std::size_t>(rank)] = DeviceMemory(device, rows * row);
    send_scales_[static_cast<std::size_t>(rank)] = DeviceMemory(device, rows * format_.scale_bytes);
    digests_[static_cast<std::size_t>(rank)] = DeviceMemory(device, kPitch);
    counts_[static_cast<std::size_t>(rank)] = DeviceMemory(device, 2 * slots_.size() * sizeof(std::int64_t));
  }

  /// NCCL connects at the first exchange, which must not be recorded.
  void meet() {
    cuda_.world.run([this](Rank& rank) {
      const UseDevice use(cuda_.streams.device(rank.index()));
      exchange_counts(rank.index());
      send_rows(rank.index(), 0);
      exchange_parts(rank.index(), slots_[static_cast<std::size_t>(rank.index())][0].received,
                     slots_[static_cast<std::size_t>(rank.index())][0].sent,
                     {{session_.slot(rank.index(), 0).y.data(), scratch(rank.index()), output_row_bytes()}});
      require_cuda(cudaStreamSynchronize(cuda_.streams[rank.index()]), "the first exchange");
    });
  }

  /// Rows of one kind: sent from, received in.
  struct Part {
    const void* from;
    void* to;
    std::int64_t row_bytes;
  };

  void exchange_parts(int rank, const std::vector<std::int64_t>& sent, const std::vector<std::int64_t>& received,
                      const std::vector<Part>& parts) const {
    const cudaStream_t stream = cuda_.streams[rank];
    nccl_.begin();
    for (const Part& part : parts) {
      const auto* from = static_cast<const std::byte*>(part.from);
      auto* to = static_cast<std::byte*>(part.to);
      for (std::size_t peer = 0; peer < sent.size(); ++peer) {
        const auto out = static_cast<std::size_t>(sent[peer] * part.row_bytes);
        const auto in = static_cast<std::size_t>(received[peer] * part.row_bytes);
        nccl_.send(rank, from, out, static_cast<int>(peer), stream);
        nccl_.receive(rank, to, in, static_cast<int>(peer), stream);
        from += out;
        to += in;
      }
    }
    nccl_.end();
  }

  /// One word for each peer.
  void exchange_counts(int rank) const {
    constexpr std::size_t kWord = sizeof(std::int64_t);
    const cudaStream_t stream = cuda_.streams[rank];
    std::byte* const words = counts_[static_cast<std::size_t>(rank)].data();
    nccl_.begin();
    for (int peer = 0; peer < session_.options().ranks; ++peer) {
      const std::size_t mine = static_cast<std::size_t>(peer) * kWord;
      const std::size_t theirs = static_cast<std::size_t>(session_.options().ranks + peer) * kWord;
      nccl_.send(rank, words + mine, kWord, peer, stream);
      nccl_.receive(rank, words + theirs, kWord, peer, stream);
    }
    nccl_.end();
  }

  /// Dispatch: gathered by destination, then exchanged. What arrives is ordered by source rank and token.
  void send_rows(int rank, int slot) const {
    const NcclPlan& own = plan_of(rank, slot);
    const cudaStream_t stream = cuda_.streams[rank];
    const Arguments given = session_.arguments(rank, slot);
    const auto row_bytes = static_cast<std::int64_t>(format_.row_bytes);
    const auto scale_bytes = static_cast<std::int64_t>(format_.scale_bytes);
    gather_rows(stream, scratch(rank), given.x.data(), indices(own.tokens), own.all_sent, row_bytes);
    std::vector<Part> parts{{scratch(rank), own.rows.data(), row_bytes}};
    if (scale_bytes > 0) {
      std::byte* const scales = send_scales_[static_cast<std::size_t>(rank)].data();
      gather_rows(stream, scales, given.scales.data(), indices(own.tokens), own.all_sent, scale_bytes);
      parts.push_back({scales, own.scales.data(), scale_bytes});
    }
    exchange_parts(rank, own.sent, own.received, parts);
  }

  /// Combine: rows go back as they came, then are summed by token.
  void return_rows(int rank, int slot) const {
    const NcclPlan& own = plan_of(rank, slot);
    exchange_parts(rank, own.received, own.sent,
                   {{session_.slot(rank, slot).y.data(), scratch(rank), output_row_bytes()}});
    sum_rows(cuda_.streams[rank], session_.output(rank, slot), scratch(rank), indices(own.places), session_.tokens(),
             static_cast<int>(own.sent.size()), session_.options().hidden);
  }

  [[nodiscard]] std::byte* scratch(int rank) const { return send_rows_[static_cast<std::size_t>(rank)].data(); }

  void poison(int rank, int slot) const {
    const UseDevice use(cuda_.streams.device(rank));
    const NcclPlan& own = plan_of(rank, slot);
    for (const DeviceMemory* memory : {&own.rows, &own.scales}) {
      require_cuda(cudaMemsetAsync(memory->data(), 0xFF, memory->bytes(), cuda_.streams[rank]), "poisoning rows");
    }
  }

  [[nodiscard]] std::uint64_t digest(int rank, const DigestRegion& rows, const DigestRegion& scales) const {
    const UseDevice use(cuda_.streams.device(rank));
    const cudaStream_t stream = cuda_.streams[rank];
    auto* const word = static_cast<std::uint64_t*>(static_cast<void*>(digests_[static_cast<std::size_t>(rank)].data()));
    std::uint64_t value = 0;
    require_cuda(cudaMemsetAsync(word, 0, sizeof(value), stream), "clearing a digest");
    add_digest(stream, rows, 0, word);
    if (scales.row_bytes > 0) {
      add_digest(stream, scales, 1, word);
    }
    require_cuda(cudaMemcpyAsync(&value, word, sizeof(value), cudaMemcpyDefault, stream), "reading a digest");
    require_cuda(cudaStreamSynchronize(stream), "reading a digest");
    return value;
  }

  /// Whether the peer delivered the rows that the verified dispatch did.
  [[nodiscard]] bool same_rows(int rank, int slot) const {
    const NcclPlan& own = plan_of(rank, slot);
    const Dispatched& received = session_.slot(rank, slot).received;
    const auto row = static_cast<std::int64_t>(format_.row_bytes);
    const auto scale = static_cast<std::int64_t>(format_.scale_bytes);
    const std::int64_t rows = own.all_received;
    const auto pitch_of = [](const ConstTensorView& tensor) {
      return tensor.defined() ? tensor.stride(0) * static_cast<std::int64_t>(size_of(tensor.dtype())) : 0;
    };
    return received.route.num_rows() == rows &&
           digest(rank, {own.rows.data(), rows, row, row}, {own.scales.data(), rows, scale, scale}) ==
               digest(rank, {received.rows.data(), rows, row, pitch_of(received.rows)},
                      {received.scales.data(), rows, scale, pitch_of(received.scales)});
  }

  const CudaRun& cuda_;
  CudaSession& session_;
  codecs::RowFormat format_;
  NcclRanks nccl_;
  std::vector<std::vector<NcclPlan>> slots_;  // [rank][slot]
  std::vector<DeviceMemory> send_rows_;       // by rank: gathered rows; in combine, what comes back
  std::vector<DeviceMemory> send_scales_;
  std::vector<DeviceMemory> digests_;
  std::vector<DeviceMemory> counts_;  // by rank: one word for each peer, and one from each
};

}  // namespace

void require_nccl(const CudaRun& cuda) {
  const Watchdog watchdog("the peer nccl, making communicators,", kAnswer);
  const int ranks = cuda.run.options.ranks;
  if (cuda.devices.size() != static_cast<std::size_t>(ranks)) {
    throw Error(
        ErrorCode::unsupported,
        diagnostics::format("--peers nccl needs a GPU for each rank: {} ranks are on {}", ranks, cuda.devices.size()));
  }
  const NcclRanks nccl(cuda.of_ranks());
}

void measure_nccl(const CudaRun& cuda, CudaSession& session, bool with_combine) {
  const Watchdog watchdog(diagnostics::format("the peer nccl, with {} tokens,", session.tokens()), kAnswer);
  NcclExchange exchange(cuda, session);
  exchange.dispatch();
  if (with_combine) {
    exchange.routed_dispatch();
    exchange.combine();
  }
}

}  // namespace railyard::cli::bench
