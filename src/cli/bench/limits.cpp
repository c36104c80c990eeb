// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/limits.hpp"

#include "cli/bench/together.hpp"
#include "cli/environment.hpp"
#include "codecs/codec.hpp"
#include "codecs/implementation.hpp"
#include "codecs/row_format.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>

namespace railyard::cli::bench {
namespace {

/// Taken where the system does not say how large the cache is.
constexpr std::size_t kAssumedCacheBytes = std::size_t{64} << 20U;
constexpr int kMostSlots = 64;

}  // namespace

int slots_beyond_cache(std::size_t bytes, std::size_t times) {
  static const std::size_t detected = Environment::detect().cache_bytes;
  const std::size_t cache = detected > 0 ? detected : kAssumedCacheBytes;
  const std::size_t slots = times * cache / std::max<std::size_t>(bytes, 1) + 1;
  return static_cast<int>(std::clamp<std::size_t>(slots, 2, kMostSlots));
}

Copies::Copies(World& world, std::uint64_t seed, const std::vector<std::int64_t>& bytes, bool reuse_buffers)
    : slots_(reuse_buffers
                 ? kReusedSlots
                 : slots_beyond_cache(
                       2 * static_cast<std::size_t>(std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0})), 2)),
      most_bytes_(*std::max_element(bytes.begin(), bytes.end())),
      pairs_(bytes.size()) {
  world.run([&](Rank& rank) {
    const auto index = static_cast<std::size_t>(rank.index());
    const auto size = static_cast<std::size_t>(bytes[index]);
    Random random(seed, 1U << 29U | index);
    for (int slot = 0; slot < slots_; ++slot) {
      Pair& pair = pairs_[index].emplace_back(Pair{Buffer(size), Buffer(size)});
      fill_random(pair.source.data(), DType::fp8_e4m3, size, random);
      std::fill_n(pair.destination.data(), size, std::byte{0xFF});
    }
  });
}

TimedWork Copies::timed() {
  return {.work = [this](int rank, int iteration) {
    Pair& pair = pairs_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(iteration % slots_)];
    if (pair.source.bytes() > 0) {
      std::memcpy(pair.destination.data(), pair.source.data(), pair.source.bytes());
    }
  }};
}

bool Copies::verified() const {
  return std::all_of(pairs_.begin(), pairs_.end(), [](const std::vector<Pair>& own) {
    return std::all_of(own.begin(), own.end(), [](const Pair& pair) {
      return pair.source.bytes() == 0 ||
             std::memcmp(pair.source.data(), pair.destination.data(), pair.source.bytes()) == 0;
    });
  });
}

FlagLatency measure_flag(World& world, const Options& options) {
  constexpr int kRounds = 200;  // in one sample
  constexpr int kSpins = 2000;  // looks before the processor is offered to others
  if (world.size() < 2) {
    return {};
  }
  struct alignas(128) Flag {
    std::atomic<std::uint32_t> value{0};
  };
  struct Flags {
    Flag of_rank[2];
  };
  const Shared<Flags> shared_flags(world);
  Flag(&flags)[2] = shared_flags->of_rank;
  const auto wait_for = [](Flag& flag, std::uint32_t value) {
    for (int look = 0; flag.value.load(std::memory_order_acquire) != value; ++look) {
      if (look >= kSpins) {
        sched_yield();
      }
    }
  };
  const int samples = std::max(options.iterations, 10);
  std::vector<double> microseconds;
  world.run([&](Rank& rank) {
    const int index = rank.index();
    if (index > 1) {
      return;
    }
    for (int sample = 0; sample <= samples; ++sample) {
      const auto start = std::chrono::steady_clock::now();
      for (std::uint32_t round = 1; round <= kRounds; ++round) {
        const std::uint32_t value = static_cast<std::uint32_t>(sample) * kRounds + round;
        if (index == 0) {
          flags[0].value.store(value, std::memory_order_release);
          wait_for(flags[1], value);
        } else {
          wait_for(flags[0], value);
          flags[1].value.store(value, std::memory_order_release);
        }
      }
      const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
      if (index == 0 && sample > 0) {  // the first is a warm-up
        microseconds.push_back(elapsed.count() / (2.0 * kRounds));
      }
    }
  });
  microseconds.resize(static_cast<std::size_t>(world.size()) *
                      static_cast<std::size_t>(samples));  // rank 0's come first
  gather_by_rank(world, microseconds);
  microseconds.resize(static_cast<std::size_t>(samples));
  const Series series(std::move(microseconds));
  return {series.median(), series.p99(), true};
}

EncodeRate measure_encode(World& world, const Options& options, Codec codec, int tokens) {
  const codecs::RowFormat format = codecs::RowFormat::of(codec, options.hidden);
  const auto rows = static_cast<std::size_t>(tokens);
  const std::size_t input_row = static_cast<std::size_t>(options.hidden) * size_of(DType::bf16);
  const int slots = slots_beyond_cache(rows * input_row * static_cast<std::size_t>(world.size()), 2);
  const codecs::EncodeRow encode = codecs::encoder(codec, DType::bf16);
  const codecs::EncodeRow scalar = codecs::implementation(codecs::Level::scalar)
                                       .encode[static_cast<std::size_t>(codec)][static_cast<std::size_t>(DType::bf16)];
  struct Memory {
    std::vector<Buffer> inputs;
    Buffer rows;
    Buffer scales;
  };
  std::vector<Memory> memory(static_cast<std::size_t>(world.size()));
  world.run([&](Rank& rank) {
    Memory& own = memory[static_cast<std::size_t>(rank.index())];
    Random random(options.seed, 1U << 28U | static_cast<std::uint64_t>(rank.index()));
    for (int slot = 0; slot < slots; ++slot) {
      fill_random(own.inputs.emplace_back(rows * input_row).data(), DType::bf16, rows * input_row / 2, random);
    }
    own.rows = Buffer(rows * format.row_bytes);
    own.scales = Buffer(rows * format.scale_bytes);
    std::fill_n(own.rows.data(), own.rows.bytes(), std::byte{0});
    std::fill_n(own.scales.data(), own.scales.bytes(), std::byte{0});
  });
  const auto work = [&](int rank, int iteration) {
    Memory& own = memory[static_cast<std::size_t>(rank)];
    const Buffer& input = own.inputs[static_cast<std::size_t>(iteration % slots)];
    for (std::size_t row = 0; row < rows; ++row) {
      encode(input.data() + row * input_row, own.rows.data() + row * format.row_bytes,
             own.scales.data() + row * format.scale_bytes, options.hidden);
    }
  };
  const Series series = time_together(world, options.warmup, options.iterations, {.work = work});
  bool verified = true;
  std::vector<std::byte> row(format.row_bytes);
  std::vector<std::byte> scales(format.scale_bytes);
  const int last = (options.warmup + options.iterations - 1) % slots;
  for (const Memory& own : memory) {
    for (std::size_t i = 0; i < (own.inputs.empty() ? 0 : rows); ++i) {  // none: of another process
      scalar(own.inputs[static_cast<std::size_t>(last)].data() + i * input_row, row.data(), scales.data(),
             options.hidden);
      verified = verified && std::memcmp(row.data(), own.rows.data() + i * format.row_bytes, row.size()) == 0 &&
                 std::memcmp(scales.data(), own.scales.data() + i * format.scale_bytes, scales.size()) == 0;
    }
  }
  return {series.median(), series.p99(), static_cast<std::int64_t>(rows * input_row), verified};
}

}  // namespace railyard::cli::bench
