// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/rank_run.hpp"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

namespace railyard::multi_rank {

struct RankRun::Held {
  std::size_t round = 0;
  std::size_t payload = 0;
  Dispatched dispatched;
  const std::vector<ExpectedRound>* expected = nullptr;
};

namespace {

std::size_t heap_for(const Scenario& scenario, int world_size) {
  // A budget for every lease of a case at once, beside what the library itself needs.
  std::size_t bytes = std::size_t{1} << 20;
  for (const Round& round : scenario.rounds) {
    std::int64_t rows = 0;
    for (int rank = 0; rank < world_size; ++rank) {
      rows = std::max(rows, flat_rows(scenario, round, rank));
    }
    const auto row = static_cast<std::size_t>(scenario.options.hidden) * 5 + 12 * static_cast<std::size_t>(round.top_k);
    bytes += 6 * (static_cast<std::size_t>(rows) * (row + 256) + 65536);
  }
  return bytes + Group::bytes_needed(scenario.options, world_size, Layout::rank_major, backend().device_kind());
}

GroupOptions options_for(const Scenario& scenario) {
  GroupOptions options = scenario.options;
  if (options.heap_bytes == 0) {
    options.heap_bytes = heap_for(scenario, scenario.ranks());
  }
  return options;
}

}  // namespace

DeviceRows place_rows(Device device, const Rows& rows) {
  // Elements from one row to the next, and from one column to the next.
  const std::int64_t row_stride = rows.column_major ? 1 : rows.columns + rows.extra_stride;
  const std::int64_t column_stride = rows.column_major ? rows.rows + rows.extra_stride : 1;
  const std::size_t size = size_of(rows.dtype);
  const std::size_t bytes =
      rows.rows == 0
          ? 0
          : static_cast<std::size_t>((rows.rows - 1) * row_stride + (rows.columns - 1) * column_stride + 1) * size;
  std::vector<std::byte> content(bytes, std::byte{0xA5});
  const std::byte* next = rows.packed.data();
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    for (std::int64_t column = 0; column < rows.columns; ++column, next += size) {
      std::copy_n(next, size,
                  content.data() + static_cast<std::size_t>(row * row_stride + column * column_stride) * size);
    }
  }
  DeviceRows placed{Buffer(device, bytes, rows.misalignment), {}};
  placed.buffer.upload(content.data(), bytes);
  placed.view = ConstTensorView::strided(placed.buffer.data(), rows.dtype, {rows.rows, rows.columns},
                                         {row_stride, column_stride}, device);
  return placed;
}

DeviceRows place_ids(Device device, const Round& round, std::size_t rank) {
  DeviceRows placed;
  const std::vector<std::int64_t>& ids = round.ids[rank];
  const std::int64_t rows = round.rows[rank];
  if (round.id_type == DType::int64) {
    placed.buffer = Buffer(device, ids.size() * sizeof(std::int64_t));
    placed.buffer.upload(ids.data(), placed.buffer.bytes());
  } else {
    const std::vector<std::int32_t> narrow(ids.begin(), ids.end());
    placed.buffer = Buffer(device, narrow.size() * sizeof(std::int32_t));
    placed.buffer.upload(narrow.data(), placed.buffer.bytes());
  }
  placed.view = ConstTensorView(placed.buffer.data(), round.id_type, {rows, round.top_k}, device);
  return placed;
}

Poison poison_heap(Group& group, std::size_t bytes, Stream stream) {
  for (std::size_t size = bytes; size >= 256; size /= 2) {
    try {
      const Tensor block = group.allocate({static_cast<std::int64_t>(size)}, DType::uint8, stream);
      const Poison poison{.begin = reinterpret_cast<std::uintptr_t>(block.data()),
                          .end = reinterpret_cast<std::uintptr_t>(block.data()) + size};
      fill(block, poison.value);
      return poison;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::heap_exhausted) {
        throw;
      }
    }
  }
  return {};
}

ExhaustedHeap::ExhaustedHeap(Group& group, Stream stream) {
  for (std::int64_t size = static_cast<std::int64_t>(group.statistics().heap_bytes); size > 0;) {
    try {
      blocks_.push_back(group.allocate({size}, DType::uint8, stream));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::heap_exhausted) {
        throw;
      }
      size /= 2;
    }
  }
}

RankRun::RankRun(CaseRun& run, Rank& rank)
    : run_(run),
      scenario_(*run.scenario),
      rank_(static_cast<std::size_t>(rank.index())),
      device_(rank.device()),
      group_(rank, options_for(scenario_)),
      expected_(run.expected) {}

RankRun::~RankRun() = default;

const std::int32_t* RankRun::token_word(const Round& round, std::vector<Buffer>& buffers) const {
  if (!round.token_word) {
    return nullptr;
  }
  const auto tokens = static_cast<std::int32_t>(round.tokens[rank_]);
  buffers.emplace_back(device_, sizeof(tokens));
  buffers.back().upload(&tokens, sizeof(tokens));
  return static_cast<const std::int32_t*>(buffers.back().data());
}

Route RankRun::make_route(const Place& place, std::size_t index, std::vector<Buffer>& buffers) {
  const Round& round = scenario_.rounds[index];
  const RouteOptions options{.layout = round.layout,
                             .alignment = round.alignment,
                             .capacity = round.capacity,
                             .num_tokens = token_word(round, buffers)};
  const Stream stream = backend().stream(device_);
  Route route;
  if (round.from_mask) {
    Buffer mask(device_, round.mask[rank_].size());
    mask.upload(round.mask[rank_].data(), mask.bytes());
    route = group_.route_from_mask(
        ConstTensorView(mask.data(), DType::uint8, {round.rows[rank_], scenario_.ranks()}, device_), options, stream);
  } else {
    route = group_.route(place_ids(device_, round, rank_).view, options, stream);
  }
  compare_route(place.at("route"), (*expected_)[index].dispatched.front(), static_cast<int>(rank_), route);
  return route;
}

Dispatched RankRun::dispatch(std::size_t index, std::size_t which, Route& route, std::vector<Buffer>& buffers,
                             const TensorView& load, Poison& poison) {
  const Round& round = scenario_.rounds[index];
  const Payload& payload = round.payloads[which];
  const Stream stream = backend().stream(device_);
  const DeviceRows x = place_rows(device_, payload.x[rank_]);
  DeviceRows scales;
  if (payload.input_scales) {
    scales = place_rows(device_, payload.scales[rank_]);
  }
  Buffer weights;
  ConstTensorView weights_view;
  if (payload.has_weights) {
    weights = Buffer(device_, payload.weights[rank_].size() * sizeof(float));
    weights.upload(payload.weights[rank_].data(), weights.bytes());
    weights_view = ConstTensorView(weights.data(), DType::fp32, {round.rows[rank_], round.top_k}, device_);
  }
  const auto flat = static_cast<std::size_t>(flat_rows(scenario_, round, static_cast<int>(rank_)));
  poison = poison_heap(group_,
                       (flat + 64) * (static_cast<std::size_t>(scenario_.options.hidden) * 5 +
                                      16 * static_cast<std::size_t>(round.top_k) + 128),
                       stream);
  if (route) {
    const PayloadOptions options{
        .weights = weights_view, .scales = scales.view, .codec = payload.codec, .tail = payload.tail};
    return payload.split ? group_.dispatch_send(x.view, route, options, stream).receive(stream)
                         : group_.dispatch(x.view, route, options, stream);
  }
  const DispatchOptions options{.weights = weights_view,
                                .scales = scales.view,
                                .codec = payload.codec,
                                .tail = payload.tail,
                                .layout = round.layout,
                                .alignment = round.alignment,
                                .capacity = round.capacity,
                                .num_tokens = token_word(round, buffers),
                                .expert_load = load};
  const DeviceRows ids = place_ids(device_, round, rank_);
  const std::unique_ptr<ExhaustedHeap> exhausted =
      payload.exhausted_rank == static_cast<int>(rank_) ? std::make_unique<ExhaustedHeap>(group_, stream) : nullptr;
  Dispatched got = payload.split ? group_.dispatch_send(x.view, ids.view, options, stream).receive(stream)
                                 : group_.dispatch(x.view, ids.view, options, stream);
  route = got.route;
  return got;
}

void RankRun::check_dispatched(const Place& place, std::size_t index, std::size_t which, const Poison& poison,
                               const Dispatched& got) {
  const Payload& payload = scenario_.rounds[index].payloads[which];
  PayloadFormat format{.rows = payload.codec ? element_type(*payload.codec) : payload.input,
                       .scales = payload.input_scales,
                       .hidden = scenario_.options.hidden,
                       .weights = payload.has_weights};
  if (payload.codec && block_size(*payload.codec) > 0) {
    format.scales = scale_type(*payload.codec);
  }
  const reference::Result& expected = (*expected_)[index].dispatched[which];
  compare_status(place, expected.status, got.status());
  run_.report->count_untouched_rows(compare_dispatched(place, expected, static_cast<int>(rank_), format, poison, got));
}

void RankRun::run_round(std::size_t index) {
  const Round& round = scenario_.rounds[index];
  const Place place{run_.report, "rank " + std::to_string(rank_) + ", round " + std::to_string(index)};
  std::vector<Buffer> buffers;
  std::vector<std::int32_t> load(static_cast<std::size_t>(group_.local_experts()));
  TensorView load_view;
  if (round.load && !round.route_first) {
    for (std::size_t i = 0; i < load.size(); ++i) {
      load[i] = static_cast<std::int32_t>(1000 * index + i);
    }
    buffers.emplace_back(device_, load.size() * sizeof(std::int32_t));
    buffers.back().upload(load.data(), buffers.back().bytes());
    load_view = TensorView(buffers.back().data(), DType::int32, {group_.local_experts()}, device_);
  }
  Route route;
  if (round.route_first) {
    route = make_route(place, index, buffers);
  }
  Dispatched first;
  for (std::size_t which = 0; which < round.payloads.size(); ++which) {
    Poison poison;
    Dispatched got = dispatch(index, which, route, buffers, load_view, poison);
    const Place here = place.at("payload " + std::to_string(which));
    if (which == 0 && !round.route_first) {
      compare_route(here, (*expected_)[index].dispatched.front(), static_cast<int>(rank_), route);
      if (load_view.defined()) {
        const auto& counts = (*expected_)[index].dispatched.front().received[rank_].expert_counts;
        const std::vector<std::int32_t> after = download_as<std::int32_t>(load_view);
        for (std::size_t i = 0; i < load.size(); ++i) {
          here.equal(load[i] + counts[i], after[i], "expert_load[" + std::to_string(i) + "]");
        }
      }
    }
    check_dispatched(here, index, which, poison, got);
    if (which == 0) {
      first = got;
    }
    if (round.keep) {
      held_.push_back({index, which, std::move(got), expected_});
    }
  }
  for (std::size_t which = 0; which < round.combines.size(); ++which) {
    combine(place.at("combine " + std::to_string(which)), index, which, route, first);
  }
}

void RankRun::run() {
  for (std::size_t index = 0; index < scenario_.rounds.size(); ++index) {
    run_round(index);
  }
  const std::vector<ExpectedRound>* const latest = expected_;
  for (const Held& held : held_) {
    expected_ = held.expected;
    const Place place{run_.report, "rank " + std::to_string(rank_) + ", kept from round " + std::to_string(held.round) +
                                       ", payload " + std::to_string(held.payload)};
    check_dispatched(place, held.round, held.payload, Poison{}, held.dispatched);
    compare_route(place, (*expected_)[held.round].dispatched.front(), static_cast<int>(rank_), held.dispatched.route);
  }
  expected_ = latest;
}

std::string run_scenario(const Scenario& scenario, std::int64_t* untouched_rows) {
  const std::vector<ExpectedRound> expected = expect(scenario);
  Report report;
  CaseRun run{&scenario, &expected, &report};
  WorldOptions options;
  options.timeout = case_deadline();
  backend().run(
      scenario.ranks(), options, [&](Rank& rank) { RankRun(run, rank).run(); }, report);
  if (untouched_rows != nullptr) {
    *untouched_rows += report.untouched_rows();
  }
  if (report.ok()) {
    return "";
  }
  std::string text = scenario.describe();
  for (const Round& round : scenario.rounds) {
    text += "\n  round: " + describe(round);
  }
  return text + report.text() + "\n  repeat with RAILYARD_TEST_SEED=" + std::to_string(scenario.seed) +
         " RAILYARD_TEST_CASES=1";
}

}  // namespace railyard::multi_rank
