// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <railyard/version.hpp>

int main() {
  std::printf("railyard %.*s\n", static_cast<int>(railyard::version().size()), railyard::version().data());
  return railyard::version() == RAILYARD_VERSION_STRING ? 0 : 1;
}
