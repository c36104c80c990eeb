// SPDX-License-Identifier: Apache-2.0
// What every SVG drawing of the program is made of. Coordinates are pixels from the upper left corner.
#pragma once

#include "diagnostics/format.hpp"
#include "diagnostics/utf8.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace railyard::cli::svg {

/// Text as XML 1.0 has it. What is no UTF-8, and characters that XML cannot say, become U+FFFD.
[[nodiscard]] inline std::string escaped(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string result;
  while (!text.empty()) {
    const std::size_t length = diagnostics::utf8_sequence_length(text);
    const std::string_view character = text.substr(0, length);
    const bool control = length == 1 && static_cast<unsigned char>(text.front()) < 0x20 && text.front() != '\t' &&
                         text.front() != '\n' && text.front() != '\r';
    const bool none = character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF";  // U+FFFE, U+FFFF
    if (length == 0 || control || none) {
      result += kReplacement;
    } else if (character == "&") {
      result += "&amp;";
    } else if (character == "<") {
      result += "&lt;";
    } else if (character == ">") {
      result += "&gt;";
    } else {
      result += character;
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return result;
}

/// The start of a document on white; `more` is further attributes. "</svg>\n" ends it.
[[nodiscard]] inline std::string begin(double width, double height, const char* more = "") {
  return diagnostics::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\"{2}>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height, more);
}

/// `anchor`: start, middle or end of the text is at x; y is its base line.
[[nodiscard]] inline std::string text_at(double x, double y, const char* anchor, const std::string& text,
                                         const char* more = "") {
  return diagnostics::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                             escaped(text));
}

/// Reads upwards, its middle at (x, y).
[[nodiscard]] inline std::string upward_text_at(double x, double y, const std::string& text) {
  return text_at(x, y, "middle", text, diagnostics::format(" transform=\"rotate(-90 {:.0f} {:.1f})\"", x, y).c_str());
}

[[nodiscard]] inline std::string line_of(double x1, double y1, double x2, double y2, const std::string& style) {
  return diagnostics::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2,
                             style);
}

}  // namespace railyard::cli::svg
