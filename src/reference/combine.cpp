// SPDX-License-Identifier: Apache-2.0
#include "reference/element.hpp"
#include "reference/placement.hpp"
#include "reference/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace railyard::reference {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

void require(bool condition, const char* what) {
  if (!condition) {
    throw std::invalid_argument(std::string("reference::combine: ") + what);
  }
}

bool reducible(DType dtype) { return dtype == DType::bf16 || dtype == DType::fp16 || dtype == DType::fp32; }

// One row that a token's result is made of.
struct Term {
  int rank = 0;
  std::int64_t row = 0;
  int k = 0;  // its entry; in rank_major the highest one on this rank
  std::optional<float> weight;
};

struct TokenTerms {
  std::vector<Term> terms;  // ascending k
  bool nan = false;         // a row was lost and must not pass for data
};

TokenTerms terms_of(const Config& config, const SourceRoute& route, const CombineInput& input, int origin,
                    std::int64_t token) {
  TokenTerms out;
  for (int k = 0; k < config.columns(); ++k) {
    const std::size_t entry = at(config, token, k);
    const int rank = route.destination[entry];
    const std::int64_t row = route.row[entry];
    if (row == kNoRow) {
      continue;
    }
    if (row == kLostRow) {
      const bool exhausted = !config.heap_exhausted.empty() && config.heap_exhausted[index(rank)];
      out.nan = out.nan || exhausted || config.overflow == OverflowPolicy::error;
      continue;
    }
    Term term{rank, row, k, std::nullopt};
    if (!input.weights.empty()) {
      term.weight = input.weights[index(origin)][entry];
    } else if (!input.row_weights.empty()) {
      term.weight = input.row_weights[index(rank)][index(row)];
    }
    if (config.layout == Layout::rank_major) {  // one term per rank: the later entry takes the earlier one's place
      std::erase_if(out.terms, [rank](const Term& earlier) { return earlier.rank == rank; });
    }
    out.terms.push_back(term);
  }
  return out;
}

// The ranks of the terms in the order in which their partials are added at the origin.
std::vector<int> rank_order(const Config& config, const std::vector<Term>& terms) {
  std::vector<int> ranks;
  for (const Term& term : terms) {  // ascending k: a rank moves to the place of its highest
    std::erase(ranks, term.rank);
    ranks.push_back(term.rank);
  }
  if (config.order == ReductionOrder::rank_ascending) {
    std::sort(ranks.begin(), ranks.end());
  }
  return ranks;
}

float add(float accumulator, float row, const std::optional<float>& weight) {
  return weight ? std::fma(*weight, row, accumulator) : accumulator + row;
}

float rounded(DType dtype, float value) {
  std::byte bytes[sizeof(float)] = {};
  store(dtype, value, bytes);
  return load(dtype, bytes);
}

class TokenReduction {
 public:
  TokenReduction(const Config& config, const CombineInput& input, int origin, std::int64_t token)
      : config_(config), input_(input), origin_(origin), token_(token) {}

  // Element `h` of the token, before the last rounding.
  float element(const std::vector<Term>& terms, const std::vector<int>& ranks, int h) const {
    float accumulator = bias(h);
    if (config_.levels == ReductionLevels::none) {
      for (const Term& term : terms) {
        accumulator = add(accumulator, y(term, h), term.weight);
      }
      return accumulator;
    }
    for (const int rank : ranks) {
      accumulator = accumulator + partial(terms, rank, h);
    }
    return accumulator;
  }

 private:
  float bias(int h) const {
    if (input_.biases.empty() || input_.biases[index(origin_)].empty()) {
      return 0.0F;
    }
    const std::vector<Bias>& biases = input_.biases[index(origin_)];
    float sum = bias(biases.front(), h);
    for (std::size_t i = 1; i < biases.size(); ++i) {
      sum = sum + bias(biases[i], h);
    }
    return sum;
  }

  float bias(const Bias& one, int h) const {
    return load(one.dtype, one.values.data() + index(token_ * config_.hidden + h) * bytes_of(one.dtype));
  }

  float y(const Term& term, int h) const {
    const Bytes& rows = input_.y[index(term.rank)];
    return load(input_.y_dtype, rows.data() + index(term.row * config_.hidden + h) * bytes_of(input_.y_dtype));
  }

  float partial(const std::vector<Term>& terms, int rank, int h) const {
    float sum = 0.0F;
    for (const Term& term : terms) {
      if (term.rank != rank) {
        continue;
      }
      if (config_.layout == Layout::rank_major) {
        return y(term, h);
      }
      sum = add(sum, y(term, h), term.weight);
    }
    return rounded(input_.y_dtype, sum);
  }

  const Config& config_;
  const CombineInput& input_;
  int origin_;
  std::int64_t token_;
};

void check_input(const Config& config, const Result& routed, const CombineInput& input) {
  const std::size_t ranks = index(config.num_ranks());
  const bool weighted = !input.weights.empty() || !input.row_weights.empty();
  require(routed.sources.size() == ranks && routed.received.size() == ranks && input.y.size() == ranks,
          "routes, y and experts_per_rank differ in size");
  require(reducible(input.y_dtype) && reducible(input.out_dtype), "y and out are bf16, fp16 or fp32");
  require(config.layout != Layout::rank_major || config.levels == ReductionLevels::rank,
          "rank_major rows are partial sums, which levels = none has not");
  require(config.layout != Layout::rank_major || !weighted, "rank_major rows are partial sums and take no weights");
  require(input.weights.empty() || input.row_weights.empty(), "weights at the origin and per row");
  require(config.levels == ReductionLevels::rank || config.order == ReductionOrder::rank_ascending,
          "levels = none has no order of ranks");
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::size_t entries = routed.sources[rank].row.size();
    require(input.weights.empty() || input.weights[rank].size() == entries, "weights of the wrong size");
    std::int64_t rows = 0;  // up to the last that holds a token
    for (std::size_t flat = 0; flat < routed.received[rank].origins.size(); ++flat) {
      rows = routed.received[rank].origins[flat].rank >= 0 ? static_cast<std::int64_t>(flat) + 1 : rows;
    }
    require(input.y[rank].size() >= index(rows * config.hidden) * bytes_of(input.y_dtype), "y has too few rows");
    require(input.row_weights.empty() || input.row_weights[rank].size() >= index(rows), "row_weights has too few rows");
    const std::size_t tokens = entries / std::max<std::size_t>(index(config.columns()), 1);
    for (const Bias& bias : input.biases.empty() ? std::vector<Bias>{} : input.biases[rank]) {
      require(reducible(bias.dtype), "a bias is bf16, fp16 or fp32");
      require(bias.values.size() == tokens * index(config.hidden) * bytes_of(bias.dtype), "a bias of the wrong size");
    }
  }
}

}  // namespace

std::vector<Bytes> combine(const Config& config, const Result& routed, const CombineInput& input) {
  check_input(config, routed, input);
  std::vector<Bytes> out;
  for (int origin = 0; origin < config.num_ranks(); ++origin) {
    const SourceRoute& route = routed.sources[index(origin)];
    const std::int64_t tokens = static_cast<std::int64_t>(route.row.size()) / std::max(config.columns(), 1);
    const std::size_t element_bytes = bytes_of(input.out_dtype);
    Bytes rows(index(tokens * config.hidden) * element_bytes);
    for (std::int64_t token = 0; token < tokens; ++token) {
      const TokenTerms found = terms_of(config, route, input, origin, token);
      const std::vector<int> ranks = rank_order(config, found.terms);
      const TokenReduction reduction(config, input, origin, token);
      for (int h = 0; h < config.hidden; ++h) {
        const float value =
            found.nan ? std::numeric_limits<float>::quiet_NaN() : reduction.element(found.terms, ranks, h);
        store(input.out_dtype, value, rows.data() + index(token * config.hidden + h) * element_bytes);
      }
    }
    out.push_back(std::move(rows));
  }
  return out;
}

}  // namespace railyard::reference
