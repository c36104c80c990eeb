// SPDX-License-Identifier: Apache-2.0
// Any environment and any options: a value or an Error of the right code, never anything else.
#include "diagnostics/environment.hpp"
#include "fuzz/fuzz.hpp"

#include <railyard/group.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace railyard::fuzz {
namespace {

/// Sets or removes a variable for the length of a scope.
class Variable {
 public:
  Variable(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (value) {
      setenv(name, value->c_str(), 1);
    } else {
      unsetenv(name);
    }
  }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

std::optional<std::string> setting(Input& input, const std::vector<std::string>& legal) {
  const int choice = input.between(0, 7);
  if (choice == 0) {
    return std::nullopt;
  }
  if (choice < 4) {
    return legal[static_cast<std::size_t>(input.between(0, static_cast<int>(legal.size()) - 1))];
  }
  return (choice < 6 ? legal.front() : std::string()) + input.text(12);
}

void fuzz_environment(Input& input) {
  const std::optional<std::string> log = setting(input, {"off", "error", "warn", "info", "debug"});
  const std::optional<std::string> timeout = setting(input, {"30", "0.5", "1e3", "1000000"});
  const std::optional<std::string> debug = setting(input, {"0", "1"});
  const std::optional<std::string> handles = setting(input, {"fd", "fabric"});
  const Variable log_variable("RAILYARD_LOG", log);
  const Variable timeout_variable("RAILYARD_TIMEOUT_S", timeout);
  const Variable debug_variable("RAILYARD_DEBUG", debug);
  const Variable handles_variable("RAILYARD_GPU_HANDLES", handles);
  try {
    const diagnostics::Environment read = diagnostics::read_environment();
    require(!read.timeout || (read.timeout->count() > 0 && *read.timeout <= std::chrono::seconds(1'000'000)),
            "timeout '" + timeout.value_or("") + "' was read as " + std::to_string(read.timeout->count()) + " ns");
    require(read.log_level.has_value() == (log.has_value() && !log->empty()),
            "RAILYARD_LOG '" + log.value_or("") + "'");
    require(read.debug >= 0 && read.debug <= 2, "RAILYARD_DEBUG '" + debug.value_or("") + "'");
    require((read.gpu_handles == GpuHandles::fabric) == (handles == "fabric"),
            "RAILYARD_GPU_HANDLES '" + handles.value_or("") + "'");
  } catch (const Error& error) {
    const std::string message = error.what();
    require(error.code() == ErrorCode::environment, "wrong code: " + message);
    require(message.find("RAILYARD_") != std::string::npos, "no variable is named: " + message);
  }
}

int wild(Input& input, int low, int high) {
  switch (input.between(0, 7)) {
    case 0:
      return low;
    case 1:
      return high;
    case 2:
      return low - 1;
    case 3:
      return high + 1;
    case 4:
      return input.value<int>();
    default:
      return static_cast<int>(low + static_cast<std::int64_t>(input.value<std::uint32_t>()) %
                                        (static_cast<std::int64_t>(high) - low + 1) % 100'000);
  }
}

bool inside(int value, int low, int high) { return value >= low && value <= high; }

void fuzz_options(Input& input) {
  GroupOptions options;
  options.num_experts = wild(input, 1, 1'048'576);
  options.max_top_k = wild(input, 1, 32);
  options.max_tokens = wild(input, 0, 16'777'216);
  options.hidden = input.flag() ? wild(input, 8, 1'048'576) : 8 * input.between(1, 200);
  options.mode = static_cast<Mode>(input.between(0, 2));
  options.row_dtype = static_cast<DType>(input.between(0, 7));
  options.levels = static_cast<ReductionLevels>(input.between(0, 2));
  options.order = static_cast<ReductionOrder>(input.between(0, 2));
  options.overflow = static_cast<OverflowPolicy>(input.between(0, 2));
  options.max_in_flight = wild(input, 1, 16);
  const int world_size = wild(input, 1, 4096);
  const auto layout = static_cast<Layout>(input.between(0, 2));
  bool placement_fits = true;
  if (input.flag()) {
    std::vector<int> blocks;
    std::int64_t sum = 0;
    bool negative = false;
    for (int i = input.between(0, 8); i > 0; --i) {
      blocks.push_back(input.between(0, 9) - 1);
      sum += blocks.back();
      negative = negative || blocks.back() < 0;
    }
    try {
      options.placement = Placement::blocks(blocks);
      require(!negative && sum > 0, "a placement with a negative block or no expert was accepted");
      placement_fits =
          options.placement.num_experts() == options.num_experts && options.placement.num_ranks() == world_size;
    } catch (const Error& error) {
      require(error.code() == ErrorCode::invalid_argument && (negative || sum <= 0), error.what());
    }
  }
  const bool valid = inside(options.num_experts, 1, 1'048'576) && inside(options.max_top_k, 1, 32) &&
                     inside(options.max_tokens, 0, 16'777'216) && inside(options.hidden, 8, 1'048'576) &&
                     options.hidden % 8 == 0 && options.mode <= Mode::low_latency &&
                     options.levels <= ReductionLevels::rank && options.order <= ReductionOrder::highest_k &&
                     options.overflow <= OverflowPolicy::drop && inside(options.max_in_flight, 1, 16) &&
                     inside(world_size, 1, 4096) && placement_fits && options.row_dtype <= DType::int64 &&
                     !(options.levels == ReductionLevels::none && options.order != ReductionOrder::rank_ascending);
  // The payload alone; what else is needed is less than 64 times as much.
  const double blocks =
      layout == Layout::expert_slots ? std::ceil(options.num_experts / std::max(1.0, 1.0 * world_size)) : 1.0;
  const double at_least = 1.0 * options.max_in_flight * world_size * options.max_tokens * blocks * options.hidden *
                          static_cast<double>(size_of(options.row_dtype));
  try {
    const auto bytes = static_cast<double>(Group::bytes_needed(options, world_size, layout));
    require(valid, "options outside their limits were accepted");
    require(bytes >= at_least, "bytes_needed is " + std::to_string(bytes) + ", below " + std::to_string(at_least));
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument, error.what());
    require(!valid || at_least > 0x1p50, std::string("legal options were refused: ") + error.what());
  }
}

}  // namespace

void fuzz_configuration(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  fuzz_environment(input);
  fuzz_options(input);
}

}  // namespace railyard::fuzz
