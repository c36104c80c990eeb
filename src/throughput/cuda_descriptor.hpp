// SPDX-License-Identifier: Apache-2.0
// What ranks on GPUs must agree on, in the 32 bits of a mailbox word that kernels compare.
#pragma once

#include "transports/descriptor.hpp"

#include <cstdint>
#include <string>

namespace railyard::throughput {

/// Operation, row and scale types, weights and top_k (at most 63) as they are. 15 bits tell routes apart that are less
/// than 2^15 from each other; with `compares_all` they are a hash of route, tail and capacity.
[[nodiscard]] std::uint32_t pack(const transports::Descriptor& descriptor);

/// For errors: "dispatch(top_k=8, row_dtype=bf16, scales=none, weights=yes, route #3)", with the last bits of the
/// route's number.
[[nodiscard]] std::string describe_packed(std::uint32_t word);

}  // namespace railyard::throughput
