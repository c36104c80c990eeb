// SPDX-License-Identifier: Apache-2.0
// Errors and statuses. What is found before anything is sent throws `Error`; what is found afterwards is a
// `Status` value. Codes are stable: docs/troubleshooting.md lists each with its cause and remedy.
#pragma once

#include <railyard/export.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace railyard {

enum class ErrorCode : std::uint8_t {
  ok,
  invalid_argument,    // RY-INVALID-ARGUMENT    a value is outside its limits; nothing was sent (a Status: clamped)
  unsupported,         // RY-UNSUPPORTED         a valid request that this build, mode or backend cannot honour
  config_mismatch,     // RY-CONFIG-MISMATCH     ranks created one group with different options
  operation_mismatch,  // RY-OPERATION-MISMATCH  ranks issued different operations, or in a different order
  in_flight,           // RY-IN-FLIGHT           more send parts pending than max_in_flight, received out of order, or
                       //                        replays of a group's graphs that overlapped
  heap_exhausted,      // RY-HEAP-EXHAUSTED      a rank's heap had no room for a lease
  capacity,            // RY-CAPACITY            more rows arrived than the capacity holds
  invalid_id,          // RY-INVALID-ID          an expert id outside [-1, experts) was taken as -1
  timeout,             // RY-TIMEOUT             a peer did not arrive before the deadline
  suspended,           // RY-SUSPENDED           the group timed out, mismatched or was aborted earlier
  aborted,             // RY-ABORTED             abort() ended a wait
  destroyed,           // RY-DESTROYED           an object was used after it was destroyed or moved from
  out_of_memory,       // RY-OUT-OF-MEMORY       the operating system refused memory
  environment,         // RY-ENVIRONMENT         a variable of the environment is missing or cannot be read
  rank_failed,         // RY-RANK-FAILED         a rank's function threw in World::run
  masked,              // RY-MASKED              the group's other ranks have agreed to go on without this one
  no_majority,         // RY-NO-MAJORITY         too few of a group's ranks came to recover it
};

/// The stable name of a code, such as "RY-TIMEOUT". Never fails.
[[nodiscard]] RAILYARD_API std::string_view code_name(ErrorCode code) noexcept;

/// Thrown for what is found before launch and by `Status`-returning calls that are asked to throw.
/// `what()` begins with the code's name and says value and limit.
class RAILYARD_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message);
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// What happened to one operation after its launch. Plain data: a GPU backend fills it in device memory.
/// `needed` and `capacity` have the unit of the code: rows for `capacity`, bytes for `heap_exhausted`
/// (wanted and free), for `invalid_id` the first offending id and the number of experts, for `invalid_argument` a token
/// count in device memory and its limit.
struct Status {
  ErrorCode code = ErrorCode::ok;
  std::int32_t rank = -1;    // the rank at which it happened; for `invalid_id`, the source
  std::int32_t expert = -1;  // `capacity` in expert_slots: the first full local expert; else -1
  std::int64_t needed = 0;
  std::int64_t capacity = 0;
  std::int64_t count = 0;  // entries (rows, in rank_major) lost or ids rejected in the whole group, or at this rank

  [[nodiscard]] bool ok() const noexcept { return code == ErrorCode::ok; }
  /// One sentence with value and limit.
  [[nodiscard]] RAILYARD_API std::string message() const;
  friend bool operator==(const Status&, const Status&) = default;
};

}  // namespace railyard
