// SPDX-License-Identifier: Apache-2.0
// One rank's part of a scenario: makes the calls, compares what came back.
#pragma once

#include "multi_rank/backend.hpp"
#include "multi_rank/compare.hpp"
#include "multi_rank/expected.hpp"
#include "multi_rank/report.hpp"
#include "multi_rank/scenario.hpp"

#include <railyard/group.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace railyard::multi_rank {

/// What all ranks of a case share.
struct CaseRun {
  const Scenario* scenario = nullptr;
  const std::vector<ExpectedRound>* expected = nullptr;
  Report* report = nullptr;
};

/// Rows in the caller's memory, as `Rows` asks.
struct DeviceRows {
  Buffer buffer;
  ConstTensorView view;
};
[[nodiscard]] DeviceRows place_rows(Device device, const Rows& rows);

/// Ids as int32 or int64 in the caller's memory.
[[nodiscard]] DeviceRows place_ids(Device device, const Round& round, std::size_t rank);

/// Fills free heap with a pattern, as far as one block goes, up to `bytes`.
[[nodiscard]] Poison poison_heap(Group& group, std::size_t bytes, Stream stream);

/// Holds all of a rank's heap until it is destroyed.
class ExhaustedHeap {
 public:
  ExhaustedHeap(Group& group, Stream stream);

 private:
  std::vector<Tensor> blocks_;
};

class RankRun {
 public:
  RankRun(CaseRun& run, Rank& rank);
  ~RankRun();
  RankRun(const RankRun&) = delete;
  RankRun& operator=(const RankRun&) = delete;
  /// Runs every round, then looks at the kept outputs again, of earlier runs too.
  void run();
  /// What later runs must give.
  void expect(const std::vector<ExpectedRound>& expected) { expected_ = &expected; }
  [[nodiscard]] Group& group() { return group_; }

 private:
  struct Held;
  void run_round(std::size_t index);
  [[nodiscard]] Route make_route(const Place& place, std::size_t index, std::vector<Buffer>& buffers);
  [[nodiscard]] Dispatched dispatch(std::size_t index, std::size_t payload, Route& route, std::vector<Buffer>& buffers,
                                    const TensorView& load, Poison& poison);
  void check_dispatched(const Place& place, std::size_t index, std::size_t payload, const Poison& poison,
                        const Dispatched& got);
  void combine(const Place& place, std::size_t index, std::size_t which, const Route& route, const Dispatched& first);
  [[nodiscard]] const std::int32_t* token_word(const Round& round, std::vector<Buffer>& buffers) const;

  CaseRun& run_;
  const Scenario& scenario_;
  std::size_t rank_;
  Device device_;
  Group group_;
  const std::vector<ExpectedRound>* expected_;
  std::vector<Held> held_;
};

/// Runs a scenario over `backend()` and returns what differs from the reference ("" if nothing), and, through
/// `untouched_rows`, how many tail rows were seen to be untouched.
[[nodiscard]] std::string run_scenario(const Scenario& scenario, std::int64_t* untouched_rows = nullptr);

}  // namespace railyard::multi_rank
