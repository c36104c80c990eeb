// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/plain.hpp"

#include "multi_rank/routing_choice.hpp"

#include <exception>
#include <utility>

namespace railyard::multi_rank {

Scenario plain_scenario(const PlainShape& shape, Mode mode) {
  Scenario scenario;
  scenario.experts_per_rank.assign(static_cast<std::size_t>(shape.ranks), shape.experts_per_rank);
  scenario.options.num_experts = shape.ranks * shape.experts_per_rank;
  scenario.options.max_top_k = shape.top_k;
  scenario.options.max_tokens = shape.tokens;
  scenario.options.hidden = shape.hidden;
  scenario.options.mode = mode;
  scenario.options.heap_bytes = std::size_t{2} << 20;
  scenario.options.timeout = case_deadline();
  return scenario;
}

PlainRound plain_round(const Scenario& scenario, std::uint64_t seed, Layout layout, std::int64_t capacity) {
  Random random(seed);
  const GroupOptions& options = scenario.options;
  Round round;
  round.layout = layout;
  round.top_k = options.max_top_k;
  round.capacity = capacity;
  Payload payload;
  payload.has_weights = true;
  CombineCase combine;
  for (int rank = 0; rank < scenario.ranks(); ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    round.rows.push_back(options.max_tokens);
    round.tokens.push_back(options.max_tokens);
    round.ids.push_back(
        random_ids(random, RoutingChoice{}, options.max_tokens, round.top_k, options.num_experts, round.id_type));
    round.granted.push_back(capacity != 0
                                ? capacity
                                : reference::default_capacity(layout, scenario.ranks(), options.max_tokens, round.top_k,
                                                              scenario.experts_per_rank[r], round.alignment));
    const auto rows = [&](std::int64_t count) {
      return Rows{.dtype = DType::bf16,
                  .rows = count,
                  .columns = options.hidden,
                  .packed = random_rows(random, DType::bf16, count, options.hidden)};
    };
    payload.x.push_back(rows(options.max_tokens));
    payload.weights.push_back(random_weights(random, round.rows[r] * round.top_k));
    combine.y.push_back(rows(flat_rows(scenario, round, rank)));
    combine.shortened.push_back(false);
    combine.biases.emplace_back();
  }
  round.payloads.push_back(std::move(payload));
  round.combines.push_back(std::move(combine));
  Scenario alone = scenario;
  alone.rounds = {round};
  return {std::move(round), std::move(expect(alone).front())};
}

PlainRound without_ranks(const Scenario& scenario, const PlainRound& plain, const std::vector<int>& masked) {
  Scenario alone = scenario;
  alone.rounds = {without_ranks(scenario, plain.round, masked)};
  return {plain.round, std::move(expect(alone).front())};
}

PlainInput::PlainInput(Device device, const PlainRound& plain, int rank)
    : x(place_rows(device, plain.round.payloads.front().x[static_cast<std::size_t>(rank)])),
      ids(place_ids(device, plain.round, static_cast<std::size_t>(rank))),
      weights(device, plain.round.payloads.front().weights[static_cast<std::size_t>(rank)].size() * sizeof(float)) {
  const auto r = static_cast<std::size_t>(rank);
  weights.upload(plain.round.payloads.front().weights[r].data(), weights.bytes());
  options.weights = ConstTensorView(weights.data(), DType::fp32, {plain.round.rows[r], plain.round.top_k}, device);
  options.layout = plain.round.layout;
  options.capacity = plain.round.capacity;
}

void check_plain(const Place& place, const Scenario& scenario, const PlainRound& plain, int rank,
                 const Dispatched& got) {
  const reference::Result& expected = plain.expected.dispatched.front();
  compare_status(place, expected.status, got.status());
  compare_route(place, expected, rank, got.route);
  const PayloadFormat format{.scales = {}, .hidden = scenario.options.hidden, .weights = true};
  compare_dispatched(place, expected, rank, format, Poison{}, got);
}

void combine_plain(const Place& place, Group& group, const Scenario& scenario, const PlainRound& plain,
                   const Route& route) {
  const auto r = static_cast<std::size_t>(group.rank());
  const Rows& content = plain.round.combines.front().y[r];
  const std::int64_t hidden = scenario.options.hidden;
  const Stream stream = backend().stream(route.expert_ids().device());
  const Tensor y = plain.round.layout == Layout::expert_slots
                       ? group.allocate({group.local_experts(), plain.round.granted[r], hidden}, DType::bf16, stream)
                       : group.allocate({content.rows, hidden}, DType::bf16, stream);
  upload(y, content.packed);
  const Buffer out(y.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
  const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, y.device());
  const Combined combined = group.combine(y, route, view, {}, stream);
  compare_status(place, plain.expected.dispatched.front().status, combined.status());
  place.require(out.download() == plain.expected.combined.front()[r], "combine differs from the reference");
  place.require(out.guards_intact(), "combine wrote outside its output");
}

void round_trip(const Place& place, Group& group, const Scenario& scenario, const PlainRound& plain, Device device) {
  const PlainInput input(device, plain, group.rank());
  const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, backend().stream(device));
  check_plain(place, scenario, plain, group.rank(), got);
  if (plain.round.layout != Layout::rank_major || scenario.options.levels == ReductionLevels::rank) {
    combine_plain(place, group, scenario, plain, got.route);
  }
}

std::string run_ranks(int ranks, const std::function<void(Rank&, const Place&)>& body, WorldOptions options) {
  Report report;
  if (options.timeout.count() == 0) {
    options.timeout = case_deadline();
  }
  backend().run(
      ranks, std::move(options),
      [&](Rank& rank) {
        body(rank, {&report, "rank " + std::to_string(rank.index())});
      },
      report);
  return report.text();
}

Error expect_error(const Place& place, ErrorCode code, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.code() != code) {
      place.fail("expected " + std::string(code_name(code)) + ", got: " + error.what());
    }
    return error;
  } catch (const std::exception& error) {
    place.fail("expected " + std::string(code_name(code)) + ", got an exception that is no Error: " + error.what());
    return {ErrorCode::ok, ""};
  }
  place.fail("expected " + std::string(code_name(code)) + ", got no error");
  return {ErrorCode::ok, ""};
}

void expect_error(const Place& place, ErrorCode code, const std::vector<std::string>& parts,
                  const std::function<void()>& call) {
  const Error error = expect_error(place, code, call);
  for (const std::string& part : parts) {
    if (std::string(error.what()).find(part) == std::string::npos) {
      place.fail("no '" + part + "' in: " + error.what());
    }
  }
}

}  // namespace railyard::multi_rank
