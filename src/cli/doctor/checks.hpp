// SPDX-License-Identifier: Apache-2.0
// The checks, one or more findings each. What they throw is a problem too: doctor.cpp makes it one.
#pragma once

#include "cli/doctor/finding.hpp"
#include "diagnostics/endpoint.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace railyard::cli::doctor {

// machine.cpp
[[nodiscard]] Findings check_build();
[[nodiscard]] Findings check_cpu();
[[nodiscard]] Findings check_memory();
[[nodiscard]] Findings check_memory_limits();
[[nodiscard]] Findings measure_memory_bandwidth();

// sharing.cpp
[[nodiscard]] Findings check_shared_memory();
[[nodiscard]] Findings check_memfd();
[[nodiscard]] Findings check_open_files();

// job.cpp
/// RAILYARD_RENDEZVOUS. None also if the environment cannot be read, which is a finding of its own.
[[nodiscard]] std::optional<diagnostics::Endpoint> external_rendezvous();
/// RAILYARD_TRACE, which leaves the environment: no world of a check shall make that file anew. Before all checks.
[[nodiscard]] std::optional<std::string> take_trace_file();
[[nodiscard]] Findings check_variables(const std::optional<std::string>& trace_file);
[[nodiscard]] Findings check_launcher();
/// Two ranks of the library's own TCP bootstrap on the loopback interface.
[[nodiscard]] Findings check_loopback_rendezvous();
/// Whether this machine can be rank 0's there, or reaches it. Nothing if the place is RAILYARD_RENDEZVOUS.
[[nodiscard]] Findings check_rendezvous_at(const std::string& host, std::uint16_t port);

/// Whether somebody answers at RAILYARD_RENDEZVOUS. Nothing if it is not set.
[[nodiscard]] Findings check_external_rendezvous();

// cuda_gpus.cpp, in the CUDA part only
[[nodiscard]] Findings check_gpus(bool quick);

}  // namespace railyard::cli::doctor
