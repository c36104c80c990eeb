// SPDX-License-Identifier: Apache-2.0
// Runs a scenario on the kernels and compares every output with the reference, bit for bit.
#pragma once

#include "device/cuda_ranks.hpp"
#include "device/scenario.hpp"

#include <string>
#include <vector>

namespace railyard::device_tests {

/// One rank's memory of one exchange.
struct ExchangeRank {
  throughput::DispatchLaunch dispatch;
  throughput::CombineLaunch combine;
  std::byte* payload = nullptr;
  std::byte* metadata = nullptr;
  std::byte* y = nullptr;
  std::byte* out = nullptr;
  std::size_t out_bytes = 0;
};

/// Memory of the ranks is used from where it stands; call CudaRanks::clear_memory between exchanges.
class Exchange {
 public:
  Exchange(CudaRanks& ranks, Scenario& scenario);

  /// Dispatch of ids, then combine, compared with the reference; with `again`, a routed dispatch of fresh rows between
  /// them. Returns what differed, or nothing.
  [[nodiscard]] std::string run(bool again);

  /// For loops and timing.
  void launch_dispatch();
  void launch_combine();
  [[nodiscard]] ExchangeRank& rank(int index) { return exchange_[static_cast<std::size_t>(index)]; }
  [[nodiscard]] throughput::CudaRowShape shape() const { return shape_; }
  void poison();
  [[nodiscard]] std::string compare_dispatch(const reference::Result& expected, bool routed);
  [[nodiscard]] std::string compare_combine(const reference::Result& routed);

 private:
  void place_source(int rank);
  void place_grant(int rank);
  void place_combine(int rank);
  void place_rows(int rank);
  [[nodiscard]] std::string compare_rank(int rank, const reference::Result& expected, bool routed);
  [[nodiscard]] std::string compare_counts(int rank, const reference::Result& expected, bool routed);

  CudaRanks& ranks_;
  Scenario& scenario_;
  throughput::CudaRowShape shape_;
  std::vector<ExchangeRank> exchange_;
};

}  // namespace railyard::device_tests
