// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_status.hpp"
#include "cli/inspect/heat_map.hpp"
#include "cli/inspect/ids_file.hpp"
#include "cli/inspect/tally.hpp"
#include "cli/routing.hpp"

#include <railyard/exchange.hpp>

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

namespace railyard::cli::inspect {
namespace {

constexpr int kExperts = 8;

/// A file that lives as long as this.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content, const std::string& ending = ".txt")
      : path_(std::filesystem::temp_directory_path() /
              ("railyard_inspect_" + std::to_string(std::random_device{}()) + ending)) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path_); }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

struct Read {
  int top_k = 0;
  std::vector<std::int32_t> ids;
  friend bool operator==(const Read&, const Read&) = default;
};

/// All of a file, `piece` tokens at a time.
Read read(const std::string& content, const std::string& ending = ".txt", int piece = 1 << 14) {
  const TemporaryFile file(content, ending);
  const auto source = IdsFile::open(file.path(), kExperts);
  Read result{source->top_k(), {}};
  for (std::int64_t token = 0; token < source->num_tokens(); token += piece) {
    const auto ids = source->next(static_cast<int>(std::min<std::int64_t>(piece, source->num_tokens() - token)));
    result.ids.insert(result.ids.end(), ids.begin(), ids.end());
  }
  return result;
}

/// What reading says after the file's name.
std::string error_of(const std::string& content, const std::string& ending = ".txt") {
  try {
    (void)read(content, ending);
  } catch (const Error& error) {
    const std::string what = error.what();
    return what.substr(what.find("' ") + 2);
  }
  return "";
}

std::string npy(const std::string& dictionary, const std::string& data, char version = 1) {
  const std::string header = dictionary + "\n";
  const auto size = static_cast<std::uint32_t>(header.size());
  std::string file = std::string("\x93NUMPY") + version + '\0';
  file.append(reinterpret_cast<const char*>(&size), version == 1 ? 2 : 4);
  return file + header + data;
}

template <typename Id>
std::string bytes_of(const std::vector<Id>& ids) {
  std::string bytes(ids.size() * sizeof(Id), '\0');
  std::memcpy(bytes.data(), ids.data(), bytes.size());
  return bytes;
}

const char* const kInt32 = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }    ";

TEST(IdsText, TakesSpacesTabsCommasAndBothLineEnds) {
  const Read wanted{3, {0, 1, 7, -1, 2, 3, 4, 4, 5}};
  EXPECT_EQ(read("0 1 7\n-1 2 3\n4 4 5\n"), wanted);
  EXPECT_EQ(read("0,1,7\r\n -1 , 2,\t3 \r\n4\t4  5"), wanted);
}

TEST(IdsText, IsReadInPiecesLargerThanTheBuffer) {
  std::string content;
  Read wanted{2, {}};
  while (content.size() < (5U << 19)) {  // two and a half buffers
    content += "0   " + std::string(wanted.ids.size() % 3, ' ') + "7\n";
    wanted.ids.insert(wanted.ids.end(), {0, 7});
  }
  EXPECT_EQ(read(content), wanted);
  content.pop_back();
  EXPECT_EQ(read(content, ".txt", 1000), wanted);
}

TEST(IdsText, AFaultIsNamedWithLineTokenValueAndLimit) {
  EXPECT_EQ(error_of("0 1\n2 8\n"), "line 2 (token 1): id 1 is 8; with 8 experts it takes -1 to 7");
  EXPECT_EQ(error_of("-2 1\n"), "line 1 (token 0): id 0 is -2; with 8 experts it takes -1 to 7");
  EXPECT_EQ(error_of("0 99999999999999999999"),
            "line 1 (token 0): id 1 is 99999999999999999999; with 8 experts it takes -1 to 7");
  EXPECT_EQ(error_of("0 1\n2\n"), "line 2 (token 1): 1 ids; the first line has 2");
  EXPECT_EQ(error_of("0\n2 3\n"), "line 2 (token 1): 2 ids; the first line has 1");
  EXPECT_EQ(error_of("0\n\n"), "line 2 (token 1): 0 ids; a token has 1 to 32, -1 for none");
  EXPECT_EQ(error_of("0 1.0"), "line 1 (token 0): id 1 is '1.0'; it takes an integer");
  EXPECT_EQ(error_of("0,,1"), "line 1 (token 0): id 1 is ''; it takes an integer");
  EXPECT_EQ(error_of("0,1,"), "line 1 (token 0): id 2 is ''; it takes an integer");
  EXPECT_EQ(error_of(","), "line 1 (token 0): id 0 is ''; it takes an integer");
  EXPECT_EQ(error_of("\x01z\x80"), "line 1 (token 0): id 0 is '?z?'; it takes an integer");
  EXPECT_EQ(error_of(""), "is empty; at least 1 token is needed");
  std::string many = "0";
  for (int k = 1; k < 33; ++k) {
    many += " 0";
  }
  EXPECT_NE(error_of(many).find("more than 32 ids"), std::string::npos);
  EXPECT_NE(error_of(std::string(3U << 20, '1')).find("longer than 4096 bytes"), std::string::npos);
}

TEST(IdsText, APathThatIsNoFileIsAUsageError) {
  EXPECT_THROW((void)IdsFile::open("/no/such/file", kExperts), UsageError);
  EXPECT_THROW((void)IdsFile::open("/dev/null", kExperts), UsageError);
}

TEST(IdsNpy, TakesBothIntegersAndAllVersions) {
  const Read wanted{3, {0, 1, 7, -1, 2, 3}};
  const auto narrow = bytes_of<std::int32_t>(wanted.ids);
  const auto wide = bytes_of<std::int64_t>({wanted.ids.begin(), wanted.ids.end()});
  const char* const int64 = "{'shape':(2,3),'fortran_order':False,'descr':'<i8'}";
  for (const char version : {'\1', '\2', '\3'}) {
    EXPECT_EQ(read(npy(kInt32, narrow, version), ".npy"), wanted);
    EXPECT_EQ(read(npy(int64, wide, version), ".ids", 1), wanted);  // known by its magic bytes
  }
}

TEST(IdsNpy, AFaultIsNamed) {
  const std::string data = bytes_of<std::int32_t>({0, 1, 7, -1, 2, 3});
  const auto header = [&](const std::string& dictionary) { return error_of(npy(dictionary, data), ".npy"); };
  EXPECT_EQ(error_of(npy(kInt32, bytes_of<std::int32_t>({0, 1, 7, -1, 8, 3})), ".npy"),
            "token 1: id 1 is 8; with 8 experts it takes -1 to 7");
  EXPECT_EQ(error_of(npy(kInt32, data + "x"), ".npy"),
            "has 25 bytes of data; 2 tokens of 3 ids of 4 bytes do not have that");
  EXPECT_EQ(error_of(npy(kInt32, ""), ".npy"), "has 0 bytes of data; 2 tokens of 3 ids of 4 bytes do not have that");
  EXPECT_EQ(error_of("0 1 2\n", ".npy"), "does not begin like an npy file");
  EXPECT_EQ(error_of(npy(kInt32, data, 4), ".npy"), "is of npy version 4.0; it takes 1.0, 2.0 or 3.0");
  EXPECT_EQ(error_of(npy(kInt32, data).substr(0, 40), ".npy"), "ends inside its npy header");
  EXPECT_EQ(error_of(npy(kInt32, data).substr(0, 9), ".npy"), "ends inside its npy header");
  EXPECT_EQ(error_of(npy(std::string(1U << 17, ' '), data, 2), ".npy"),
            "has an npy header of 131073 bytes; at most 65536");
  EXPECT_EQ(header("{'descr': '>i4', 'fortran_order': False, 'shape': (2, 3), }"),
            "has elements of type '>i4'; it takes '<i4' or '<i8'");
  EXPECT_EQ(header("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }"),
            "is in Fortran order; it takes C order (numpy.ascontiguousarray)");
  EXPECT_EQ(header("{'descr': '<i4', 'fortran_order': False, 'shape': (6,), }"),
            "has 1 dimensions; it takes 2: [tokens, top_k]");
  EXPECT_EQ(header("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 33), }"),
            "has 33 ids per token; it takes 1 to 32");
  EXPECT_NE(header("{'descr': '<i4', 'fortran_order': False, 'shape': (9223372036854775807, 3), }"), "");
  for (const char* bad : {"", "{", "{}", "{'descr': '<i4'}", "{'descr': '<i4', 'descr': '<i4'}", "{'x': 1}",
                          "{'descr': '<i4', 'fortran_order': 0, 'shape': (2, 3)}",
                          "{'descr': '<i4', 'fortran_order': False, 'shape': (2, -3)}",
                          "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3",
                          "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3)} x",
                          "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2, 3)}"}) {
    EXPECT_EQ(header(bad).rfind("has an npy header with ", 0), 0U) << bad;
  }
}

TEST(IdsNpy, ZeroTokensAreAnError) {
  EXPECT_EQ(error_of(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (0, 3), }", ""), ".npy"),
            "has 0 tokens; at least 1 is needed");
}

/// Four ranks in two domains, experts 2r and 2r + 1 on rank r; rank 3 has no token.
///   rank 0  token 0: experts 0 (rank 0), 2 and 3 (rank 1)      token 1: experts 4, 6 and 7 (ranks 2, 3, 3)
///   rank 1  token 0: experts 6, none, none (rank 3)
///   rank 2  token 0: none                                      token 1: experts 0, 0 and 5 (ranks 0, 0, 2)
Tally small() {
  Tally tally(8, 4, 2);
  tally.add(0, std::vector<std::int32_t>{0, 2, 3}, 3);
  tally.add(0, std::vector<std::int32_t>{4, 6, 7}, 3);
  tally.add(1, std::vector<std::int32_t>{6, -1, -1}, 3);
  tally.add(2, std::vector<std::int32_t>{-1, -1, -1, 0, 0, 5}, 3);
  return tally;
}

TEST(Tally, CountsASmallRoutingAsByHand) {
  const Tally tally = small();
  const auto row_of = [&](int source) {
    return std::vector{tally.rows(source, 0), tally.rows(source, 1), tally.rows(source, 2), tally.rows(source, 3)};
  };
  using Row = std::vector<std::int64_t>;
  EXPECT_EQ(row_of(0), (Row{1, 1, 1, 1}));
  EXPECT_EQ(row_of(1), (Row{0, 0, 0, 1}));
  EXPECT_EQ(row_of(2), (Row{1, 0, 1, 0}));
  EXPECT_EQ(row_of(3), (Row{0, 0, 0, 0}));
  EXPECT_EQ(tally.entries(0, 1), 2);
  EXPECT_EQ(tally.entries(2, 0), 2);
  EXPECT_EQ(tally.tokens(0), 2);
  EXPECT_EQ(tally.none_ids(), 5);
  EXPECT_EQ(tally.rows_to_other_domains(), 3);  // rank 0's token 1, rank 1's token, rank 2's token 1
}

TEST(Findings, OfASmallRoutingAreThoseByHand) {
  const Findings findings = findings_of(small(), 10, 4);
  EXPECT_EQ(findings.tokens, 5);
  EXPECT_EQ(findings.entries, 10);
  EXPECT_EQ(findings.rows, 7);
  EXPECT_EQ(findings.links.entries, 8);    // all but 0 -> 0 and 2 -> 2
  EXPECT_EQ(findings.links.rank_rows, 5);  // 0 -> 1, 0 -> 2, 0 -> 3, 1 -> 3, 2 -> 0
  EXPECT_EQ(findings.domains.entries, 6);
  EXPECT_EQ(findings.domains.rank_rows, 4);
  EXPECT_EQ(findings.domains.domain_rows, 3);

  const RankLoad& zero = findings.ranks[0];
  EXPECT_EQ(zero.rows, 2);
  EXPECT_EQ(zero.entries, 3);
  EXPECT_EQ(zero.rows_with_padding, 4);
  EXPECT_EQ(zero.slots, 3);
  EXPECT_EQ(zero.most.expert, 0);
  EXPECT_EQ(zero.least.expert, 1);
  EXPECT_EQ(zero.least.entries, 0);
  EXPECT_EQ(zero.bytes_out, 30);
  EXPECT_EQ(zero.bytes_in, 10);
  EXPECT_EQ(findings.ranks[3].rows_with_padding, 8);  // 2 and 1 entries
  EXPECT_EQ(findings.ranks[3].bytes_in, 20);
  EXPECT_EQ(findings.ranks[3].bytes_out, 0);
  ASSERT_TRUE(findings.busiest.has_value());
  EXPECT_EQ(findings.busiest->rank, 0);
  EXPECT_EQ(findings.busiest->direction, "out");
  EXPECT_EQ(findings.busiest->bytes, 30);
  EXPECT_DOUBLE_EQ(findings.rows_imbalance.value_or(0), 2 / (7 / 4.0));
  EXPECT_DOUBLE_EQ(findings.entries_imbalance.value_or(0), 3 / (10 / 4.0));
  EXPECT_DOUBLE_EQ(findings.expert_imbalance.value_or(0), 3 / (10 / 8.0));
}

TEST(Findings, OfNothingHaveNoImbalanceAndNoBusiestLink) {
  Tally tally(1, 2, 1);  // rank 1 has no expert
  tally.add(0, std::vector<std::int32_t>{-1}, 1);
  const Findings findings = findings_of(tally, 10, 1);
  EXPECT_FALSE(findings.busiest.has_value());
  EXPECT_FALSE(findings.rows_imbalance.has_value());
  EXPECT_EQ(findings.ranks[1].most.expert, -1);
  EXPECT_DOUBLE_EQ(saved_percent(0, 0), 0.0);
}

TEST(Findings, AreWhatTheLibraryDoes) {
  constexpr int kRanks = 4;
  constexpr int kTokens = 40;
  constexpr int kHidden = 8;
  constexpr int kRowBytes = kHidden * 4;
  constexpr int kAlignment = 4;
  const SyntheticRouting routing{.experts = 10, .top_k = 3, .routing = Routing::zipf, .skew = 1.0, .seed = 5};
  Tally tally(routing.experts, kRanks, kRanks);
  std::vector<std::vector<std::int32_t>> ids;
  for (int rank = 0; rank < kRanks; ++rank) {
    ids.push_back(choose_experts(routing, kTokens, rank, 0).ids);
    tally.add(rank, ids.back(), routing.top_k);
  }
  const Findings findings = findings_of(tally, kRowBytes, kAlignment);
  World world = World::threads(kRanks);
  world.run([&](Rank& rank) {
    const RankLoad& load = findings.ranks[static_cast<std::size_t>(rank.index())];
    Group group(rank, GroupOptions{.num_experts = routing.experts,
                                   .max_top_k = routing.top_k,
                                   .max_tokens = kTokens,
                                   .hidden = kHidden,
                                   .row_dtype = DType::fp32});
    const std::vector<float> x(std::size_t{kTokens} * kHidden);
    const ConstTensorView rows(x.data(), DType::fp32, {kTokens, kHidden});
    const ConstTensorView own(ids[static_cast<std::size_t>(rank.index())].data(), DType::int32,
                              {kTokens, routing.top_k});
    const Dispatched by_rank = group.dispatch(rows, own);
    EXPECT_EQ(by_rank.route.num_rows(), load.rows);
    EXPECT_EQ(group.statistics().wire_bytes, static_cast<std::uint64_t>(load.bytes_out));
    for (int source = 0; source < kRanks; ++source) {
      EXPECT_EQ(by_rank.route.receive_counts().as<std::int32_t>()[static_cast<std::size_t>(source)],
                tally.rows(source, rank.index()));
    }
    DispatchOptions options;
    options.layout = Layout::expert_major;
    options.alignment = kAlignment;
    const Dispatched by_expert = group.dispatch(rows, own, options);
    std::int64_t sent = 0;  // a copy per entry
    for (int destination = 0; destination < kRanks; ++destination) {
      sent += destination == rank.index() ? 0 : tally.entries(rank.index(), destination) * kRowBytes;
    }
    EXPECT_EQ(group.statistics().wire_bytes, static_cast<std::uint64_t>(load.bytes_out + sent));
    EXPECT_EQ(by_expert.route.num_rows(), load.entries);
    EXPECT_EQ(by_expert.route.expert_offsets().as<std::int32_t>().back(), load.rows_with_padding);
  });
}

TEST(HeatMap, HasACellForEachPairOfRanks) {
  const std::string svg = heat_map_of(small(), 10, "a <title>");
  for (const char* text : {"<title>a &lt;title&gt;</title>", "<title>0 to 1: 1 rows, 0.000 MB</title>", "source rank",
                           "destination rank", "scale-up domains", "white: no rows"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  EXPECT_EQ(heat_map_of(Tally(1, 1, 1), 10, "").find("nan"), std::string::npos);
}

TEST(ExpertChooser, PiecesAreTheWhole) {
  for (const Routing routing : kRoutings) {
    const SyntheticRouting options{.experts = 32, .top_k = 4, .routing = routing, .skew = 1.0, .seed = 3};
    ExpertChooser chooser(options, 1, 0);
    std::vector<std::int32_t> pieces;
    for (const int tokens : {1, 30, 19}) {
      const std::vector<std::int32_t> ids = chooser.next(tokens).ids;
      pieces.insert(pieces.end(), ids.begin(), ids.end());
    }
    EXPECT_EQ(pieces, choose_experts(options, 50, 1, 0).ids);
  }
}

}  // namespace
}  // namespace railyard::cli::inspect
