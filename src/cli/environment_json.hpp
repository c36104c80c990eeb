// SPDX-License-Identifier: Apache-2.0
// Where a result was obtained, as the JSON documents say it.
#pragma once

#include "cli/environment.hpp"

#include <nlohmann/json.hpp>

namespace railyard::cli {

[[nodiscard]] inline nlohmann::ordered_json to_json(const Environment& environment) {
  nlohmann::ordered_json json = {{"device", environment.device},
                                 {"driver", environment.system},
                                 {"cores", environment.cores},
                                 {"cache_bytes", environment.cache_bytes},
                                 {"vector_instructions", environment.vector_level},
                                 {"compiler", environment.compiler},
                                 {"build_type", environment.build_type},
                                 {"version", environment.version},
                                 {"commit", environment.commit}};
  if (environment.nvlinks >= 0) json["nvlinks"] = environment.nvlinks;
  return json;
}

}  // namespace railyard::cli
