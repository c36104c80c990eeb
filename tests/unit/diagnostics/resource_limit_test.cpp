// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/resource_limit.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string>

namespace railyard::diagnostics {
namespace {

// Status of `check` in a process under the limit.
template <typename Check>
int under(decltype(RLIMIT_AS) resource, rlim_t soft, Check check) {
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit limit{};
    ::getrlimit(resource, &limit);
    limit.rlim_cur = soft;
    ::_exit(::setrlimit(resource, &limit) == 0 && check() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(ResourceLimit, IsTheSoftOne) {
  EXPECT_EQ(under(RLIMIT_NOFILE, 77, [] { return resource_limit(RLIMIT_NOFILE) == 77U; }), 0);
  EXPECT_EQ(under(RLIMIT_FSIZE, 4096, [] { return largest_file() == 4096; }), 0);
}

TEST(ResourceLimit, OrNone) {
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  if (limit.rlim_cur != RLIM_INFINITY) GTEST_SKIP() << "files are limited here (ulimit -f)";
  EXPECT_EQ(resource_limit(RLIMIT_FSIZE), std::nullopt);
  EXPECT_EQ(largest_file(), std::numeric_limits<std::size_t>::max());
  EXPECT_EQ(error_and_limit(EFBIG), "File too large");
}

TEST(ResourceLimit, StandsBesideTheErrorThatItMayExplain) {
  EXPECT_EQ(under(RLIMIT_NOFILE, 77,
                  [] {
                    return error_and_limit(EMFILE) ==
                           "Too many open files; this process may open 77 (RLIMIT_NOFILE, ulimit -n)";
                  }),
            0);
  EXPECT_EQ(under(RLIMIT_FSIZE, 4096,
                  [] {
                    return error_and_limit(EFBIG) == "File too large; files may have 4096 bytes (ulimit -f)" &&
                           error_and_limit(ENOMEM).find("ulimit -f") == std::string::npos &&
                           error_and_limit(EACCES) == "Permission denied";
                  }),
            0);
#if !defined(RAILYARD_SANITIZED)  // which need address space of their own
  constexpr std::size_t kBytes = std::size_t{1} << 40;
  EXPECT_EQ(under(RLIMIT_AS, kBytes,
                  [] {
                    return error_and_limit(ENOMEM) ==
                           "Cannot allocate memory; this process may map 1099511627776 bytes (RLIMIT_AS, ulimit -v)";
                  }),
            0);
#endif
}

}  // namespace
}  // namespace railyard::diagnostics
