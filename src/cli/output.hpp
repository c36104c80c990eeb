// SPDX-License-Identifier: Apache-2.0
// Where text and JSON go: with `--json -` standard output carries the JSON and nothing else.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdio>
#include <string>

namespace railyard::cli {

/// Standard output, or standard error if the JSON takes the former.
[[nodiscard]] std::FILE* text_stream(const std::string& json_path);

/// Throws Error with the path and the system's reason unless `write_json` could write there now. Creates the file.
void require_writable(const std::string& json_path);

/// Writes `document` to the file, to standard output for "-", nowhere for an empty path. Throws Error like the above.
void write_json(const std::string& json_path, const nlohmann::ordered_json& document);

}  // namespace railyard::cli
