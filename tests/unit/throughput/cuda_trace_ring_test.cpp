// SPDX-License-Identifier: Apache-2.0
// The host's end of the ring, against a writer that does what the kernels do.
#include "throughput/cuda_trace_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <thread>
#include <vector>

namespace railyard::throughput {
namespace {

constexpr std::size_t kWords = sizeof(CudaTraceRecord) / sizeof(std::uint64_t);

CudaTraceRecord numbered(std::uint64_t n) {
  CudaTraceRecord record;
  record.epoch = n;
  record.entry_ns = 10 * n;
  record.end_ns = 10 * n + 9;
  record.exchange = {.waited_ns = n, .last_peer = static_cast<std::int32_t>(n % 64), .missing = 1};
  record.operation = device::Operation::combine;
  for (std::uint64_t& word : record.unused) word = n;
  return record;
}

class Writer {
 public:
  explicit Writer(std::vector<CudaTraceRecord>& ring) : ring_(ring) {}

  CudaTraceRecord& place() { return ring_[written_ % ring_.size()]; }
  void begin() { std::atomic_ref(place().sequence).store(0, std::memory_order_relaxed); }
  // A release store each: `sequence` was 0 before.
  void fill(std::size_t words = kWords) {
    const auto content = std::bit_cast<std::array<std::uint64_t, kWords>>(numbered(written_ + 1));
    auto* const to = reinterpret_cast<std::uint64_t*>(&place());
    for (std::size_t i = 1; i < words; ++i) std::atomic_ref(to[i]).store(content[i], std::memory_order_release);
  }
  void end() {
    std::atomic_ref(place().sequence).store(written_ + 1, std::memory_order_release);
    ++written_;
  }
  void write() {
    begin();
    fill();
    end();
  }

 private:
  std::vector<CudaTraceRecord>& ring_;
  std::uint64_t written_ = 0;
};

struct Drained {
  std::vector<std::uint64_t> numbers;
  std::uint64_t lost = 0;
};

Drained drain(CudaTraceRing& ring) {
  Drained drained;
  drained.lost = ring.drain([&](const CudaTraceRecord& record) {
    const std::uint64_t n = record.sequence;
    const CudaTraceRecord wanted = numbered(n);
    EXPECT_EQ(record.epoch, wanted.epoch) << n;
    EXPECT_EQ(record.end_ns, wanted.end_ns) << n;
    EXPECT_EQ(record.exchange.last_peer, wanted.exchange.last_peer) << n;
    EXPECT_EQ(record.operation, wanted.operation) << n;
    EXPECT_EQ(record.unused[4], wanted.unused[4]) << n;
    drained.numbers.push_back(n);
  });
  return drained;
}

using Numbers = std::vector<std::uint64_t>;

TEST(CudaTraceRing, GivesWhatIsNewInOrder) {
  std::vector<CudaTraceRecord> records(4);
  Writer writer(records);
  CudaTraceRing ring(records);
  EXPECT_EQ(drain(ring).numbers, Numbers{});
  for (int i = 0; i < 3; ++i) writer.write();
  EXPECT_EQ(drain(ring).numbers, (Numbers{1, 2, 3}));
  EXPECT_EQ(drain(ring).numbers, Numbers{});
  for (int i = 0; i < 4; ++i) writer.write();
  const Drained full = drain(ring);
  EXPECT_EQ(full.numbers, (Numbers{4, 5, 6, 7}));
  EXPECT_EQ(full.lost, 0U);
}

TEST(CudaTraceRing, CountsWhatWasOverwritten) {
  for (const std::uint64_t before : {0U, 1U, 3U, 4U}) {
    for (std::uint64_t more = 0; more <= 14; ++more) {
      std::vector<CudaTraceRecord> records(4);
      Writer writer(records);
      CudaTraceRing ring(records);
      for (std::uint64_t i = 0; i < before; ++i) writer.write();
      EXPECT_EQ(drain(ring).numbers.size(), before);
      for (std::uint64_t i = 0; i < more; ++i) writer.write();
      const Drained drained = drain(ring);
      Numbers latest;
      for (std::uint64_t n = before + (more > 4 ? more - 4 : 0) + 1; n <= before + more; ++n) latest.push_back(n);
      EXPECT_EQ(drained.numbers, latest) << before << " then " << more;
      EXPECT_EQ(drained.lost, more > 4 ? more - 4 : 0) << before << " then " << more;
    }
  }
}

TEST(CudaTraceRing, ARecordBeingWrittenIsNotThereYet) {
  std::vector<CudaTraceRecord> records(2);
  Writer writer(records);
  CudaTraceRing ring(records);
  writer.write();
  writer.begin();
  writer.fill(kWords / 2);
  EXPECT_EQ(drain(ring).numbers, Numbers{1});
  writer.fill();
  writer.end();
  EXPECT_EQ(drain(ring).numbers, Numbers{2});
  writer.begin();  // over the first, which was read
  EXPECT_EQ(drain(ring).numbers, Numbers{});
  writer.fill();
  writer.end();
  writer.write();
  writer.begin();  // over the third, which was not
  writer.fill(kWords / 2);
  EXPECT_EQ(drain(ring).numbers, Numbers{});
  writer.fill();
  writer.end();
  const Drained drained = drain(ring);
  EXPECT_EQ(drained.numbers, (Numbers{4, 5}));
  EXPECT_EQ(drained.lost, 1U);
}

TEST(CudaTraceRing, RecordsAreWholeWhileAnotherThreadWrites) {
  constexpr std::uint64_t kOperations = 50'000;
  std::vector<CudaTraceRecord> records(8);
  CudaTraceRing ring(records);
  std::atomic<bool> done{false};
  std::thread device([&] {
    Writer writer(records);
    for (std::uint64_t i = 0; i < kOperations; ++i) {
      writer.write();
      if (i % 64 == 0) std::this_thread::yield();
    }
    done = true;
  });
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  std::uint64_t latest = 0;
  for (bool last = false; !last;) {
    last = done;
    const Drained drained = drain(ring);
    lost += drained.lost;
    for (const std::uint64_t n : drained.numbers) {
      ASSERT_GT(n, latest);
      latest = n;
    }
    taken += drained.numbers.size();
  }
  device.join();
  EXPECT_EQ(latest, kOperations);
  EXPECT_EQ(taken + lost, kOperations);
  EXPECT_GE(taken, 8U);
}

}  // namespace
}  // namespace railyard::throughput
