// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_descriptor.hpp"

#include "diagnostics/format.hpp"

#include <initializer_list>

namespace railyard::throughput {

using transports::Descriptor;
using transports::Operation;

namespace {

// From the lowest bit.
constexpr unsigned kRestBits = 15;
constexpr unsigned kAllBits = 1;  // whether the rest is a hash
constexpr unsigned kTopKBits = 6;
constexpr unsigned kWeightsBits = 1;
constexpr unsigned kScalesBits = 2;  // none, fp32, uint8
constexpr unsigned kTypeBits = 4;
constexpr unsigned kOperationBits = 3;
static_assert(kRestBits + kAllBits + kTopKBits + kWeightsBits + kScalesBits + kTypeBits + kOperationBits == 32);
static_assert(static_cast<unsigned>(DType::int64) < 1U << kTypeBits);
static_assert(static_cast<unsigned>(Operation::combine) < 1U << kOperationBits);

class Packer {
 public:
  void add(std::uint64_t value, unsigned bits) {
    word_ |= (static_cast<std::uint32_t>(value) & ((1U << bits) - 1)) << used_;
    used_ += bits;
  }
  [[nodiscard]] std::uint32_t word() const { return word_; }

 private:
  std::uint32_t word_ = 0;
  unsigned used_ = 0;
};

class Unpacker {
 public:
  explicit Unpacker(std::uint32_t word) : word_(word) {}
  std::uint32_t take(unsigned bits) {
    const std::uint32_t value = word_ & ((1U << bits) - 1);
    word_ >>= bits;
    return value;
  }

 private:
  std::uint32_t word_;
};

// FNV-1a, folded.
std::uint32_t hash_of(std::initializer_list<std::uint64_t> values) {
  std::uint32_t hash = 2166136261U;
  for (std::uint64_t value : values) {
    for (int i = 0; i < 8; ++i, value >>= 8U) hash = (hash ^ static_cast<std::uint32_t>(value & 0xFFU)) * 16777619U;
  }
  return hash ^ (hash >> (32 - kRestBits));
}

}  // namespace

std::uint32_t pack(const Descriptor& descriptor) {
  Packer packer;
  packer.add(descriptor.compares_all ? hash_of({descriptor.route_id, static_cast<std::uint64_t>(descriptor.tail),
                                                static_cast<std::uint64_t>(descriptor.capacity)})
                                     : descriptor.route_id,
             kRestBits);
  packer.add(descriptor.compares_all ? 1 : 0, kAllBits);
  packer.add(descriptor.top_k, kTopKBits);
  packer.add(descriptor.has_weights ? 1 : 0, kWeightsBits);
  packer.add(!descriptor.has_scales ? 0 : descriptor.scale_dtype == DType::fp32 ? 1 : 2, kScalesBits);
  packer.add(static_cast<std::uint64_t>(descriptor.row_dtype), kTypeBits);
  packer.add(static_cast<std::uint64_t>(descriptor.operation), kOperationBits);
  return packer.word();
}

std::string describe_packed(std::uint32_t word) {
  constexpr const char* kScales[] = {"none", "fp32", "uint8", "?"};
  Unpacker unpacker(word);
  const std::uint32_t rest = unpacker.take(kRestBits);
  const bool hashed = unpacker.take(kAllBits) != 0;
  const std::uint32_t top_k = unpacker.take(kTopKBits);
  const bool weights = unpacker.take(kWeightsBits) != 0;
  const std::uint32_t scales = unpacker.take(kScalesBits);
  const auto row_dtype = static_cast<DType>(unpacker.take(kTypeBits));
  const auto operation = static_cast<Operation>(unpacker.take(kOperationBits));
  return diagnostics::format("{}(top_k={}, row_dtype={}, scales={}, weights={}, {}{})", name(operation), top_k,
                             railyard::name(row_dtype), kScales[scales], weights ? "yes" : "no",
                             hashed ? "hash of route, tail and capacity " : "route #", rest);
}

}  // namespace railyard::throughput
