// SPDX-License-Identifier: Apache-2.0
// Where text and JSON go: with `--json -` standard output carries the JSON and nothing else.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdio>
#include <string>
#include <string_view>

namespace railyard::cli {

/// Standard output, or standard error if the JSON takes the former.
[[nodiscard]] std::FILE* text_stream(const std::string& json_path);

/// Throws Error with the option, the path and the system's reason unless the path could be written now. Creates the
/// file; nothing for an empty path or "-".
void require_writable(std::string_view option, const std::string& path);

/// Writes the file, or standard output for "-". Throws Error like the above.
void write_text(std::string_view option, const std::string& path, const std::string& text);

/// Throws Error unless what was written to standard output has reached it.
void flush_standard_output();

/// Writes `document` to the file, to standard output for "-", nowhere for an empty path. Throws Error like the above.
void write_json(const std::string& json_path, const nlohmann::ordered_json& document);

}  // namespace railyard::cli
