// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/descriptor_exchange.hpp"
#include "bootstrap/thread_bootstrap.hpp"
#include "diagnostics/resource_limit.hpp"

#include "unit/bootstrap/tcp_ranks.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

constexpr std::size_t kBytes = 1 << 16;

FileDescriptor make_memory() {
  FileDescriptor memory(::memfd_create("railyard-test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(memory.get(), kBytes), 0);
  return memory;
}

// Memory of a descriptor, mapped as long as this lives.
class Mapping {
 public:
  explicit Mapping(int descriptor)
      : base_(static_cast<int*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0))) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (valid()) ::munmap(base_, kBytes);
  }
  [[nodiscard]] bool valid() const { return base_ != MAP_FAILED; }
  int& operator[](std::size_t index) { return base_[index]; }

 private:
  int* base_;
};

// Every rank brings rank + 1 memories, writes its name into all of everyone's, and reads everyone's names from its own.
int share_memory(Bootstrap& self) {
  const auto size = static_cast<std::size_t>(self.size());
  const auto rank = static_cast<std::size_t>(self.rank());
  std::vector<FileDescriptor> memories(rank + 1);
  std::vector<int> mine;
  for (FileDescriptor& memory : memories) {
    memory = make_memory();
    mine.push_back(memory.get());
  }
  const auto all = exchange_descriptors(self, mine, "memory", 20s);
  if (all.size() != size) return 1;
  for (std::size_t peer = 0; peer < size; ++peer) {
    if (all[peer].size() != peer + 1) return 2;
    for (std::size_t index = 0; index <= peer; ++index) {
      const int descriptor = all[peer][index].get();
      if ((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0) return 3;
      Mapping mapping(descriptor);
      if (!mapping.valid()) return 4;
      mapping[rank] = static_cast<int>(1000 * rank + 10 * peer + index);
    }
  }
  self.all_gather(nullptr, nullptr, 0, "written", 20s);
  for (std::size_t index = 0; index <= rank; ++index) {
    Mapping mapping(mine[index]);
    for (std::size_t peer = 0; peer < size; ++peer) {
      if (mapping[peer] != static_cast<int>(1000 * peer + 10 * rank + index)) return 5;
    }
  }
  return 0;
}

TEST(DescriptorExchange, ProcessesMapEachOthersMemory) {
  const ReservedPort port;
  run_processes(5, [&](int rank) {
    const auto self = make_tcp_bootstrap(port.rendezvous(rank, 5), 20s);
    for (int repeat = 0; repeat < 3; ++repeat) {
      if (const int wrong = share_memory(*self); wrong != 0) return wrong;
    }
    return 0;
  });
}

TEST(DescriptorExchange, ThreadsToo) {
  auto ranks = make_thread_bootstraps(3);
  run_threads(3, [&](int rank) { EXPECT_EQ(share_memory(*ranks[static_cast<std::size_t>(rank)]), 0); });
}

TEST(DescriptorExchange, OneRankAndNoDescriptors) {
  run_world(1, [](Bootstrap& self) { EXPECT_EQ(share_memory(self), 0); });
  run_world(3, [](Bootstrap& self) {
    const auto all = exchange_descriptors(self, {}, "nothing", 20s);
    ASSERT_EQ(all.size(), 3U);
    for (const auto& descriptors : all) EXPECT_TRUE(descriptors.empty());
  });
}

TEST(DescriptorExchange, AsManyAsAllowed) {
  run_world(2, [](Bootstrap& self) {
    const FileDescriptor memory = make_memory();
    const std::vector<int> mine(kMaxDescriptorsPerRank, memory.get());
    const auto all = exchange_descriptors(self, mine, "many", 20s);
    EXPECT_EQ(all[0].size(), mine.size());
    EXPECT_EQ(all[1].size(), mine.size());
  });
}

TEST(DescriptorExchange, TimeoutNamesTheMissingAndMayBeRepeated) {
  std::barrier late(2);
  run_world(2, [&](Bootstrap& self) {
    if (self.rank() == 0) {
      EXPECT_EQ(error_of([&] { static_cast<void>(exchange_descriptors(self, {}, "memory", 30ms)); }),
                "RY-TIMEOUT: memory: ranks 1 did not arrive within 30 ms");
    }
    late.arrive_and_wait();
    EXPECT_EQ(share_memory(self), 0);
  });
}

TEST(DescriptorExchange, ARankOnAnotherMachineIsNamed) {
  run_world(3, [](Bootstrap& self) {
    const std::string machine = self.rank() == 2 ? "other" : "one";
    const std::string text =
        error_of([&] { static_cast<void>(exchange_descriptors(self, {}, "memory", 20s, machine)); });
    EXPECT_NE(text.find("RY-UNSUPPORTED: memory: rank 2 is on another machine"), std::string::npos) << text;
    EXPECT_EQ(share_memory(self), 0) << "the next exchange";
  });
  EXPECT_EQ(machine_identity(), machine_identity());
  EXPECT_GT(machine_identity().size(), 36U) << "a boot id and a namespace: " << machine_identity();
}

TEST(DescriptorExchange, TooFewDescriptorsLeftIsAnErrorOnAllRanks) {
  const ReservedPort port;
  run_processes(2, [&](int rank) {
    const auto self = make_tcp_bootstrap(port.rendezvous(rank, 2), 20s);
    // UndefinedBehaviorSanitizer opens a pipe when it meets a dynamic type for the first time: let it meet them now.
    static_cast<void>(exchange_descriptors(*self, {}, "nothing", 20s));
    if (rank == 1) {
      const rlimit few{.rlim_cur = 40, .rlim_max = 40};
      if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
    }
    const FileDescriptor memory = make_memory();
    const std::vector<int> mine(rank == 0 ? 100 : 1, memory.get());
    const std::string text = error_of([&] { static_cast<void>(exchange_descriptors(*self, mine, "memory", 20s)); });
    if (text == "RY-OUT-OF-MEMORY: memory: rank 1 may not open so many file descriptors (RLIMIT_NOFILE)") return 0;
    std::fprintf(stderr, "got \"%s\"\n", text.c_str());
    return 2;
  });
}

TEST(DescriptorExchange, NoDescriptorForItsSocketIsAnErrorWithTheLimit) {
  const ReservedPort port;
  run_processes(1, [&](int rank) {
    const auto self = make_tcp_bootstrap(port.rendezvous(rank, 1), 20s);
    static_cast<void>(exchange_descriptors(*self, {}, "nothing", 20s));
    // UBSan takes descriptors to look at a type that it meets for the first time.
    static_cast<void>(error_of([] { throw Error(ErrorCode::out_of_memory, diagnostics::error_and_limit(EMFILE)); }));
    const FileDescriptor last(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    const auto files = static_cast<rlim_t>(last.get()) + 1;
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{.rlim_cur = files, .rlim_max = before.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 1;
    const std::string text = error_of([&] { static_cast<void>(exchange_descriptors(*self, {}, "memory", 20s)); });
    if (::setrlimit(RLIMIT_NOFILE, &before) != 0) return 1;
    if (text == "RY-OUT-OF-MEMORY: no Unix socket: Too many open files; this process may open " +
                    std::to_string(files) + " (RLIMIT_NOFILE, ulimit -n)") {
      return 0;
    }
    std::fprintf(stderr, "got \"%s\"\n", text.c_str());
    return 2;
  });
}

// The user that the processes of this test become: descriptors of nobody else, of a test beside it say, count with its.
const uid_t kUnprivileged = 100'000 + static_cast<uid_t>(::getpid());

// Whether this process is unprivileged from now on, and may open `files`.
bool drop_privileges(rlim_t files) {
  const rlimit limit{.rlim_cur = files, .rlim_max = files};
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && ::setuid(kUnprivileged) == 0;
}

// Descriptors under way to nobody, until there is room for no more.
class UnderWay {
 public:
  UnderWay() {
    auto [one, other] = make_socket_pair();
    send_ = std::move(one);
    receive_ = std::move(other);
    const FileDescriptor memory = make_memory();
    const std::vector<int> descriptors(16, memory.get());
    alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))]{};
    char byte = 0;
    iovec data{.iov_base = &byte, .iov_len = 1};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(16 * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), 16 * sizeof(int));
    while (::sendmsg(send_.get(), &message, 0) == 1) {
    }
    full_ = errno == ETOOMANYREFS;
  }
  [[nodiscard]] bool full() const { return full_; }
  void arrive() {
    send_.reset();
    receive_.reset();
  }

 private:
  FileDescriptor send_;
  FileDescriptor receive_;
  bool full_ = false;
};

TEST(DescriptorExchange, WaitsForRoomWhereTheSystemLimitsWhatIsUnderWay) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become a user of its own";
  const ReservedPort port;
  run_processes(2, [&](int rank) {
    const auto self = make_tcp_bootstrap(port.rendezvous(rank, 2), 20s);
    static_cast<void>(exchange_descriptors(*self, {}, "nothing", 20s));
    if (!drop_privileges(64)) return 10;
    UnderWay others;  // of both ranks: they are one user
    if (!others.full()) return 11;
    self->all_gather(nullptr, nullptr, 0, "full", 20s);
    std::thread arrival([&] {
      std::this_thread::sleep_for(200ms);
      others.arrive();
    });
    const int wrong = share_memory(*self);
    arrival.join();
    return wrong;
  });
}

// Both ranks look until the same moment, or the one that receives gives up first.
class NoRoom : public ::testing::TestWithParam<std::chrono::milliseconds> {};
INSTANTIATE_TEST_SUITE_P(Deadlines, NoRoom, ::testing::Values(300ms, 800ms),
                         [](const auto& test) { return std::to_string(test.param.count()) + "_ms"; });

TEST_P(NoRoom, UntilTheDeadlineIsAnErrorWithTheLimit) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become a user of its own";
  const ReservedPort port;
  run_processes(2, [&](int rank) {
    const auto self = make_tcp_bootstrap(port.rendezvous(rank, 2), 20s);
    static_cast<void>(exchange_descriptors(*self, {}, "nothing", 20s));
    if (!drop_privileges(64)) return 10;
    UnderWay others;
    if (!others.full()) return 11;
    self->all_gather(nullptr, nullptr, 0, "full", 20s);
    const FileDescriptor memory = make_memory();
    const std::vector<int> mine(rank == 0 ? 3 : 0, memory.get());
    const auto timeout = rank == 0 ? GetParam() : 300ms;
    const std::string text = error_of([&] { static_cast<void>(exchange_descriptors(*self, mine, "memory", timeout)); });
    if (text ==
        "RY-OUT-OF-MEMORY: memory: 3 descriptors of rank 0 found no room on their way to 1 ranks: Too many references: "
        "cannot splice; a user may have 64 under way (RLIMIT_NOFILE)") {
      return 0;
    }
    std::fprintf(stderr, "got \"%s\"\n", text.c_str());
    return 1;
  });
}

TEST(DescriptorExchange, ManyRanksOfAUserWhoMayHaveFewUnderWay) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become a user of its own";
  constexpr int kRanks = 12;  // 12 * 11 * 8 descriptors, if all were sent before any is received
  const ReservedPort port;
  run_processes(kRanks, [&](int rank) {
    const auto self = make_tcp_bootstrap(port.rendezvous(rank, kRanks), 20s);
    static_cast<void>(exchange_descriptors(*self, {}, "nothing", 20s));
    if (!drop_privileges(160)) return 10;
    const FileDescriptor memory = make_memory();
    const std::vector<int> mine(8, memory.get());
    for (int repeat = 0; repeat < 5; ++repeat) {
      const auto all = exchange_descriptors(*self, mine, "memory", 20s);
      for (const auto& descriptors : all) {
        if (descriptors.size() != mine.size()) return 1;
      }
    }
    return 0;
  });
}

TEST(DescriptorExchange, BadArguments) {
  auto rank = make_thread_bootstraps(1)[0];
  const auto text_for = [&](const std::vector<int>& mine) {
    return error_of([&] { static_cast<void>(exchange_descriptors(*rank, mine, "memory", 1s)); });
  };
  EXPECT_NE(text_for({-1}).find("-1 is not an open file descriptor"), std::string::npos);
  EXPECT_NE(text_for(std::vector<int>(kMaxDescriptorsPerRank + 1, 0)).find("limit of 250"), std::string::npos);
}

}  // namespace
}  // namespace railyard::bootstrap
