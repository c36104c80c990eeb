// SPDX-License-Identifier: Apache-2.0
// A file of top-k ids, read in pieces. Two formats:
//   text  a line per token: k ids between spaces, tabs or commas, -1 = none; the first line says k
//   npy   NumPy's format, versions 1 to 3 (numpy.lib.format): int32 or int64, little-endian, C order, [tokens, k];
//         known by its magic bytes or by its name
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace railyard::cli::inspect {

inline constexpr int kMostTopK = 32;  // of the library

class IdsFile {
 public:
  /// Counts the tokens of `path`; at least one. Throws UsageError unless it is a regular file that can be read, and
  /// Error naming file, line or token, value and limit for what is wrong in it: an id outside [-1, num_experts), lines
  /// of different lengths, a header that is not NumPy's. Where tokens are wrong, next() throws.
  [[nodiscard]] static std::unique_ptr<IdsFile> open(const std::string& path, int num_experts);

  IdsFile() = default;
  IdsFile(const IdsFile&) = delete;
  IdsFile& operator=(const IdsFile&) = delete;
  virtual ~IdsFile() = default;

  [[nodiscard]] virtual std::int64_t num_tokens() const noexcept = 0;
  [[nodiscard]] virtual int top_k() const noexcept = 0;
  /// Ids [tokens, top_k] of the next tokens, valid until the next call. Not more may be asked for than remain.
  [[nodiscard]] virtual std::span<const std::int32_t> next(int tokens) = 0;
};

}  // namespace railyard::cli::inspect
