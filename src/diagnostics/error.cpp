// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

namespace railyard {

std::string_view code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::ok:
      return "RY-OK";
    case ErrorCode::invalid_argument:
      return "RY-INVALID-ARGUMENT";
    case ErrorCode::unsupported:
      return "RY-UNSUPPORTED";
    case ErrorCode::config_mismatch:
      return "RY-CONFIG-MISMATCH";
    case ErrorCode::operation_mismatch:
      return "RY-OPERATION-MISMATCH";
    case ErrorCode::in_flight:
      return "RY-IN-FLIGHT";
    case ErrorCode::heap_exhausted:
      return "RY-HEAP-EXHAUSTED";
    case ErrorCode::capacity:
      return "RY-CAPACITY";
    case ErrorCode::invalid_id:
      return "RY-INVALID-ID";
    case ErrorCode::timeout:
      return "RY-TIMEOUT";
    case ErrorCode::suspended:
      return "RY-SUSPENDED";
    case ErrorCode::aborted:
      return "RY-ABORTED";
    case ErrorCode::destroyed:
      return "RY-DESTROYED";
    case ErrorCode::out_of_memory:
      return "RY-OUT-OF-MEMORY";
    case ErrorCode::environment:
      return "RY-ENVIRONMENT";
    case ErrorCode::rank_failed:
      return "RY-RANK-FAILED";
    case ErrorCode::masked:
      return "RY-MASKED";
    case ErrorCode::no_majority:
      return "RY-NO-MAJORITY";
  }
  return "unknown code";
}

Error::Error(ErrorCode code, const std::string& message)
    : std::runtime_error(diagnostics::format("{}: {}", code_name(code), message)), code_(code) {}

std::string Status::message() const {
  switch (code) {
    case ErrorCode::ok:
      return "ok";
    case ErrorCode::heap_exhausted:
      return diagnostics::format(
          "rank {} wanted {} bytes of its heap and {} were free; {} rows to ranks without memory were not written",
          rank, needed, capacity, count);
    case ErrorCode::capacity:
      if (expert >= 0) {
        return diagnostics::format(
            "local expert {} of rank {} needs {} rows and its capacity is {}; {} rows were not written", expert, rank,
            needed, capacity, count);
      }
      return diagnostics::format("rank {} needs {} rows and its capacity is {}; {} rows were not written", rank, needed,
                                 capacity, count);
    case ErrorCode::invalid_id:
      return diagnostics::format("{} expert ids outside [-1, {}) were taken as -1, the first is {} at rank {}", count,
                                 capacity, needed, rank);
    case ErrorCode::invalid_argument:
      return diagnostics::format(
          "num_tokens was {} on the device of rank {}; 0 to {}, the rows of the ids, are legal: "
          "the nearest of them was taken",
          needed, rank, capacity);
    default:
      return diagnostics::format("{} at rank {}", code_name(code), rank);
  }
}

}  // namespace railyard
