// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/verify.hpp"
#include "cli/rows.hpp"
#include "codecs/element.hpp"
#include "codecs/implementation.hpp"
#include "codecs/row_format.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

namespace railyard::cli::bench {
namespace {

constexpr std::size_t index_of(Codec codec) { return static_cast<std::size_t>(codec); }
constexpr std::size_t index_of(DType dtype) { return static_cast<std::size_t>(dtype); }

/// What a token's row must look like on the way, and its scales.
class ExpectedRow {
 public:
  explicit ExpectedRow(const Session& session)
      : session_(session),
        format_(codecs::RowFormat::of(session.payload().codec, session.options().hidden)),
        x_(session.tensor_of(Content::x, 0, 0).row_bytes()),
        row_(format_.row_bytes),
        scales_(format_.scale_bytes) {}

  /// Whether received row `row` of `slot` is the placed one.
  bool matches(const Delivery& received, int slot, const PlacedRow& placed) {
    const Payload& kind = session_.payload();
    const std::uint64_t seed = session_.options().seed;
    fill_row(x_.data(), seed, session_.tensor_of(Content::x, placed.source, slot), placed.token);
    if (kind.quantise) {
      const auto& scalar = codecs::implementation(codecs::Level::scalar);
      scalar.encode[index_of(kind.codec)][index_of(kind.input)](x_.data(), row_.data(), scales_.data(),
                                                                session_.options().hidden);
    } else if (format_.scale_bytes > 0) {
      fill_row(scales_.data(), seed, session_.tensor_of(Content::scales, placed.source, slot), placed.token);
    }
    const std::byte* payload = kind.quantise ? row_.data() : x_.data();
    return std::memcmp(flat_row(received.rows, placed.row), payload, format_.row_bytes) == 0 &&
           (format_.scale_bytes == 0 ||
            std::memcmp(flat_row(received.scales, placed.row), scales_.data(), format_.scale_bytes) == 0);
  }

 private:
  const Session& session_;
  codecs::RowFormat format_;
  std::vector<std::byte> x_;
  std::vector<std::byte> row_;
  std::vector<std::byte> scales_;
};

Comparison verify_rows(const Session& session, int rank, int slot) {
  const Delivery& received = session.slot(rank, slot).delivery;
  const std::vector<const Choices*> choices = session.choices(slot);
  const Arrivals arrivals = arrivals_at(session.options(), session.placement(), choices, rank, session.capacity());
  const auto origins = received.origins.as<std::int64_t>();
  const auto weights = received.weights.as<float>();
  const int top_k = session.options().top_k;
  const bool per_entry = session.options().layout != Layout::rank_major;
  ExpectedRow expected(session);
  Comparison result;
  result.count(received.route.num_rows() == static_cast<std::int64_t>(arrivals.rows.size()), [&] {
    return diagnostics::format("rank {} received {} rows instead of {}", rank, received.route.num_rows(),
                               arrivals.rows.size());
  });
  const auto counts = received.route.expert_counts().as<std::int32_t>();
  result.count(std::equal(counts.begin(), counts.end(), arrivals.expert_counts.begin(), arrivals.expert_counts.end()),
               [&] { return diagnostics::format("the counts by expert of rank {}", rank); });
  for (const PlacedRow& placed : arrivals.rows) {
    const auto origin = std::bit_cast<Origin>(origins[static_cast<std::size_t>(placed.row)]);
    const Origin wanted{placed.token, static_cast<std::int16_t>(placed.source), static_cast<std::int16_t>(placed.k)};
    const std::int32_t entry = placed.token * top_k + placed.k;
    const float weight = weights[static_cast<std::size_t>(per_entry ? placed.row : placed.row * top_k + placed.k)];
    const bool same =
        origin == wanted &&
        weight == choices[static_cast<std::size_t>(placed.source)]->weights[static_cast<std::size_t>(entry)] &&
        expected.matches(received, slot, placed);
    result.count(same, [&] { return diagnostics::format("row {} at rank {}", placed.row, rank); });
  }
  return result;
}

/// The contributions to each token of `rank`, by destination rank and k: in the order of the reduction.
std::vector<std::vector<Contribution>> contributions_to(const Session& session, int rank, int slot) {
  std::vector<std::vector<Contribution>> result(static_cast<std::size_t>(session.tokens()));
  const std::vector<const Choices*> choices = session.choices(slot);
  const bool weighted = session.options().layout != Layout::rank_major;
  const auto top_k = static_cast<std::size_t>(session.options().top_k);
  for (int destination = 0; destination < session.options().ranks; ++destination) {
    for (const PlacedRow& placed :
         arrivals_at(session.options(), session.placement(), choices, destination, session.capacity()).rows) {
      if (placed.source == rank) {
        const std::size_t entry = static_cast<std::size_t>(placed.token) * top_k + static_cast<std::size_t>(placed.k);
        result[static_cast<std::size_t>(placed.token)].push_back(
            {.rank = destination,
             .k = placed.k,
             .row = placed.row,
             .weight = weighted ? choices[static_cast<std::size_t>(rank)]->weights[entry] : 1.0F});
      }
    }
  }
  for (std::vector<Contribution>& token : result) {
    std::sort(token.begin(), token.end(), [](const Contribution& left, const Contribution& right) {
      return left.rank != right.rank ? left.rank < right.rank : left.k < right.k;
    });
  }
  return result;
}

/// levels = rank, order = rank_ascending: each rank's rows are summed and rounded, then the partials are added.
template <DType dtype>
bool is_sum(const std::vector<Contribution>& contributions, const std::byte* rows, const std::byte* output,
            std::size_t hidden) {
  using Type = codecs::Element<dtype>;
  using Storage = typename Type::Storage;
  const auto value_of = [&](std::size_t contribution, std::size_t i) {
    Storage stored{};
    std::memcpy(&stored, rows + (contribution * hidden + i) * sizeof(Storage), sizeof(Storage));
    return Type::to_float(stored);
  };
  for (std::size_t i = 0; i < hidden; ++i) {
    float sum = 0.0F;
    for (std::size_t first = 0; first < contributions.size();) {
      float partial = 0.0F;
      std::size_t next = first;
      for (; next < contributions.size() && contributions[next].rank == contributions[first].rank; ++next) {
        partial = std::fma(contributions[next].weight, value_of(next, i), partial);
      }
      sum += Type::to_float(Type::from_float(partial));
      first = next;
    }
    Storage got{};
    std::memcpy(&got, output + i * sizeof(Storage), sizeof(Storage));
    if (got != Type::from_float(sum)) {
      return false;
    }
  }
  return true;
}

Comparison verify_outputs(const Session& session, int rank, int slot) {
  const Buffer& out = session.slot(rank, slot).out;
  const auto contributions = contributions_to(session, rank, slot);
  const std::size_t row_bytes = out.bytes() / static_cast<std::size_t>(session.tokens());
  Comparison result;
  for (std::size_t token = 0; token < contributions.size(); ++token) {
    result.count(is_sum_of(session.options(), session.tensor_of(Content::y, 0, slot), contributions[token],
                           out.data() + token * row_bytes),
                 [&] { return diagnostics::format("the output of token {} of rank {}", token, rank); });
  }
  return result;
}

}  // namespace

bool is_sum_of(const Options& options, TensorOf y, const std::vector<Contribution>& contributions,
               const std::byte* output) {
  std::vector<std::byte> rows(contributions.size() * y.row_bytes());
  for (std::size_t index = 0; index < contributions.size(); ++index) {
    y.rank = contributions[index].rank;
    fill_row(rows.data() + index * y.row_bytes(), options.seed, y, contributions[index].row);
  }
  const auto hidden = static_cast<std::size_t>(options.hidden);
  switch (y.dtype) {
    case DType::fp32:
      return is_sum<DType::fp32>(contributions, rows.data(), output, hidden);
    case DType::fp16:
      return is_sum<DType::fp16>(contributions, rows.data(), output, hidden);
    default:
      return is_sum<DType::bf16>(contributions, rows.data(), output, hidden);
  }
}

Comparison compare_ranks(Session& session, const std::function<Comparison(int rank)>& compare) {
  Comparison result;
  std::mutex mutex;
  session.world().run([&](Rank& rank) {
    const Comparison own = compare(rank.index());
    const std::lock_guard lock(mutex);
    result.add(own);
  });
  return result;
}

bool said_right(const Comparison& comparison) {
  if (!comparison.equal()) {
    diagnostics::print(stderr, "wrong: {} of {} comparisons, first {}\n", comparison.different, comparison.compared,
                       comparison.first_difference);
  }
  return comparison.equal();
}

Comparison verify_at_full_size(Session& session) {
  session.world().run([&](Rank& rank) {
    for (int slot = 0; slot < session.num_slots(); ++slot) {
      session.dispatch(rank.index(), slot);
      session.fetch_delivery(rank.index(), slot);
    }
    session.make_expert_outputs(rank.index());
    for (int slot = 0; slot < session.num_slots(); ++slot) {
      session.combine(rank.index(), slot);
      session.fetch_output(rank.index(), slot);
    }
  });
  return compare_ranks(session, [&](int rank) {
    Comparison result;
    for (int slot = 0; slot < session.num_slots(); ++slot) {
      result.add(verify_rows(session, rank, slot));
      result.add(verify_outputs(session, rank, slot));
    }
    return result;
  });
}

}  // namespace railyard::cli::bench
