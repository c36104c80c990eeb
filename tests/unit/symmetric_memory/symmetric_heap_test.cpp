// SPDX-License-Identifier: Apache-2.0
// What heaps of several processes are made of: handles that travel, refusals that are told with their reason. Memory
// behind fabric handles is played: a handle is a key to memory of this process.
#include "symmetric_memory/symmetric_heap.hpp"
#include "bootstrap/thread_bootstrap.hpp"
#include "symmetric_memory/shared_region.hpp"
#include "unit/bootstrap/tcp_ranks.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace railyard::symmetric_memory {
namespace {

using namespace std::chrono_literals;
using bootstrap::error_of;

constexpr std::size_t kStep = 4096;
constexpr std::size_t kLimit = 8 * kStep;
constexpr auto kTimeout = 20s;

/// What a driver knows: which memory a fabric handle means.
class PlayedDriver {
 public:
  FabricHandle export_memory(std::byte* memory) {
    const std::lock_guard lock(mutex_);
    FabricHandle handle{};
    const std::uint64_t number = ++count_ * 0x9E3779B97F4A7C15U;
    std::memcpy(handle.data(), &number, sizeof(number));
    std::memcpy(handle.data() + handle.size() - sizeof(number), &number, sizeof(number));  // the last bytes count too
    memory_.emplace(handle, memory);
    return handle;
  }
  std::byte* import_memory(const FabricHandle& handle) {
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(handle);
    if (found == memory_.end()) throw Error(ErrorCode::unsupported, "a handle that nobody exported");
    return found->second;
  }

 private:
  std::mutex mutex_;
  std::uint64_t count_ = 0;
  std::map<FabricHandle, std::byte*> memory_;
};

/// Memory in steps, each with a handle of its own, as on a GPU.
class PlayedRegion final : public MemoryRegion {
 public:
  explicit PlayedRegion(PlayedDriver& driver) : driver_(driver), memory_(kLimit) {}

  void commit(std::size_t bytes) override {
    if (bytes <= committed_) return;
    handles_.push_back({committed_, bytes - committed_, driver_.export_memory(memory_.data() + committed_)});
    committed_ = bytes;
  }
  [[nodiscard]] std::vector<SharedPart> share() const override {
    std::vector<SharedPart> parts;
    for (const Step& step : handles_) {
      parts.push_back({.offset = step.offset, .bytes = step.bytes, .handle = step.handle});
    }
    return parts;
  }
  [[nodiscard]] std::byte* base() const noexcept override { return memory_.data(); }
  [[nodiscard]] std::size_t limit() const noexcept override { return kLimit; }

 private:
  struct Step {
    std::size_t offset;
    std::size_t bytes;
    FabricHandle handle;
  };
  PlayedDriver& driver_;
  mutable std::vector<std::byte> memory_;
  std::size_t committed_ = 0;
  std::vector<Step> handles_;
};

class PlayedMapping final : public PeerMapping {
 public:
  explicit PlayedMapping(PlayedDriver& driver) : driver_(driver) {}

  void extend(const std::vector<SharedPart>& parts) override {
    for (const SharedPart& part : parts) {
      std::byte* const memory = driver_.import_memory(std::get<FabricHandle>(part.handle));
      if (!base_) base_ = memory;
      EXPECT_EQ(memory, base_ + part.offset);
      mapped_ = std::max(mapped_, part.offset + part.bytes);
    }
  }
  [[nodiscard]] std::byte* base() const noexcept override { return base_; }
  [[nodiscard]] std::size_t mapped() const noexcept { return mapped_; }

 private:
  PlayedDriver& driver_;
  std::byte* base_ = nullptr;
  std::size_t mapped_ = 0;
};

/// Notes what its rank gathers.
class NotingBootstrap final : public bootstrap::Bootstrap {
 public:
  explicit NotingBootstrap(bootstrap::Bootstrap& inner) : inner_(inner) {}
  [[nodiscard]] int rank() const noexcept override { return inner_.rank(); }
  [[nodiscard]] int size() const noexcept override { return inner_.size(); }
  [[nodiscard]] bool one_process() const noexcept override { return inner_.one_process(); }
  void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                  std::chrono::nanoseconds timeout) override {
    purposes.emplace_back(purpose);
    inner_.all_gather(mine, all, bytes, purpose, timeout);
  }
  std::vector<std::shared_ptr<void>> share(std::shared_ptr<void> mine, std::string_view purpose,
                                           std::chrono::nanoseconds timeout) override {
    return inner_.share(std::move(mine), purpose, timeout);
  }
  void abort(std::string_view reason) override { inner_.abort(reason); }
  [[nodiscard]] const std::shared_ptr<bootstrap::AbortFlag>& abort_flag() const noexcept override {
    return inner_.abort_flag();
  }

  std::vector<std::string> purposes;

 private:
  bootstrap::Bootstrap& inner_;
};

HeapKind played(PlayedDriver& driver) {
  return {.make = [&driver] { return std::make_shared<Heap>(std::make_unique<PlayedRegion>(driver), kStep); },
          .map = [&driver] { return std::make_unique<PlayedMapping>(driver); }};
}

TEST(SymmetricHeap, FabricHandlesTravelAsBytesAndNoDescriptorDoes) {
  PlayedDriver driver;
  bootstrap::run_world(3, [&](bootstrap::Bootstrap& self) {
    NotingBootstrap noting(self);
    std::vector<PlayedMapping*> mappings;
    HeapKind kind = played(driver);
    kind.map = [&] {
      auto mapping = std::make_unique<PlayedMapping>(driver);
      mappings.push_back(mapping.get());
      return mapping;
    };
    SymmetricHeap heap(noting, kStep, kind, kTimeout);
    const auto rank = static_cast<std::size_t>(self.rank());
    const auto write_and_read = [&](std::size_t offset) {
      heap.own().base()[offset] = static_cast<std::byte>(10 + rank);
      self.all_gather(nullptr, nullptr, 0, "written", kTimeout);
      for (int peer = 0; peer < 3; ++peer) {
        EXPECT_EQ(heap.base(peer)[offset], static_cast<std::byte>(10 + peer)) << "rank " << rank << " of " << peer;
      }
      self.all_gather(nullptr, nullptr, 0, "read", kTimeout);
    };
    write_and_read(kStep - 1);
    ASSERT_EQ(mappings.size(), 2U);
    for (const PlayedMapping* mapping : mappings) EXPECT_EQ(mapping->mapped(), kStep);

    heap.prepare_growth(noting, 2 * kStep, kTimeout);
    heap.own().grow(2 * kStep);
    for (const PlayedMapping* mapping : mappings) EXPECT_EQ(mapping->mapped(), 3 * kStep);
    write_and_read(3 * kStep - 1);

    const std::vector<std::string> once = {"mapping heaps: extents", "mapping heaps: fabric handles"};
    std::vector<std::string> expected = once;
    expected.emplace_back("mapping heaps: mapped");
    expected.insert(expected.end(), once.begin(), once.end());
    EXPECT_EQ(noting.purposes, expected) << "exchanges of descriptors gather, too";
  });
}

TEST(SymmetricHeap, FilesTravelAsDescriptors) {
  bootstrap::run_world(2, [](bootstrap::Bootstrap& self) {
    NotingBootstrap noting(self);
    const auto heap = make_host_heaps(noting, kStep, kLimit, kTimeout);
    heap->own().base()[0] = static_cast<std::byte>(1 + self.rank());
    self.all_gather(nullptr, nullptr, 0, "written", kTimeout);
    for (int peer = 0; peer < 2; ++peer) EXPECT_EQ(heap->base(peer)[0], static_cast<std::byte>(1 + peer));
    self.all_gather(nullptr, nullptr, 0, "read", kTimeout);
    EXPECT_EQ(std::ranges::count(noting.purposes, "mapping heaps: received"), 1);
    EXPECT_EQ(std::ranges::count(noting.purposes, "mapping heaps: fabric handles"), 0);
  });
}

TEST(SymmetricHeap, OfARankWithFilesAndOneWithFabricHandlesBothTravel) {
  PlayedDriver driver;
  bootstrap::run_world(2, [&](bootstrap::Bootstrap& self) {
    HeapKind kind = played(driver);
    if (self.rank() == 0) {
      kind.make = [] { return std::make_shared<Heap>(std::make_unique<SharedRegion>(kLimit), kStep); };
    } else {
      kind.map = [] { return std::make_unique<SharedPeerMapping>(); };
    }
    const SymmetricHeap heap(self, kStep, kind, kTimeout);
    heap.own().base()[7] = static_cast<std::byte>(1 + self.rank());
    self.all_gather(nullptr, nullptr, 0, "written", kTimeout);
    for (int peer = 0; peer < 2; ++peer) EXPECT_EQ(heap.base(peer)[7], static_cast<std::byte>(1 + peer));
    self.all_gather(nullptr, nullptr, 0, "read", kTimeout);
  });
}

std::string error_of_heaps(bootstrap::Bootstrap& self, const HeapKind& kind) {
  return error_of([&] { const SymmetricHeap heap(self, kStep, kind, kTimeout); });
}

// In a world of threads and in one of processes alike.
void expect_reason_on_all_ranks(bootstrap::Bootstrap& self, PlayedDriver& driver) {
  HeapKind kind = played(driver);
  if (self.rank() == 1) {
    kind.make = []() -> std::shared_ptr<Heap> { throw Error(ErrorCode::unsupported, "no IMEX channel; make one"); };
  }
  const std::string text = error_of_heaps(self, kind);
  EXPECT_EQ(text, self.rank() == 1 ? "RY-UNSUPPORTED: no IMEX channel; make one"
                                   : "RY-UNSUPPORTED: rank 1 could not allocate a heap of 4096 bytes: no IMEX channel; "
                                     "make one");
  EXPECT_EQ(error_of_heaps(self, played(driver)), "") << "the next heap";
}

TEST(SymmetricHeap, WhyARankWasRefusedIsToldToAllProcesses) {
  PlayedDriver driver;
  bootstrap::run_world(3, [&](bootstrap::Bootstrap& self) { expect_reason_on_all_ranks(self, driver); });
}

TEST(SymmetricHeap, WhyARankWasRefusedIsToldToAllThreads) {
  PlayedDriver driver;
  auto ranks = bootstrap::make_thread_bootstraps(3);
  bootstrap::run_threads(3,
                         [&](int rank) { expect_reason_on_all_ranks(*ranks[static_cast<std::size_t>(rank)], driver); });
}

TEST(SymmetricHeap, WhyARankCannotMapIsToldToAll) {
  PlayedDriver driver;
  PlayedDriver other;  // which knows none of the first one's handles: another NVLink domain
  bootstrap::run_world(2, [&](bootstrap::Bootstrap& self) {
    HeapKind kind = played(driver);
    if (self.rank() == 1) kind.map = [&] { return std::make_unique<PlayedMapping>(other); };
    EXPECT_EQ(error_of_heaps(self, kind),
              self.rank() == 1 ? "RY-UNSUPPORTED: a handle that nobody exported"
                               : "RY-UNSUPPORTED: rank 1 could not map the heaps of 2 ranks, of up to 32768 bytes "
                                 "each: a handle that nobody exported");
    EXPECT_EQ(error_of_heaps(self, played(driver)), "") << "the next heap";
  });
}

TEST(SymmetricHeap, ALongReasonIsCutAndAnyExceptionIsTold) {
  PlayedDriver driver;
  bootstrap::run_world(2, [&](bootstrap::Bootstrap& self) {
    HeapKind kind = played(driver);
    if (self.rank() == 0) {
      kind.make = []() -> std::shared_ptr<Heap> { throw Error(ErrorCode::unsupported, std::string(5000, 'x')); };
    }
    const std::string text = error_of_heaps(self, kind);
    EXPECT_NE(text.find("xxx"), std::string::npos);
    EXPECT_EQ(text.size() > 5000, self.rank() == 0) << text.size();
    kind = played(driver);
    if (self.rank() == 0) kind.make = []() -> std::shared_ptr<Heap> { throw std::bad_alloc(); };
    try {
      const SymmetricHeap heap(self, kStep, kind, kTimeout);
      ADD_FAILURE() << "nobody threw";
    } catch (const Error& error) {
      EXPECT_EQ(self.rank(), 1);
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    } catch (const std::bad_alloc&) {
      EXPECT_EQ(self.rank(), 0);
    }
  });
}

}  // namespace
}  // namespace railyard::symmetric_memory
