// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/assembly.hpp"

#include "bootstrap/member_bootstrap.hpp"
#include "bootstrap/thread_bootstrap.hpp"
#include "unit/bootstrap/tcp_ranks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

using Ranks = std::vector<int>;

AssemblyRequest request(const Ranks& members, Quorum quorum, const std::string& block = "", std::string key = "key") {
  const auto* const bytes = reinterpret_cast<const std::byte*>(block.data());
  return {.purpose = "meeting",
          .key = std::move(key),
          .members = members,
          .quorum = quorum,
          .block = {bytes, bytes + block.size()}};
}

std::string text_of(const std::vector<std::byte>& block) {
  return {reinterpret_cast<const char*>(block.data()), block.size()};
}

std::vector<int> ranks_of(const std::vector<std::pair<int, AssemblyAnswer>>& answers, ErrorCode code) {
  std::vector<int> ranks;
  for (const auto& [rank, answer] : answers) {
    EXPECT_EQ(answer.code, code) << answer.text;
    ranks.push_back(rank);
  }
  return ranks;
}

TEST(Assemblies, OfTwoDisjointPartsAtMostOneIsAMajority) {
  for (unsigned members = 1; members <= 8; ++members) {
    const unsigned all = (1U << members) - 1;
    const auto may_go_on = [&](unsigned part) {
      return is_majority(static_cast<std::size_t>(__builtin_popcount(part)), members, (part & 1U) != 0);
    };
    for (unsigned part = 1; part <= all; ++part) {
      EXPECT_FALSE(may_go_on(part) && may_go_on(all & ~part)) << members << " members, part " << part;
    }
    EXPECT_TRUE(may_go_on(all));
  }
  EXPECT_TRUE(is_majority(1, 2, true));
  EXPECT_FALSE(is_majority(1, 2, false));
  EXPECT_TRUE(is_majority(2, 3, false));
}

TEST(Assemblies, AMajorityWaitsForAllUntilADeadlineClosesIt) {
  Assemblies assemblies(4);
  const auto because = [](const std::string& reason, AssemblyRequest made) {
    made.reason = reason;
    return made;
  };
  ASSERT_TRUE(assemblies.attend(2, because("rank 3 is late", request({0, 1, 2, 3}, Quorum::majority, "two"))));
  ASSERT_TRUE(assemblies.attend(1, because("called", request({0, 1, 2, 3}, Quorum::majority, "one"))));
  std::vector<int> called;
  for (const auto& [rank, call] : assemblies.take_calls()) {
    EXPECT_EQ(call.by, 2);
    EXPECT_EQ(call.text(), "rank 2 calls the group's ranks to recover: rank 3 is late");
    called.push_back(rank);
  }
  EXPECT_EQ(called, (Ranks{0, 1, 3}));
  ASSERT_TRUE(assemblies.attend(0, request({0, 1, 2, 3}, Quorum::majority, "zero")));
  EXPECT_TRUE(assemblies.take_answers().empty());
  assemblies.stop(2, "key", true);
  const auto answers = assemblies.take_answers();
  EXPECT_EQ(ranks_of(answers, ErrorCode::ok), (Ranks{0, 1, 2}));
  EXPECT_EQ(answers.front().second.attendance->ranks, (Ranks{0, 1, 2}));
  EXPECT_EQ(text_of(answers.front().second.attendance->blocks[1]), "one");
  // Whoever comes now, and whenever, is masked.
  for (int repeat = 0; repeat < 2; ++repeat) {
    ASSERT_TRUE(assemblies.attend(3, request({0, 1, 2, 3}, Quorum::majority)));
    const auto late = assemblies.take_answers();
    EXPECT_EQ(ranks_of(late, ErrorCode::masked), (Ranks{3}));
    EXPECT_EQ(late.front().second.text, "ranks 0, 1, 2 have agreed to go on without rank 3");
  }
  EXPECT_TRUE(assemblies.take_calls().empty());
}

TEST(Assemblies, CloseAtOnceWhenNobodyElseMayCome) {
  Assemblies assemblies(3);
  ASSERT_TRUE(assemblies.attend(0, request({0, 1, 2}, Quorum::majority)));
  assemblies.remove(1);
  EXPECT_TRUE(assemblies.take_answers().empty());
  ASSERT_TRUE(assemblies.attend(2, request({0, 1, 2}, Quorum::majority)));
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::ok), (Ranks{0, 2}));
  // Of those the lowest goes on alone.
  ASSERT_TRUE(assemblies.attend(0, request({0, 2}, Quorum::majority, "", "next")));
  assemblies.remove(2);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::ok), (Ranks{0}));
}

TEST(Assemblies, AreForgottenOnceNobodyCanAskForThem) {
  Assemblies assemblies(3);
  for (const int rank : {0, 1, 2}) ASSERT_TRUE(assemblies.attend(rank, request({0, 1, 2}, Quorum::majority)));
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::ok), (Ranks{0, 1, 2}));
  EXPECT_EQ(assemblies.size(), 0U) << "all were there";
  for (const int rank : {0, 1}) ASSERT_TRUE(assemblies.attend(rank, request({0, 1, 2}, Quorum::majority, "", "next")));
  assemblies.stop(0, "next", true);
  EXPECT_EQ(assemblies.size(), 1U) << "rank 2 may come, and is to be told that it is masked";
  assemblies.remove(1);
  EXPECT_EQ(assemblies.size(), 1U);
  assemblies.remove(2);
  EXPECT_EQ(assemblies.size(), 0U);
}

TEST(CallFlags, LiveAsLongAsSomebodyHoldsThemOrMayAskWhetherTheyAreRaised) {
  CallFlags flags;
  auto held = flags.of("held");
  static_cast<void>(flags.of("dropped"));
  flags.of("raised")->raise("called");
  EXPECT_EQ(flags.of("held"), held);
  EXPECT_EQ(flags.size(), 2U);
  EXPECT_TRUE(flags.of("raised")->raised());
  flags.forget("raised");
  held.reset();
  EXPECT_FALSE(flags.of("raised")->raised());
  EXPECT_EQ(flags.size(), 1U);
}

TEST(Assemblies, TooFewAreRefusedAndMayTryAgain) {
  Assemblies assemblies(4);
  ASSERT_TRUE(assemblies.attend(1, request({0, 1, 2, 3}, Quorum::majority)));
  ASSERT_TRUE(assemblies.attend(3, request({0, 1, 2, 3}, Quorum::majority)));
  assemblies.stop(3, "key", true);
  auto answers = assemblies.take_answers();
  EXPECT_EQ(ranks_of(answers, ErrorCode::no_majority), (Ranks{3}));
  EXPECT_EQ(answers.front().second.text, "ranks 0, 2 did not come, and the others are no majority of 4");
  ASSERT_TRUE(assemblies.attend(3, request({0, 1, 2, 3}, Quorum::majority)));
  assemblies.remove(0);
  EXPECT_TRUE(assemblies.take_answers().empty());
  assemblies.remove(2);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::no_majority), (Ranks{1, 3}));
}

TEST(Assemblies, WhoGivesUpDecidesNothing) {
  Assemblies assemblies(3);
  ASSERT_TRUE(assemblies.attend(0, request({0, 1, 2}, Quorum::majority)));
  ASSERT_TRUE(assemblies.attend(1, request({0, 1, 2}, Quorum::majority)));
  assemblies.stop(1, "key", false);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::no_majority), (Ranks{1}));
  assemblies.stop(0, "key", true);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::no_majority), (Ranks{0}));
  assemblies.stop(0, "key", true);  // it has its answer
  EXPECT_TRUE(assemblies.take_answers().empty());
}

TEST(Assemblies, OfAllNeedAllAndMayBeRepeated) {
  Assemblies assemblies(4);
  for (int repeat = 0; repeat < 2; ++repeat) {
    ASSERT_TRUE(assemblies.attend(3, request({1, 3}, Quorum::all)));
    EXPECT_TRUE(assemblies.take_calls().empty());
    ASSERT_TRUE(assemblies.attend(1, request({1, 3}, Quorum::all)));
    EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::ok), (Ranks{1, 3}));
  }
  ASSERT_TRUE(assemblies.attend(3, request({1, 3}, Quorum::all)));
  assemblies.stop(3, "key", true);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::timeout), (Ranks{3}));
  ASSERT_TRUE(assemblies.attend(3, request({1, 3}, Quorum::all)));
  assemblies.remove(0);
  EXPECT_TRUE(assemblies.take_answers().empty());
  assemblies.remove(1);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::aborted), (Ranks{3}));
}

TEST(Assemblies, WhoJoinsTakesPartInTheNextDecisionOfItsGroup) {
  Assemblies assemblies(5);
  const auto of_group = [](AssemblyRequest made, const std::string& group) {
    made.group = group;
    return made;
  };
  ASSERT_TRUE(assemblies.attend(1, of_group(request({1}, Quorum::join, "one", "joins"), "group")));
  ASSERT_TRUE(assemblies.attend(4, of_group(request({4}, Quorum::join, "four", "joins too"), "other group")));
  EXPECT_TRUE(assemblies.take_calls().empty());
  ASSERT_TRUE(assemblies.attend(2, of_group(request({0, 2}, Quorum::majority, "two"), "group")));
  EXPECT_TRUE(assemblies.take_answers().empty());  // one that joins does not make it complete
  ASSERT_TRUE(assemblies.attend(0, of_group(request({0, 2}, Quorum::majority, "zero"), "group")));
  const auto answers = assemblies.take_answers();
  EXPECT_EQ(ranks_of(answers, ErrorCode::ok), (Ranks{0, 1, 2}));
  EXPECT_EQ(answers[1].second.key, "joins");
  EXPECT_EQ(answers[1].second.attendance->ranks, (Ranks{0, 1, 2}));
  EXPECT_EQ(text_of(answers[0].second.attendance->blocks[1]), "one");
  assemblies.stop(1, "joins", true);  // it has its answer
  EXPECT_TRUE(assemblies.take_answers().empty());
  assemblies.stop(4, "joins too", true);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::timeout), (Ranks{4}));
  // Nor does it make a majority, and one that goes is forgotten.
  ASSERT_TRUE(assemblies.attend(3, of_group(request({3}, Quorum::join, "three", "joins"), "group")));
  ASSERT_TRUE(assemblies.attend(4, of_group(request({4}, Quorum::join, "four", "joins"), "group")));
  ASSERT_TRUE(assemblies.attend(2, of_group(request({0, 1, 2}, Quorum::majority, "two", "next"), "group")));
  assemblies.stop(2, "next", true);
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::no_majority), (Ranks{2}));
  assemblies.remove(4);
  for (const int rank : {0, 1, 2}) {
    ASSERT_TRUE(assemblies.attend(rank, of_group(request({0, 1, 2}, Quorum::majority, "", "next"), "group")));
  }
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::ok), (Ranks{0, 1, 2, 3}));
}

TEST(Assemblies, RequestsThatNoRankMakesAreRefused) {
  Assemblies assemblies(3);
  EXPECT_FALSE(assemblies.attend(0, request({1, 2}, Quorum::all)));
  EXPECT_FALSE(assemblies.attend(0, request({}, Quorum::all)));
  EXPECT_FALSE(assemblies.attend(0, request({0, 0}, Quorum::all)));
  EXPECT_FALSE(assemblies.attend(0, request({-1, 0}, Quorum::all)));
  EXPECT_FALSE(assemblies.attend(0, request({0, 3}, Quorum::all)));
  EXPECT_FALSE(assemblies.attend(0, request({0}, Quorum::all, "", "")));
  EXPECT_FALSE(assemblies.attend(0, request({0}, static_cast<Quorum>(3))));
  AssemblyRequest talkative = request({0}, Quorum::majority);
  talkative.reason = std::string(kMaxReasonBytes + 1, 'x');
  EXPECT_FALSE(assemblies.attend(0, talkative));
  ASSERT_TRUE(assemblies.attend(0, request({0, 1}, Quorum::all)));
  ASSERT_TRUE(assemblies.attend(1, request({0, 1, 2}, Quorum::all)));
  EXPECT_EQ(ranks_of(assemblies.take_answers(), ErrorCode::operation_mismatch), (Ranks{1}));
}

TEST(Assemblies, TravelAndEveryCutIsNoticed) {
  AssemblyRequest sent = request({0, 5, 7}, Quorum::majority, "block");
  sent.reason = "rank 5 is late";
  const std::string bytes = encode(sent);
  const auto read = decode_request(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->key, "key");
  EXPECT_EQ(read->members, (Ranks{0, 5, 7}));
  EXPECT_EQ(read->quorum, Quorum::majority);
  EXPECT_EQ(read->reason, "rank 5 is late");
  EXPECT_EQ(text_of(read->block), "block");
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_request(bytes.substr(0, size))) << size;
  EXPECT_FALSE(decode_request(bytes + "x"));
  auto attendance = std::make_shared<Attendance>();
  attendance->ranks = {3, 4};
  attendance->blocks = {{}, {std::byte{9}}};
  const std::string answer = encode(AssemblyAnswer{"key", ErrorCode::ok, "fine", attendance});
  const auto heard = decode_answer(answer);
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->key, "key");
  EXPECT_EQ(heard->text, "fine");
  EXPECT_EQ(heard->attendance->ranks, (Ranks{3, 4}));
  EXPECT_EQ(heard->attendance->blocks, attendance->blocks);
  for (std::size_t size = 0; size < answer.size(); ++size) EXPECT_FALSE(decode_answer(answer.substr(0, size))) << size;
  const std::string call = encode(AssemblyCall{"key", 7, "rank 5 is late"});
  const auto called = decode_call(call);
  ASSERT_TRUE(called);
  EXPECT_EQ(called->key, "key");
  EXPECT_EQ(called->text(), "rank 7 calls the group's ranks to recover: rank 5 is late");
  for (std::size_t size = 0; size < call.size(); ++size) EXPECT_FALSE(decode_call(call.substr(0, size))) << size;
}

/// A world of threads, with either bootstrap.
void run_either(bool tcp, int size, const std::function<void(const std::shared_ptr<Bootstrap>&)>& function) {
  if (!tcp) {
    const auto ends = make_thread_bootstraps(size);
    return run_threads(size, [&](int rank) { function(ends[static_cast<std::size_t>(rank)]); });
  }
  const ReservedPort port;
  std::vector<std::shared_ptr<Bootstrap>> ends(static_cast<std::size_t>(size));
  run_threads(size, [&](int rank) {
    auto& end = ends[static_cast<std::size_t>(rank)];
    end = make_tcp_bootstrap(port.rendezvous(rank, size), 20s);
    function(end);
  });
}

class EitherBootstrap : public ::testing::TestWithParam<bool> {};

TEST_P(EitherBootstrap, TheRestGoesOnWithoutALateRank) {
  std::barrier decided(3);
  run_either(GetParam(), 3, [&](const std::shared_ptr<Bootstrap>& self) {
    AbortFlag never;
    const auto called = self->call_flag("who goes on");
    auto who =
        request({0, 1, 2}, Quorum::majority, std::string(1, static_cast<char>('a' + self->rank())), "who goes on");
    who.reason = "rank 1 is late";
    if (self->rank() == 1) {
      decided.arrive_and_wait();
      EXPECT_TRUE(called->raised());
      EXPECT_NE(called->reason().find("calls the group's ranks to recover: rank 1 is late"), std::string::npos)
          << called->reason();
      EXPECT_EQ(error_of([&] { static_cast<void>(self->assemble(who, 20s, never)); }),
                "RY-MASKED: meeting: ranks 0, 2 have agreed to go on without rank 1");
      return;
    }
    const Attendance came = self->assemble(who, 1s, never);
    EXPECT_EQ(came.ranks, (Ranks{0, 2}));
    EXPECT_EQ(text_of(came.blocks.back()), "c");
    decided.arrive_and_wait();
    // Among themselves.
    const auto end = std::make_shared<AbortFlag>();
    const auto members = make_member_bootstrap(self, came.ranks, "members", end);
    for (int round = 0; round < 3; ++round) {
      const int mine = 10 * self->rank() + round;
      std::vector<int> all(2);
      members->all_gather(&mine, all.data(), sizeof(mine), "round", 20s);
      EXPECT_EQ(all, (std::vector<int>{round, 20 + round}));
    }
    if (members->one_process()) {
      const auto objects = members->share(std::make_shared<int>(self->rank()), "objects", 20s);
      EXPECT_EQ(*std::static_pointer_cast<int>(objects.at(1)), 2);
    }
  });
}

TEST_P(EitherBootstrap, TimeoutNamesTheMissingMembersAndMayBeRepeated) {
  std::barrier late(2);
  run_either(GetParam(), 3, [&](const std::shared_ptr<Bootstrap>& self) {
    if (self->rank() == 0) return;
    const auto members = make_member_bootstrap(self, {1, 2}, "members", std::make_shared<AbortFlag>());
    if (self->rank() == 2) {
      EXPECT_EQ(error_of([&] { members->all_gather(nullptr, nullptr, 0, "meeting", 300ms); }),
                "RY-TIMEOUT: meeting: ranks 1 did not arrive within 300 ms");
    }
    late.arrive_and_wait();
    const char mine = static_cast<char>('a' + self->rank());
    std::string all(2, '?');
    members->all_gather(&mine, all.data(), 1, "meeting", 20s);
    EXPECT_EQ(all, "bc");
    const std::string text =
        error_of([&] { members->all_gather("abc", all.data(), static_cast<std::size_t>(self->rank()), "sizes", 20s); });
    EXPECT_NE(text.find("RY-OPERATION-MISMATCH: this rank called sizes"), std::string::npos) << text;
  });
}

TEST_P(EitherBootstrap, AssembliesOfDifferentKeysDoNotDisturbEachOther) {
  run_either(GetParam(), 2, [&](const std::shared_ptr<Bootstrap>& self) {
    AbortFlag never;
    const auto meet = [&](const std::string& key) {
      const std::string mine = key + std::to_string(self->rank());
      const Attendance came = self->assemble(request({0, 1}, Quorum::all, mine, key), 20s, never);
      EXPECT_EQ(text_of(came.blocks.at(0)), key + "0");
      EXPECT_EQ(text_of(came.blocks.at(1)), key + "1");
    };
    std::thread beside([&] { meet(self->rank() == 0 ? "one" : "two"); });
    std::this_thread::sleep_for(10ms);
    meet(self->rank() == 0 ? "two" : "one");
    beside.join();
  });
}

TEST_P(EitherBootstrap, AFlagEndsAnAssembly) {
  std::barrier over(2);
  run_either(GetParam(), 2, [&](const std::shared_ptr<Bootstrap>& self) {
    if (self->rank() == 0) {
      AbortFlag flag;
      std::thread other([&] {
        std::this_thread::sleep_for(20ms);
        flag.raise("enough");
      });
      EXPECT_EQ(error_of([&] {
                  static_cast<void>(self->assemble(request({0, 1}, Quorum::all), 50s, flag));
                }),
                "RY-ABORTED: meeting: enough");
      other.join();
    }
    over.arrive_and_wait();
    AbortFlag never;
    if (self->rank() == 0) self->abort("the world too");
    const std::string text = error_of([&] {
      static_cast<void>(self->assemble(request({0, 1}, Quorum::majority, "", "other"), 50s, never));
      static_cast<void>(self->assemble(request({0, 1}, Quorum::all, "", "third"), 50s, never));
    });
    EXPECT_NE(text.find("RY-ABORTED: meeting: "), std::string::npos) << text;
    EXPECT_NE(text.find("the world too"), std::string::npos) << text;
    EXPECT_TRUE(self->survivor_flag()->raised());
    over.arrive_and_wait();
  });
}

INSTANTIATE_TEST_SUITE_P(Bootstraps, EitherBootstrap, ::testing::Bool(),
                         [](const auto& test) { return std::string(test.param ? "tcp" : "threads"); });

}  // namespace
}  // namespace railyard::bootstrap
