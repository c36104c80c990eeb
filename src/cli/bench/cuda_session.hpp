// SPDX-License-Identifier: Apache-2.0
// A session whose operations run on GPUs: the slots' inputs and outputs have copies there, and what arrives is copied
// back to be verified.
#pragma once

#include "cli/bench/cuda_resources.hpp"
#include "cli/bench/session.hpp"
#include "cli/bench/traffic.hpp"

#include <cstdint>
#include <vector>

namespace railyard::cli::bench {

class CudaSession final : public Session {
 public:
  /// Keeps a reference to `streams`, which has a stream for each rank of `world`. `held`: dispatches that are held
  /// beside one per slot.
  CudaSession(World& world, const RankStreams& streams, const Options& options, const Payload& payload, int tokens,
              int slots, int num_sms, int held);

  void fetch_delivery(int rank, int slot) override;
  void fetch_output(int rank, int slot) override;

  /// What combine gives rows of, in the rank's device.
  [[nodiscard]] std::byte* output(int rank, int slot) const { return given(rank, slot).out; }
  [[nodiscard]] Arguments arguments(int rank, int slot) const override;

  /// Mean over the slots.
  [[nodiscard]] Traffic traffic() const;

  /// In the rank's thread, in stream order: bytes that no operation writes.
  void poison(int rank, const Dispatched& received, bool with_route) const;
  void poison_output(int rank, int slot) const;
  /// 64 bits that stand for all that was received, or for the output. They wait for the stream.
  [[nodiscard]] std::uint64_t digest(int rank, const Dispatched& received, std::int64_t num_rows) const;
  [[nodiscard]] std::uint64_t output_digest(int rank, int slot) const;

 protected:
  [[nodiscard]] Stream stream(int rank) const override { return Stream(streams_[rank]); }
  [[nodiscard]] TensorView begin_y(int rank, int slot) override;
  void end_y(int rank, int slot) override;

 private:
  /// A slot's copies on its device.
  struct Given {
    std::byte* x = nullptr;
    std::byte* scales = nullptr;
    std::byte* ids = nullptr;
    std::byte* weights = nullptr;
    std::byte* out = nullptr;
  };
  /// A slot's results on the host.
  struct Images {
    Buffer rows;
    Buffer scales;
    Buffer weights;
    Buffer expert_ids;
    Buffer origins;
    Buffer y;
  };

  void upload(int rank);
  [[nodiscard]] const Given& given(int rank, int slot) const {
    return given_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] Images& images(int rank, int slot) {
    return images_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] std::uint64_t* digest_word(int rank) const;

  const RankStreams& streams_;
  std::vector<DeviceMemory> memory_;         // by rank
  std::vector<std::vector<Given>> given_;    // [rank][slot]
  std::vector<std::vector<Images>> images_;  // [rank][slot]
};

}  // namespace railyard::cli::bench
