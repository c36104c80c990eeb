// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/thread_bootstrap.hpp"
#include "symmetric_memory/host_region.hpp"
#include "symmetric_memory/symmetric_heap.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::symmetric_memory {
namespace {

constexpr std::size_t kMegabyte = 1U << 20;

std::shared_ptr<Heap> make_heap(std::size_t bytes, std::size_t limit) {
  return std::make_shared<Heap>(std::make_unique<HostRegion>(limit), bytes);
}

TEST(Heap, BytesReturnWithTheLastHolder) {
  const auto heap = make_heap(kMegabyte, kMegabyte);
  Lease first = heap->allocate(1000);
  ASSERT_TRUE(first);
  EXPECT_EQ(first.bytes(), 1024U);
  Lease second = first;
  first = {};
  EXPECT_EQ(heap->usage().in_use, 1024U);
  second = {};
  EXPECT_EQ(heap->usage().in_use, 0U);
  EXPECT_EQ(heap->usage().peak, 1024U);
}

TEST(Heap, FreshMemoryIsZeroAndWritable) {
  const auto heap = make_heap(kMegabyte, kMegabyte);
  const Lease lease = heap->allocate(kMegabyte);
  ASSERT_TRUE(lease);
  std::byte* const data = lease.state()->data();
  EXPECT_EQ(data[kMegabyte - 1], std::byte{0});
  std::memset(data, 0xAB, kMegabyte);
  EXPECT_FALSE(heap->allocate(1));
}

TEST(Heap, LeasesOutliveTheirHandleToTheHeap) {
  auto heap = make_heap(kMegabyte, kMegabyte);
  const std::weak_ptr<Heap> watch = heap;
  Lease lease = heap->allocate(kMegabyte / 2);
  heap.reset();
  ASSERT_FALSE(watch.expired());
  std::memset(lease.state()->data(), 1, kMegabyte / 2);
  lease = {};
  EXPECT_TRUE(watch.expired());
}

// Memory for the first commit only.
class MeanRegion final : public MemoryRegion {
 public:
  void commit(std::size_t bytes) override {
    if (bytes > kMegabyte) throw Error(ErrorCode::out_of_memory, "the test refuses");
    region_.commit(bytes);
  }
  [[nodiscard]] std::byte* base() const noexcept override { return region_.base(); }
  [[nodiscard]] std::size_t limit() const noexcept override { return region_.limit(); }

 private:
  HostRegion region_{4 * kMegabyte};
};

TEST(Heap, RefusedMemoryLeavesItAsItWas) {
  const auto heap = std::make_shared<Heap>(std::make_unique<MeanRegion>(), kMegabyte);
  EXPECT_THROW(heap->prepare_growth(kMegabyte), Error);
  EXPECT_THROW(heap->grow(kMegabyte), Error);
  EXPECT_EQ(heap->usage().bytes, kMegabyte);
}

TEST(Heap, PreparingGrowthHandsNothingOut) {
  const auto heap = make_heap(kMegabyte, 2 * kMegabyte);
  heap->prepare_growth(kMegabyte);
  EXPECT_EQ(heap->usage().bytes, kMegabyte);
  EXPECT_FALSE(heap->allocate(2 * kMegabyte));
  heap->grow(kMegabyte);
  EXPECT_TRUE(heap->allocate(2 * kMegabyte));
}

TEST(Heap, GrowsToItsLimitAndNoFurther) {
  const auto heap = make_heap(kMegabyte, 3 * kMegabyte);
  EXPECT_FALSE(heap->allocate(2 * kMegabyte));
  heap->grow(kMegabyte);
  EXPECT_TRUE(heap->allocate(2 * kMegabyte));
  try {
    heap->grow(2 * kMegabyte);
    FAIL() << "grew beyond its limit";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::heap_exhausted);
    EXPECT_NE(std::string(error.what()).find("3145728"), std::string::npos) << error.what();
  }
}

TEST(Heap, GrowsFromSizesThatEndInsideAPage) {
  constexpr std::size_t kOdd = 21248;
  const auto heap = make_heap(kOdd, kMegabyte + 100);
  const Lease first = heap->allocate(kOdd);
  ASSERT_TRUE(first);
  std::memset(first.state()->data(), 7, kOdd);
  heap->grow(kOdd);
  const Lease second = heap->allocate(kOdd);
  ASSERT_TRUE(second);
  std::memset(second.state()->data(), 8, kOdd);
  EXPECT_EQ(first.state()->data()[kOdd - 1], std::byte{7});
  heap->grow(kMegabyte + 100 - 2 * kOdd);
  EXPECT_EQ(heap->usage().bytes, kMegabyte);
}

TEST(Heap, QuarantineHandsNothingOut) {
  const auto heap = make_heap(kMegabyte, kMegabyte);
  Lease lease = heap->allocate(1);
  heap->quarantine();
  lease = {};
  EXPECT_FALSE(heap->allocate(1));
}

TEST(Heap, TellsWhereALeaseEnds) {
  const auto heap = make_heap(kMegabyte, kMegabyte);
  for (int round = 0; round < 3; ++round) {
    Lease first = heap->allocate(1000);
    const Lease second = heap->allocate(256);
    const std::byte* const data = first.state()->data();
    EXPECT_EQ(heap->leased_from(data), 1024U);
    EXPECT_EQ(heap->leased_from(data + 1023), 1U);
    EXPECT_EQ(heap->leased_from(second.state()->data() + 6), 250U);
    EXPECT_EQ(heap->leased_from(second.state()->data() + 256), 0U);
    EXPECT_EQ(heap->leased_from(heap->base() - 1), 0U);
    EXPECT_EQ(heap->leased_from(heap->base() + kMegabyte), 0U);
    EXPECT_EQ(heap->lease_of(data + 1023).state(), first.state());
    first = {};
    EXPECT_EQ(heap->leased_from(data), 0U);
  }
}

TEST(Heap, HoldersMayLetGoOnAnyThread) {
  const auto heap = make_heap(kMegabyte, kMegabyte);
  for (int round = 0; round < 200; ++round) {
    Lease lease = heap->allocate(4096);
    ASSERT_TRUE(lease);
    std::vector<std::thread> threads;
    for (int index = 0; index < 3; ++index) threads.emplace_back([copy = lease]() mutable { copy = {}; });
    lease = {};
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(heap->usage().in_use, 0U);
  }
}

HeapKind in_process(std::size_t bytes) {
  return {.make = [bytes] { return make_heap(bytes, bytes); }, .map = {}};
}

TEST(SymmetricHeap, EveryRankSeesEveryHeapAndOutOfMemoryIsEveryonesError) {
  auto ranks = bootstrap::make_thread_bootstraps(3);
  std::vector<std::thread> threads;
  for (auto& rank : ranks) {
    threads.emplace_back([&rank] {
      const SymmetricHeap heap(*rank, kMegabyte, in_process(kMegabyte), std::chrono::seconds(10));
      const Lease lease = heap.own().allocate(64);
      std::memset(lease.state()->data(), rank->rank() + 1, 64);
      rank->all_gather(nullptr, nullptr, 0, "written", std::chrono::seconds(10));
      for (int peer = 0; peer < 3; ++peer) EXPECT_EQ(heap.base(peer)[63], static_cast<std::byte>(peer + 1));
      rank->all_gather(nullptr, nullptr, 0, "read", std::chrono::seconds(10));
      const std::size_t budget = rank->rank() == 1 ? std::size_t{1} << 60U : kMegabyte;
      try {
        const SymmetricHeap refused(*rank, budget, in_process(budget), std::chrono::seconds(10));
        ADD_FAILURE() << "an exabyte was granted";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
        const bool names_it = std::string(error.what()).find("rank 1") != std::string::npos;
        EXPECT_TRUE(names_it || rank->rank() == 1) << error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// One rank's end that is late: it returns from `share` once told to.
class LateBootstrap final : public bootstrap::Bootstrap {
 public:
  LateBootstrap(bootstrap::Bootstrap& inner, std::future<void> go) : inner_(inner), go_(std::move(go)) {}
  [[nodiscard]] int rank() const noexcept override { return inner_.rank(); }
  [[nodiscard]] int size() const noexcept override { return inner_.size(); }
  [[nodiscard]] bool one_process() const noexcept override { return inner_.one_process(); }
  void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                  std::chrono::nanoseconds timeout) override {
    inner_.all_gather(mine, all, bytes, purpose, timeout);
  }
  std::vector<std::shared_ptr<void>> share(std::shared_ptr<void> mine, std::string_view purpose,
                                           std::chrono::nanoseconds timeout) override {
    auto all = inner_.share(std::move(mine), purpose, timeout);
    go_.wait();
    return all;
  }
  void abort(std::string_view reason) override { inner_.abort(reason); }
  [[nodiscard]] const std::shared_ptr<bootstrap::AbortFlag>& abort_flag() const noexcept override {
    return inner_.abort_flag();
  }

 private:
  bootstrap::Bootstrap& inner_;
  std::future<void> go_;
};

TEST(SymmetricHeap, ARankThatLeavesAtOnceTakesNoMemoryFromALateOne) {
  auto ranks = bootstrap::make_thread_bootstraps(2);
  std::promise<void> left;
  std::thread late([&] {
    LateBootstrap slow(*ranks[1], left.get_future());
    const SymmetricHeap heap(slow, kMegabyte, in_process(kMegabyte), std::chrono::seconds(10));
    std::memset(heap.base(0), 1, kMegabyte);  // a late peer may write there
  });
  { const SymmetricHeap heap(*ranks[0], kMegabyte, in_process(kMegabyte), std::chrono::seconds(10)); }
  left.set_value();
  late.join();
}

}  // namespace
}  // namespace railyard::symmetric_memory
