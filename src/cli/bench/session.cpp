// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/session.hpp"

#include "cli/environment.hpp"
#include "cli/rows.hpp"
#include "codecs/row_format.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <bit>

namespace railyard::cli::bench {
namespace {

/// Room beside the rows of a lease: ids, origins, weights and rounding, for each received row.
constexpr std::size_t kBytesBesideRow = 512;

}  // namespace

DType Payload::output() const { return input == DType::fp16 || input == DType::fp32 ? input : DType::bf16; }

std::size_t Payload::wire_row_bytes(int hidden) const {
  const codecs::RowFormat format = codecs::RowFormat::of(codec, hidden);
  return format.row_bytes + format.scale_bytes;
}

std::vector<Payload> payloads_of(Codec codec) {
  std::vector<Payload> payloads{{codec, element_type(codec), false}};
  if (block_size(codec) > 0) {
    payloads.push_back({codec, DType::bf16, true});
  }
  return payloads;
}

Session::Session(World& world, const Options& options, const Payload& payload, int tokens, int slots)
    : world_(world),
      options_(options),
      payload_(payload),
      placement_(Placement::contiguous(options.experts, options.ranks)),
      tokens_(tokens),
      num_slots_(slots),
      groups_(static_cast<std::size_t>(options.ranks)),
      slots_(static_cast<std::size_t>(options.ranks)) {
  for (int rank = 0; rank < options.ranks; ++rank) {
    auto& own = slots_[static_cast<std::size_t>(rank)];
    own.resize(static_cast<std::size_t>(slots));
    for (int slot = 0; slot < slots; ++slot) {
      own[static_cast<std::size_t>(slot)].choices = choose_experts(options, tokens, rank, slot);
    }
  }
  for (int rank = 0; rank < options.ranks; ++rank) {
    for (int slot = 0; slot < slots; ++slot) {
      capacity_ = std::max(capacity_, arrivals_at(options, placement_, choices(slot), rank, 0).needed);
    }
  }
  capacity_ = std::max<std::int64_t>(capacity_, 1);
  const GroupOptions group = group_options();
  const std::size_t needed = static_cast<std::size_t>(options.ranks) * group.heap_bytes * 5 / 4;
  const std::size_t available = Environment::detect().memory_bytes;
  if (available > 0 && needed > available) {
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("{} tokens on {} ranks need about {} MB, and {} MB are available", tokens,
                                    options.ranks, needed >> 20, available >> 20));
  }
  world_.run([&](Rank& rank) {
    groups_[static_cast<std::size_t>(rank.index())].emplace(rank, group);
    fill(rank.index());
  });
}

GroupOptions Session::group_options() const {
  GroupOptions group{.num_experts = options_.experts,
                     .max_top_k = options_.top_k,
                     .max_tokens = tokens_,
                     .hidden = options_.hidden,
                     .mode = options_.mode(),
                     .row_dtype = payload_.input == DType::fp32 ? DType::fp32 : DType::bf16};
  const std::int64_t groups = options_.layout == Layout::expert_slots ? placement_.max_local_experts() : 1;
  const codecs::RowFormat format = codecs::RowFormat::of(payload_.codec, options_.hidden);
  const std::size_t row = format.row_pitch + format.scale_pitch + kBytesBesideRow +
                          static_cast<std::size_t>(options_.hidden) * size_of(payload_.output());
  const std::size_t lease = static_cast<std::size_t>(capacity_ * groups) * row;
  group.heap_bytes = Group::bytes_needed(group, options_.ranks) + static_cast<std::size_t>(num_slots_ + 2) * lease;
  return group;
}

void Session::fill(int rank) {
  const auto tokens = static_cast<std::size_t>(tokens_);
  const auto elements = tokens * static_cast<std::size_t>(options_.hidden);
  for (int index = 0; index < num_slots_; ++index) {
    Slot& own = slot(rank, index);
    Random random(options_.seed, 1U << 30U | static_cast<std::uint64_t>(index * options_.ranks + rank));
    own.x = Buffer(elements * size_of(payload_.input));
    fill_random(own.x.data(), payload_.input, elements, random);
    if (block_size(payload_.codec) > 0 && !payload_.quantise) {
      const DType scale = scale_type(payload_.codec);
      const auto count =
          tokens * static_cast<std::size_t>(codecs::RowFormat::of(payload_.codec, options_.hidden).num_scales);
      own.scales = Buffer(count * size_of(scale));
      fill_random(own.scales.data(), scale, count, random);
    }
    own.out = Buffer(elements * size_of(payload_.output()));
    std::fill_n(own.out.data(), own.out.bytes(), std::byte{0xFF});
  }
}

std::vector<const Choices*> Session::choices(int slot) const {
  std::vector<const Choices*> result;
  for (const std::vector<Slot>& own : slots_) {
    result.push_back(&own[static_cast<std::size_t>(slot)].choices);
  }
  return result;
}

ConstTensorView Session::x_of(const Slot& slot) const {
  return {slot.x.data(), payload_.input, {tokens_, options_.hidden}};
}

ConstTensorView Session::scales_of(const Slot& slot) const {
  if (slot.scales.bytes() == 0) {
    return {};
  }
  return {slot.scales.data(),
          scale_type(payload_.codec),
          {tokens_, codecs::RowFormat::of(payload_.codec, options_.hidden).num_scales}};
}

ConstTensorView Session::ids_of(const Slot& slot) const {
  return {slot.choices.ids.data(), DType::int32, {tokens_, options_.top_k}};
}

ConstTensorView Session::weights_of(const Slot& slot) const {
  return {slot.choices.weights.data(), DType::fp32, {tokens_, options_.top_k}};
}

void Session::dispatch(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  DispatchOptions arguments;
  arguments.weights = weights_of(own);
  arguments.scales = scales_of(own);
  arguments.layout = options_.layout;
  arguments.capacity = capacity_;
  if (payload_.quantise) {
    arguments.codec = payload_.codec;
  }
  if (options_.layout == Layout::expert_major) {
    arguments.alignment = kAlignment;
  }
  own.received = group(rank).dispatch(x_of(own), ids_of(own), arguments);
  own.received.check();
}

void Session::dispatch_along_route(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  PayloadOptions arguments;
  arguments.weights = weights_of(own);
  arguments.scales = scales_of(own);
  if (payload_.quantise) {
    arguments.codec = payload_.codec;
  }
  own.received = group(rank).dispatch(x_of(own), own.route, arguments);
  own.received.check();
}

void Session::route(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  RouteOptions arguments{.layout = options_.layout, .capacity = capacity_};
  if (options_.layout == Layout::expert_major) {
    arguments.alignment = kAlignment;
  }
  own.route = group(rank).route(ids_of(own), arguments);
  own.route.check();
}

void Session::make_expert_outputs(int rank) {
  for (int index = 0; index < num_slots_; ++index) {
    Slot& own = slot(rank, index);
    const Tensor& rows = own.received.rows;
    const std::int64_t hidden = options_.hidden;
    own.y = rows.dimensions() == 3 ? group(rank).allocate({rows.size(0), rows.size(1), hidden}, payload_.output())
                                   : group(rank).allocate({rows.size(0), hidden}, payload_.output());
    Random random(options_.seed, 1U << 31U | static_cast<std::uint64_t>(index * options_.ranks + rank));
    const auto origins = own.received.route.origins().as<std::int64_t>();
    for (std::size_t row = 0; row < origins.size(); ++row) {
      if (std::bit_cast<Origin>(origins[row]).rank >= 0) {
        fill_random(flat_row(own.y, static_cast<std::int64_t>(row)), payload_.output(),
                    static_cast<std::size_t>(hidden), random);
      }
    }
  }
}

void Session::combine(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  CombineOptions arguments;
  if (options_.layout != Layout::rank_major) {
    arguments.row_weights = own.received.weights;
  }
  const TensorView out(own.out.data(), payload_.output(), {tokens_, options_.hidden});
  group(rank).combine(own.y, own.received.route, out, arguments).check();
}

}  // namespace railyard::cli::bench
