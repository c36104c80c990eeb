// SPDX-License-Identifier: Apache-2.0
// Blocks come back in the order of streams: a device whose streams go forward when the test says so.
#include "symmetric_memory/heap.hpp"
#include "symmetric_memory/host_region.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace railyard::symmetric_memory {
namespace {

constexpr std::size_t kBlock = 1024;

/// Streams are numbers. Each has done `done` of its `submitted` pieces of work; a mark is one piece.
class Streams final : public ReleaseOrder {
 public:
  struct Mark {
    std::uintptr_t stream;
    std::uint64_t after;
  };
  struct Progress {
    std::uint64_t submitted = 0;
    std::uint64_t done = 0;
    bool captured = false;
  };

  void* mark(Stream stream) noexcept override {
    Progress& progress = of(stream);
    if (progress.captured) return nullptr;
    ++live;
    return new Mark{number(stream), progress.submitted};
  }
  bool idle(Stream stream) noexcept override { return !of(stream).captured && of(stream).done == of(stream).submitted; }
  bool done(void* mark) noexcept override {
    const auto* const point = static_cast<Mark*>(mark);
    return progress_[point->stream].done >= point->after;
  }
  void wait(Stream stream, void* mark) noexcept override {
    waits.emplace_back(number(stream), static_cast<Mark*>(mark)->stream);
  }
  void retire(std::unique_ptr<MemoryRegion> region, std::vector<void*> marks) noexcept override {
    retired = std::move(region);
    for (void* mark : marks) {
      if (mark) recycle(mark);
    }
    num_marks = marks.size();
  }
  void recycle(void* mark) noexcept override {
    --live;
    delete static_cast<Mark*>(mark);
  }
  bool capturing(Stream stream) noexcept override { return of(stream).captured; }

  Progress& of(Stream stream) { return progress_[number(stream)]; }
  void submit(Stream stream) { ++of(stream).submitted; }
  void finish(Stream stream) { of(stream).done = of(stream).submitted; }

  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> waits;  // {who, for whom}
  int live = 0;
  std::unique_ptr<MemoryRegion> retired;
  std::size_t num_marks = 0;

 private:
  static std::uintptr_t number(Stream stream) { return reinterpret_cast<std::uintptr_t>(stream.native()); }
  std::map<std::uintptr_t, Progress> progress_;
};

Stream stream(std::uintptr_t number) { return Stream(reinterpret_cast<void*>(number)); }

class ReleaseInOrder : public ::testing::Test {
 protected:
  std::shared_ptr<Streams> streams_ = std::make_shared<Streams>();
  std::shared_ptr<Heap> heap_ = std::make_shared<Heap>(std::make_unique<HostRegion>(2 * kBlock), 2 * kBlock, streams_);
  const Stream a_ = stream(1);
  const Stream b_ = stream(2);
  const Stream c_ = stream(3);

  void TearDown() override {
    heap_.reset();
    EXPECT_EQ(streams_->live, 0) << "marks were not recycled";
  }
};

TEST_F(ReleaseInOrder, AnIdleStreamGivesBackAtOnce) {
  Lease lease = heap_->allocate(kBlock, a_);
  lease = {};
  EXPECT_EQ(heap_->usage().in_use, 0U);
  EXPECT_TRUE(streams_->waits.empty());
}

TEST_F(ReleaseInOrder, WorkThatRunsKeepsTheBlock) {
  Lease lease = heap_->allocate(kBlock, a_);
  streams_->submit(a_);
  lease = {};
  EXPECT_EQ(heap_->usage().in_use, kBlock);
  streams_->finish(a_);
  EXPECT_EQ(heap_->usage().in_use, 0U);
}

TEST_F(ReleaseInOrder, AFullHeapMakesTheAskingStreamWait) {
  Lease lease = heap_->allocate(2 * kBlock, a_);
  streams_->submit(a_);
  lease = {};
  const Lease next = heap_->allocate(kBlock, b_);
  ASSERT_TRUE(next);
  const std::vector<std::pair<std::uintptr_t, std::uintptr_t>> expected = {{2, 1}};
  EXPECT_EQ(streams_->waits, expected);
  // The other half is free for b only: a third stream comes after what b waits for.
  streams_->submit(b_);
  const Lease other = heap_->allocate(kBlock, c_);
  ASSERT_TRUE(other);
  EXPECT_EQ(streams_->waits.size(), 1U) << "b had no work when it was made to wait, so its mark has passed";
}

TEST_F(ReleaseInOrder, LaterStreamsWaitForTheOneThatWaited) {
  streams_->submit(b_);
  Lease lease = heap_->allocate(2 * kBlock, a_);
  streams_->submit(a_);
  lease = {};
  const Lease next = heap_->allocate(kBlock, b_);
  const Lease other = heap_->allocate(kBlock, c_);
  ASSERT_TRUE(next && other);
  const std::vector<std::pair<std::uintptr_t, std::uintptr_t>> expected = {{2, 1}, {3, 2}};
  EXPECT_EQ(streams_->waits, expected);
}

TEST_F(ReleaseInOrder, AHeapLeavesMemoryThatIsInUseToItsOrder) {
  Lease lease = heap_->allocate(kBlock, a_);
  Lease other = heap_->allocate(kBlock, b_);
  streams_->submit(a_);
  streams_->submit(b_);
  other = {};
  streams_->of(b_).captured = true;
  heap_.reset();
  lease = {};
  EXPECT_NE(streams_->retired, nullptr) << "the memory went under work that runs";
  EXPECT_EQ(streams_->num_marks, 2U);
}

TEST_F(ReleaseInOrder, AHeapAtRestTakesItsMemoryAlong) {
  Lease lease = heap_->allocate(kBlock, a_);
  heap_.reset();
  lease = {};
  EXPECT_EQ(streams_->retired, nullptr);
}

TEST_F(ReleaseInOrder, EveryStreamThatUsedTheBlockCounts) {
  Lease lease = heap_->allocate(kBlock, a_);
  lease.use_on(b_);
  lease.use_on(b_);
  streams_->submit(b_);
  lease = {};
  EXPECT_EQ(heap_->usage().in_use, kBlock);
  streams_->finish(b_);
  EXPECT_EQ(heap_->usage().in_use, 0U);
}

TEST_F(ReleaseInOrder, ACaptureTakesOnlyWhatIsFree) {
  Lease lease = heap_->allocate(2 * kBlock, a_);
  streams_->submit(a_);
  lease = {};
  streams_->of(b_).captured = true;
  EXPECT_FALSE(heap_->allocate(kBlock, b_));
  EXPECT_TRUE(streams_->waits.empty());
  streams_->finish(a_);
  EXPECT_TRUE(heap_->allocate(kBlock, b_));
}

TEST_F(ReleaseInOrder, ABlockReleasedInACaptureReturnsAfterIt) {
  Lease lease = heap_->allocate(kBlock, a_);
  streams_->submit(a_);
  streams_->of(a_).captured = true;
  lease = {};
  EXPECT_EQ(heap_->usage().in_use, kBlock);
  streams_->of(a_).captured = false;
  EXPECT_EQ(heap_->usage().in_use, kBlock);
  streams_->finish(a_);
  EXPECT_EQ(heap_->usage().in_use, 0U);
}

TEST_F(ReleaseInOrder, WhatIsCapturedCountsByTheGraphsLease) {
  streams_->of(a_).captured = true;
  Lease lease = heap_->allocate(kBlock, a_);
  lease.use_on(a_);
  lease = {};
  EXPECT_EQ(heap_->usage().in_use, 0U) << "the graph would hold a lease of its own";
}

TEST_F(ReleaseInOrder, EagerWorkOnACapturedBlockCounts) {
  streams_->of(a_).captured = true;
  Lease lease = heap_->allocate(kBlock, a_);
  lease.use_on(b_);
  streams_->submit(b_);
  lease = {};
  EXPECT_EQ(heap_->usage().in_use, kBlock);
  streams_->finish(b_);
  EXPECT_EQ(heap_->usage().in_use, 0U);
}

TEST_F(ReleaseInOrder, ABlockOfACaptureDoesNotHoldUpTheOthers) {
  Lease first = heap_->allocate(kBlock, a_);
  Lease second = heap_->allocate(kBlock, b_);
  streams_->submit(a_);
  streams_->submit(b_);
  streams_->of(a_).captured = true;
  first = {};
  second = {};
  EXPECT_TRUE(heap_->allocate(kBlock, c_));
  const std::vector<std::pair<std::uintptr_t, std::uintptr_t>> expected = {{3, 2}};
  EXPECT_EQ(streams_->waits, expected);
}

TEST_F(ReleaseInOrder, LeasesAreFoundByAddress) {
  Lease first = heap_->allocate(kBlock, a_);
  const Lease second = heap_->allocate(kBlock, a_);
  const std::byte* const inside = second.state()->data() + kBlock - 1;
  EXPECT_EQ(heap_->lease_of(inside).state(), second.state());
  EXPECT_FALSE(heap_->lease_of(heap_->base() + 2 * kBlock));
  const std::byte* const gone = first.state()->data();
  first = {};
  EXPECT_FALSE(heap_->lease_of(gone));
}

}  // namespace
}  // namespace railyard::symmetric_memory
