// SPDX-License-Identifier: Apache-2.0
// Where a result was obtained: the machine, the system, the build.
#pragma once

#include <cstddef>
#include <string>

namespace railyard::cli {

struct Environment {
  std::string device;            // the processor's model name
  int cores = 0;                 // that this process may use
  std::size_t cache_bytes = 0;   // last-level cache of core 0; 0 if the system does not say
  std::size_t memory_bytes = 0;  // available now; 0 if the system does not say
  int nvlinks = -1;              // of the first GPU that is measured, as far as they are up; below 0: not known
  std::string system;            // kernel and machine
  std::string compiler;
  std::string build_type;
  std::string version;
  std::string commit;
  std::string vector_level;  // of the codecs and reductions, as found on this processor

  [[nodiscard]] static Environment detect();
};

/// The text after `key` and a colon, in a file of "key : value" lines; empty if there is none.
[[nodiscard]] std::string field_of(const char* path, const std::string& key);

/// What `railyard --version` prints.
[[nodiscard]] std::string version_text();

}  // namespace railyard::cli
