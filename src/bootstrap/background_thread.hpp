// SPDX-License-Identifier: Apache-2.0
// A thread of the library's own.
#pragma once

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <pthread.h>

#include <csignal>
#include <system_error>
#include <thread>
#include <utility>

namespace railyard::bootstrap {

/// Starts a thread on which no signal handler of the program runs. Throws RY-OUT-OF-MEMORY, naming the purpose, if the
/// system refuses it.
template <typename Function>
[[nodiscard]] std::thread start_background_thread(Function function, const char* purpose = "the rendezvous") {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(std::move(function));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("the system refused a thread for {}: {}", purpose, error.what()));
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace railyard::bootstrap
