// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/nccl_plan.hpp"

#include "codecs/row_format.hpp"
#include "device/cuda_call.hpp"

namespace railyard::cli::bench {
namespace {

DeviceMemory on_device(int device, const std::vector<std::int32_t>& values) {
  const device::UseDevice use(device);
  DeviceMemory memory(device, values.size() * sizeof(std::int32_t));
  device::require_cuda(
      cudaMemcpy(memory.data(), values.data(), values.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice),
      "uploading indices");
  return memory;
}

}  // namespace

NcclPlan plan_nccl(const Session& session, int device, int rank, int slot) {
  const auto ranks = static_cast<std::size_t>(session.options().ranks);
  const codecs::RowFormat format = codecs::RowFormat::of(session.payload().codec, session.options().hidden);
  NcclPlan plan;
  plan.sent.resize(ranks);
  plan.received.resize(ranks);
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> places(static_cast<std::size_t>(session.tokens()) * ranks, -1);
  for (std::size_t destination = 0; destination < ranks; ++destination) {
    const Arrivals arrivals = arrivals_at(session.options(), session.placement(), session.choices(slot),
                                          static_cast<int>(destination), session.capacity());
    for (const PlacedRow& row : arrivals.rows) {
      if (row.source == rank) {
        places[static_cast<std::size_t>(row.token) * ranks + destination] = static_cast<std::int32_t>(tokens.size());
        tokens.push_back(row.token);
        ++plan.sent[destination];
      }
      if (destination == static_cast<std::size_t>(rank)) {
        ++plan.received[static_cast<std::size_t>(row.source)];
        ++plan.all_received;
      }
    }
  }
  plan.all_sent = static_cast<std::int64_t>(tokens.size());
  plan.tokens = on_device(device, tokens);
  plan.places = on_device(device, places);
  plan.rows = DeviceMemory(device, static_cast<std::size_t>(plan.all_received) * format.row_bytes);
  plan.scales = DeviceMemory(device, static_cast<std::size_t>(plan.all_received) * format.scale_bytes);
  return plan;
}

}  // namespace railyard::cli::bench
