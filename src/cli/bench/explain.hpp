// SPDX-License-Identifier: Apache-2.0
// `--explain`: what an operation has to move, what the machine would need for it, and where the time goes.
#pragma once

#include "cli/bench/result.hpp"
#include "cli/bench/session.hpp"

#include <cstdio>

namespace railyard::cli::bench {

/// Prints about the results that `run` has for the session's payload and tokens, and times the parts that they do not
/// have: the same dispatch along an existing route. Every slot must have been dispatched.
void explain(Session& session, std::FILE* stream, const Run& run);

}  // namespace railyard::cli::bench
