// SPDX-License-Identifier: Apache-2.0
// Row encoding, summing and copying on one core, beside memcpy of the same bytes. Bytes per second are those read and
// written, except `encode` and `decode`: bytes of the unencoded rows, the figure that the project's targets name.
// The `memory` cases walk over a working set larger than the last-level cache; the `cache` cases over one that fits L2.
#include "codecs/implementation.hpp"
#include "codecs/row_format.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::codecs {
namespace {

constexpr int kHidden = 7168;
constexpr std::size_t kCacheBytes = std::size_t{1} << 20;
constexpr std::size_t kMemoryBytes = std::size_t{768} << 20;

/// Page-touched rows of `bytes` each; `next()` walks over them.
class Rows {
 public:
  Rows(std::size_t bytes, std::size_t total)
      : bytes_(bytes), count_(total / bytes), memory_(count_ * bytes + 64), next_(0) {
    for (std::size_t i = 0; i + 1 < memory_.size(); i += 2) {
      const auto code = static_cast<std::uint16_t>(0x3F80 + i * 7 % 251);  // bf16 and fp16 near 1
      std::memcpy(memory_.data() + i, &code, sizeof code);
    }
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    first_ = (64 - address % 64) % 64;
  }
  std::byte* next() {
    std::byte* const row = memory_.data() + first_ + next_ * bytes_;
    next_ = next_ + 1 == count_ ? 0 : next_ + 1;
    return row;
  }

 private:
  std::size_t bytes_;
  std::size_t count_;
  std::vector<std::byte> memory_;
  std::size_t next_;
  std::size_t first_ = 0;
};

void count_bytes(benchmark::State& state, std::size_t bytes_each) {
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes_each) * static_cast<std::int64_t>(state.iterations()));
}

void encode(benchmark::State& state, Level level, Codec codec, DType input, std::size_t working_set) {
  const RowFormat format = RowFormat::of(codec, kHidden);
  Rows sources(kHidden * size_of(input), working_set);
  Rows rows(format.row_pitch, working_set / 2);
  std::vector<std::byte> scales(format.scale_pitch + 1);
  const EncodeRow function =
      implementation(level).encode[static_cast<std::size_t>(codec)][static_cast<std::size_t>(input)];
  for ([[maybe_unused]] auto iteration : state) {
    function(sources.next(), rows.next(), scales.data(), kHidden);
    benchmark::ClobberMemory();
  }
  count_bytes(state, kHidden * size_of(input));
}

void decode(benchmark::State& state, Level level, Codec codec, DType output, std::size_t working_set) {
  const RowFormat format = RowFormat::of(codec, kHidden);
  Rows rows(format.row_pitch, working_set / 2);
  Rows destinations(kHidden * size_of(output), working_set);
  const std::vector<float> scales(kHidden / 128, 1.0F);
  const DecodeRow function =
      implementation(level).decode[static_cast<std::size_t>(codec)][static_cast<std::size_t>(output)];
  for ([[maybe_unused]] auto iteration : state) {
    function(rows.next(), scales.data(), destinations.next(), kHidden);
    benchmark::ClobberMemory();
  }
  count_bytes(state, kHidden * size_of(output));
}

void sum(benchmark::State& state, Level level, Stores stores, bool weighted, int count, std::size_t working_set) {
  const std::size_t bytes = kHidden * size_of(DType::bf16);
  const auto num_rows = static_cast<std::size_t>(count);
  std::vector<Rows> inputs;
  inputs.reserve(num_rows);
  for (std::size_t r = 0; r < num_rows; ++r) {
    inputs.emplace_back(bytes, working_set / num_rows);
  }
  Rows outputs(bytes, working_set / num_rows);
  std::vector<const void*> pointers(num_rows);
  const std::vector<float> weights(num_rows, 0.125F);
  const SumRows function = implementation(level).sum[static_cast<std::size_t>(stores)][0][0];
  for ([[maybe_unused]] auto iteration : state) {
    for (std::size_t r = 0; r < num_rows; ++r) {
      pointers[r] = inputs[r].next();
    }
    function(pointers.data(), weighted ? weights.data() : nullptr, count, nullptr, outputs.next(), kHidden);
    benchmark::ClobberMemory();
  }
  store_fence();
  count_bytes(state, bytes * (num_rows + 1));
}

void copy(benchmark::State& state, Level level, std::size_t num_cached, std::size_t num_streamed, std::size_t bytes,
          std::size_t working_set) {
  const std::size_t num_rows = num_cached + num_streamed;
  Rows sources(bytes, working_set / num_rows);
  std::vector<Rows> outputs;
  outputs.reserve(num_rows);
  for (std::size_t d = 0; d < num_rows; ++d) {
    outputs.emplace_back(bytes, working_set / num_rows);
  }
  std::vector<void*> pointers(num_rows);
  const std::span<void* const> all(pointers);
  const Destinations destinations{.cached = all.first(num_cached), .streamed = all.last(num_streamed)};
  const CopyRowTo function = implementation(level).copy;
  for ([[maybe_unused]] auto iteration : state) {
    for (std::size_t d = 0; d < num_rows; ++d) {
      pointers[d] = outputs[d].next();
    }
    function(destinations, sources.next(), bytes);
    benchmark::ClobberMemory();
  }
  store_fence();
  count_bytes(state, bytes * (num_rows + 1));
}

/// The limit: one memcpy of 256 MiB, beyond the last-level cache.
void large_memcpy(benchmark::State& state) {
  const std::size_t bytes = std::size_t{256} << 20;
  const std::vector<std::byte> source(bytes, std::byte{1});
  std::vector<std::byte> destination(bytes, std::byte{2});
  for ([[maybe_unused]] auto iteration : state) {
    std::memcpy(destination.data(), source.data(), bytes);
    benchmark::ClobberMemory();
  }
  count_bytes(state, 2 * bytes);
}

template <class Function, class... Arguments>
void add(std::initializer_list<std::string_view> words, Function* function, Arguments... arguments) {
  std::string label;
  for (const std::string_view word : words) {
    label.append(label.empty() ? "" : "/").append(word);
  }
  benchmark::RegisterBenchmark(label.c_str(), function, arguments...);
}

void register_level(Level level, std::string_view where, std::size_t working_set) {
  for (const Codec codec : {Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0, Codec::fp16}) {
    add({"encode_bf16", railyard::name(codec), name(level), where}, encode, level, codec, DType::bf16, working_set);
  }
  add({"encode_fp32", "fp8_e4m3", name(level), where}, encode, level, Codec::fp8_e4m3, DType::fp32, working_set);
  add({"decode_to_bf16", "fp8_e4m3", name(level), where}, decode, level, Codec::fp8_e4m3, DType::bf16, working_set);
  for (const Stores stores : {Stores::ordinary, Stores::streaming}) {
    const std::string_view how = stores == Stores::streaming ? "streaming" : "ordinary";
    for (const int count : {1, 2, 8}) {
      add({"sum_bf16", std::to_string(count), how, name(level), where}, sum, level, stores, false, count, working_set);
    }
    add({"weighted_sum_bf16", "8", how, name(level), where}, sum, level, stores, true, 8, working_set);
    for (const std::size_t count : {1U, 2U, 4U}) {
      const std::size_t num_cached = stores == Stores::ordinary ? count : 0;
      add({"copy_14336", std::to_string(count), how, name(level), where}, copy, level, num_cached, count - num_cached,
          std::size_t{14336}, working_set);
    }
  }
  add({"copy_14336", "2", "one_of_each", name(level), where}, copy, level, std::size_t{1}, std::size_t{1},
      std::size_t{14336}, working_set);
}

}  // namespace
}  // namespace railyard::codecs

int main(int argc, char** argv) {
  using namespace railyard::codecs;
  benchmark::RegisterBenchmark("large_memcpy", large_memcpy);
  for (const Level level : {Level::scalar, Level::avx2, Level::avx512}) {
    if (supported(level)) {
      register_level(level, "cache", kCacheBytes);
      register_level(level, "memory", kMemoryBytes);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
