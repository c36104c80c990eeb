// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/session.hpp"

#include "cli/bench/limits.hpp"
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
/// The same for each lease: its arrays are rounded up, and on a GPU a route has tables in the heap too.
constexpr std::size_t kBytesBesideLease = std::size_t{64} << 10U;
constexpr std::size_t kBytesBesideLeaseOnGpu = std::size_t{1} << 20U;

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

int count_slots(const Options& options, const Payload& payload, int tokens) {
  if (options.reuse_buffers) {
    return kReusedSlots;
  }
  const Placement placement = Placement::contiguous(options.experts, options.ranks);
  std::vector<Choices> choices;
  std::vector<const Choices*> sources;
  for (int rank = 0; rank < options.ranks; ++rank) {
    choices.push_back(choose_experts(options, tokens, rank, 0));
  }
  for (const Choices& own : choices) {
    sources.push_back(&own);
  }
  std::size_t written_rows = 0;  // padding too
  for (int rank = 0; rank < options.ranks; ++rank) {
    const Arrivals arrivals = arrivals_at(options, placement, sources, rank, 0);
    written_rows +=
        options.layout == Layout::expert_major ? static_cast<std::size_t>(arrivals.needed) : arrivals.rows.size();
  }
  const std::size_t inputs = static_cast<std::size_t>(options.ranks) * static_cast<std::size_t>(tokens) *
                             static_cast<std::size_t>(options.hidden) * size_of(payload.input);
  const std::size_t touched = inputs + written_rows * payload.wire_row_bytes(options.hidden);
  const int wanted = std::max(slots_beyond_cache(inputs, 1), slots_beyond_cache(touched, 2));
  return std::min(wanted, slots_beyond_cache(touched, 8));
}

Session::Session(World& world, const Options& options, const Payload& payload, int tokens, int slots, SessionPlan plan)
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
  const GroupOptions group = group_options(plan);
  const std::size_t needed = static_cast<std::size_t>(options.ranks) * group.heap_bytes * 5 / 4;
  // On GPUs the heaps are theirs, and say so themselves.
  const std::size_t available = plan.device == DeviceKind::host ? Environment::detect().memory_bytes : 0;
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

GroupOptions Session::group_options(const SessionPlan& plan) const {
  GroupOptions group{.num_experts = options_.experts,
                     .max_top_k = options_.top_k,
                     .max_tokens = tokens_,
                     .hidden = options_.hidden,
                     .mode = options_.mode(),
                     .row_dtype = payload_.input == DType::fp32 ? DType::fp32 : DType::bf16,
                     .num_sms = plan.num_sms};
  const std::int64_t groups = options_.layout == Layout::expert_slots ? placement_.max_local_experts() : 1;
  const codecs::RowFormat format = codecs::RowFormat::of(payload_.codec, options_.hidden);
  const auto rows = static_cast<std::size_t>(capacity_ * groups);
  const std::size_t lease = rows * (format.row_pitch + format.scale_pitch + kBytesBesideRow) +
                            (plan.device == DeviceKind::cuda ? kBytesBesideLeaseOnGpu : kBytesBesideLease);
  const std::size_t y = rows * static_cast<std::size_t>(options_.hidden) * size_of(payload_.output());
  const auto slots = static_cast<std::size_t>(num_slots_);
  const std::size_t own = Group::bytes_needed(group, options_.ranks, Layout::rank_major, plan.device);
  group.heap_bytes = own + (slots + static_cast<std::size_t>(plan.spare_leases)) * lease + (slots + 2) * y;
  return group;
}

TensorOf Session::tensor_of(Content content, int rank, int slot) const {
  switch (content) {
    case Content::scales:
      return {content, rank, slot, scale_type(payload_.codec),
              codecs::RowFormat::of(payload_.codec, options_.hidden).num_scales};
    case Content::y:
      return {content, rank, slot, payload_.output(), options_.hidden};
    default:
      return {content, rank, slot, payload_.input, options_.hidden};
  }
}

void Session::fill(int rank) {
  for (int index = 0; index < num_slots_; ++index) {
    Slot& own = slot(rank, index);
    own.x = filled(options_.seed, tensor_of(Content::x, rank, index), tokens_);
    if (block_size(payload_.codec) > 0 && !payload_.quantise) {
      own.scales = filled(options_.seed, tensor_of(Content::scales, rank, index), tokens_);
    }
    own.out = Buffer(static_cast<std::size_t>(tokens_) * static_cast<std::size_t>(options_.hidden) *
                     size_of(payload_.output()));
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

Arguments Session::arguments(int rank, int slot_index) const {
  const Slot& own = slot(rank, slot_index);
  const std::int64_t tokens = tokens_;
  Arguments result{.x = {own.x.data(), payload_.input, {tokens, options_.hidden}},
                   .scales = {},
                   .ids = {own.choices.ids.data(), DType::int32, {tokens, options_.top_k}},
                   .weights = {own.choices.weights.data(), DType::fp32, {tokens, options_.top_k}},
                   .out = {own.out.data(), payload_.output(), {tokens, options_.hidden}}};
  if (own.scales.bytes() > 0) {
    const std::int64_t scales = codecs::RowFormat::of(payload_.codec, options_.hidden).num_scales;
    result.scales = {own.scales.data(), scale_type(payload_.codec), {tokens, scales}};
  }
  return result;
}

Dispatched Session::start_dispatch(int rank, int slot_index) {
  const Arguments given = arguments(rank, slot_index);
  DispatchOptions wanted;
  wanted.weights = given.weights;
  wanted.scales = given.scales;
  wanted.layout = options_.layout;
  wanted.capacity = capacity_;
  if (payload_.quantise) {
    wanted.codec = payload_.codec;
  }
  if (options_.layout == Layout::expert_major) {
    wanted.alignment = kAlignment;
  }
  return group(rank).dispatch(given.x, given.ids, wanted, stream(rank));
}

void Session::dispatch(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  own.delivery = {};
  own.received = start_dispatch(rank, slot_index);
  own.received.check();
}

Dispatched Session::start_dispatch(int rank, int slot_index, const Route& route) {
  const Arguments given = arguments(rank, slot_index);
  PayloadOptions wanted;
  wanted.weights = given.weights;
  wanted.scales = given.scales;
  if (payload_.quantise) {
    wanted.codec = payload_.codec;
  }
  return group(rank).dispatch(given.x, route, wanted, stream(rank));
}

void Session::dispatch_along_route(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  own.received = start_dispatch(rank, slot_index, own.route);
  own.received.check();
}

void Session::route(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  RouteOptions wanted{.layout = options_.layout, .capacity = capacity_};
  if (options_.layout == Layout::expert_major) {
    wanted.alignment = kAlignment;
  }
  own.route = group(rank).route(arguments(rank, slot_index).ids, wanted, stream(rank));
  own.route.check();
}

void Session::release(int rank, int slot_index) {
  slot(rank, slot_index).delivery = {};
  slot(rank, slot_index).received = {};
}

TensorView Session::begin_y(int rank, int slot_index) { return slot(rank, slot_index).y; }

void Session::fetch_delivery(int rank, int slot_index) {
  Slot& own = slot(rank, slot_index);
  own.delivery = Delivery::of(own.received);
}

void Session::make_expert_outputs(int rank) {
  for (int index = 0; index < num_slots_; ++index) {
    Slot& own = slot(rank, index);
    const Tensor& rows = own.received.rows;
    const std::int64_t hidden = options_.hidden;
    own.y = rows.dimensions() == 3
                ? group(rank).allocate({rows.size(0), rows.size(1), hidden}, payload_.output(), stream(rank))
                : group(rank).allocate({rows.size(0), hidden}, payload_.output(), stream(rank));
    own.y_image = begin_y(rank, index);
    const TensorOf y = tensor_of(Content::y, rank, index);
    const auto origins = own.delivery.origins.as<std::int64_t>();
    for (std::size_t row = 0; row < origins.size(); ++row) {
      if (std::bit_cast<Origin>(origins[row]).rank >= 0) {
        const auto flat = static_cast<std::int64_t>(row);
        fill_row(flat_row(own.y_image, flat), options_.seed, y, flat);
      }
    }
    end_y(rank, index);
  }
}

Combined Session::start_combine(int rank, int slot_index) {
  const Slot& own = slot(rank, slot_index);
  CombineOptions wanted;
  if (options_.layout != Layout::rank_major) {
    wanted.row_weights = own.received.weights;
  }
  return group(rank).combine(own.y, own.received.route, arguments(rank, slot_index).out, wanted, stream(rank));
}

void Session::combine(int rank, int slot_index) { start_combine(rank, slot_index).check(); }

}  // namespace railyard::cli::bench
