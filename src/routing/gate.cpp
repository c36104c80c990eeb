// SPDX-License-Identifier: Apache-2.0
// Scores are computed in fp64, so that fp32 logits which differ keep different sigmoid scores up to about 36 instead of
// 17, and a softmax over many experts sums without loss; weights are rounded to fp32 once, at the end.
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>
#include <railyard/gate.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace railyard {
namespace {

constexpr int kMaxTopK = 32;

template <typename... Arguments>
[[noreturn]] void fail(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw Error(ErrorCode::invalid_argument, "gate: " + diagnostics::format(text, std::forward<Arguments>(arguments)...));
}

void check_matrix(const ConstTensorView& view, const char* name, std::int64_t rows, std::int64_t columns) {
  if (view.dimensions() != 2) {
    fail("{} has {} dimensions; it has 2", name, view.dimensions());
  }
  if (view.size(0) != rows || view.size(1) != columns) {
    fail("{} is [{}, {}]; it is [{}, {}]", name, view.size(0), view.size(1), rows, columns);
  }
  if (columns > 1 && view.stride(1) != 1) {
    fail("{} has a stride of {} elements between columns; it is 1", name, view.stride(1));
  }
  if (view.device().kind != DeviceKind::host) {
    fail("{} is in {} memory; it is in host memory", name, railyard::name(view.device().kind));
  }
  if (rows > 0 && view.data() == nullptr) {
    fail("{} is a null pointer with {} rows", name, rows);
  }
}

// Elements start at multiples of their size. The dtype has been checked.
void check_aligned(const ConstTensorView& view, const char* name) {
  const std::size_t past = reinterpret_cast<std::uintptr_t>(view.data()) % size_of(view.dtype());
  if (past != 0) {
    fail("{} starts {} bytes past a multiple of {}, the size of a {} element", name, past, size_of(view.dtype()),
         railyard::name(view.dtype()));
  }
}

void check_dtype(const ConstTensorView& view, const char* name) {
  if (view.dtype() != DType::fp32) {
    fail("{} is {}; it is fp32", name, railyard::name(view.dtype()));
  }
  check_aligned(view, name);
}

void check_options(const GateOptions& options, std::int64_t experts) {
  const std::int64_t most = std::min<std::int64_t>(experts, kMaxTopK);
  if (options.top_k < 1 || options.top_k > most) {
    fail("top_k is {}; with {} experts it lies in [1, {}]", options.top_k, experts, most);
  }
  if (options.score != GateScore::softmax && options.score != GateScore::sigmoid) {
    fail("score is {}; it is 0 (softmax) or 1 (sigmoid)", static_cast<int>(options.score));
  }
  if (options.num_groups < 1 || experts % options.num_groups != 0) {
    fail("num_groups is {}; it divides the {} experts", options.num_groups, experts);
  }
  if (options.top_k_groups < 1 || options.top_k_groups > options.num_groups) {
    fail("top_k_groups is {}; with {} groups it lies in [1, {}]", options.top_k_groups, options.num_groups,
         options.num_groups);
  }
  const std::int64_t kept = experts / options.num_groups * options.top_k_groups;
  if (options.top_k > kept) {
    fail("top_k is {}; the {} groups kept have {} experts", options.top_k, options.top_k_groups, kept);
  }
  if (!std::isfinite(options.scale)) {
    fail("scale is {}; it is finite", options.scale);
  }
}

void check(const ConstTensorView& logits, const ConstTensorView& bias, const GateOptions& options,
           const TensorView& ids, const TensorView& weights) {
  if (logits.dimensions() != 2) {
    fail("logits has {} dimensions; it has 2", logits.dimensions());
  }
  const std::int64_t tokens = logits.size(0);
  const std::int64_t experts = logits.size(1);
  if (experts < 1 || experts > std::numeric_limits<std::int32_t>::max()) {
    fail("logits has {} experts; at least 1, at most {}", experts, std::numeric_limits<std::int32_t>::max());
  }
  check_options(options, experts);
  check_matrix(logits, "logits", tokens, experts);
  check_dtype(logits, "logits");
  check_matrix(ids, "ids", tokens, options.top_k);
  if (ids.dtype() != DType::int32 && ids.dtype() != DType::int64) {
    fail("ids is {}; it is int32 or int64", name(ids.dtype()));
  }
  check_aligned(ids, "ids");
  check_matrix(weights, "weights", tokens, options.top_k);
  check_dtype(weights, "weights");
  if (bias.defined()) {
    if (bias.dimensions() != 1 || bias.size(0) != experts) {
      fail("bias has {} dimensions and {} elements; it has 1 and {}", bias.dimensions(), bias.count(), experts);
    }
    check_dtype(bias, "bias");
    if (!bias.contiguous() || bias.data() == nullptr) {
      fail("bias is a null pointer or has a stride of {} elements; it is contiguous", bias.stride(0));
    }
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      const float value = bias.as<float>()[static_cast<std::size_t>(expert)];
      if (!std::isfinite(value)) {
        fail("bias of expert {} is {}; it is finite", expert, value);
      }
    }
  }
}

// exp(x) / (1 + exp(x)) without overflow.
double sigmoid(double x) {
  if (x >= 0.0) {
    return 1.0 / (1.0 + std::exp(-x));
  }
  const double exponential = std::exp(x);
  return exponential / (1.0 + exponential);
}

// One token at a time; its vectors keep their memory.
class TokenRouter {
 public:
  TokenRouter(std::size_t experts, std::span<const float> bias, const GateOptions& options)
      : options_(options),
        bias_(bias),
        group_size_(experts / static_cast<std::size_t>(options.num_groups)),
        scores_(experts),
        corrected_(experts),
        groups_(static_cast<std::size_t>(options.num_groups)),
        group_scores_(groups_.size()) {
    candidates_.reserve(experts);
  }

  // The chosen experts, best first, and their weights.
  std::span<const std::int32_t> route(std::span<const float> logits, std::int64_t token, std::span<float> weights) {
    score(logits, token);
    for (std::size_t expert = 0; expert < scores_.size(); ++expert) {
      corrected_[expert] = scores_[expert] + (bias_.empty() ? 0.0 : static_cast<double>(bias_[expert]));
    }
    collect_candidates();
    const auto chosen = static_cast<std::ptrdiff_t>(options_.top_k);
    keep_best(candidates_, chosen, corrected_);
    weigh(token, weights);
    return {candidates_.data(), static_cast<std::size_t>(chosen)};
  }

 private:
  // The `count` first in descending score, ties to the lower index, come first.
  static void keep_best(std::vector<std::int32_t>& indices, std::ptrdiff_t count, const std::vector<double>& scores) {
    std::partial_sort(indices.begin(), indices.begin() + count, indices.end(), [&](std::int32_t a, std::int32_t b) {
      const double score_a = scores[static_cast<std::size_t>(a)];
      const double score_b = scores[static_cast<std::size_t>(b)];
      return score_a != score_b ? score_a > score_b : a < b;
    });
  }

  void score(std::span<const float> logits, std::int64_t token) {
    double largest = -std::numeric_limits<double>::infinity();
    for (std::size_t expert = 0; expert < logits.size(); ++expert) {
      const auto logit = static_cast<double>(logits[expert]);
      if (!std::isfinite(logit)) {
        fail("the logit of token {}, expert {} is {}; it is finite", token, expert, logit);
      }
      largest = std::max(largest, logit);
    }
    if (options_.score == GateScore::sigmoid) {
      std::transform(logits.begin(), logits.end(), scores_.begin(),
                     [](float logit) { return sigmoid(static_cast<double>(logit)); });
      return;
    }
    double sum = 0.0;
    for (std::size_t expert = 0; expert < logits.size(); ++expert) {
      scores_[expert] = std::exp(static_cast<double>(logits[expert]) - largest);
      sum += scores_[expert];
    }
    for (double& score : scores_) {
      score /= sum;
    }
  }

  // All experts of the best groups, ids ascending inside a group.
  void collect_candidates() {
    for (std::size_t group = 0; group < groups_.size(); ++group) {
      groups_[group] = static_cast<std::int32_t>(group);
    }
    if (static_cast<std::size_t>(options_.top_k_groups) < groups_.size()) {
      for (std::size_t group = 0; group < groups_.size(); ++group) {
        group_scores_[group] = two_best(group);
      }
      keep_best(groups_, options_.top_k_groups, group_scores_);
    }
    candidates_.clear();
    for (std::size_t i = 0; i < static_cast<std::size_t>(options_.top_k_groups); ++i) {
      const std::size_t first = static_cast<std::size_t>(groups_[i]) * group_size_;
      for (std::size_t expert = first; expert < first + group_size_; ++expert) {
        candidates_.push_back(static_cast<std::int32_t>(expert));
      }
    }
  }

  // Sum of a group's two largest corrected scores; of its only one in groups of one.
  double two_best(std::size_t group) const {
    double best = corrected_[group * group_size_];
    if (group_size_ == 1) {
      return best;
    }
    double second = -std::numeric_limits<double>::infinity();
    for (std::size_t expert = group * group_size_ + 1; expert < (group + 1) * group_size_; ++expert) {
      second = std::max(second, std::min(best, corrected_[expert]));
      best = std::max(best, corrected_[expert]);
    }
    return best + second;
  }

  void weigh(std::int64_t token, std::span<float> weights) const {
    double sum = 0.0;
    for (std::size_t k = 0; k < weights.size(); ++k) {
      sum += scores_[static_cast<std::size_t>(candidates_[k])];
    }
    if (options_.normalize && !(sum > 0.0)) {
      fail("the scores chosen for token {} sum to {}; to normalise them it takes more than 0", token, sum);
    }
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const double score = scores_[static_cast<std::size_t>(candidates_[k])];
      weights[k] = static_cast<float>((options_.normalize ? score / sum : score) * static_cast<double>(options_.scale));
    }
  }

  const GateOptions& options_;
  std::span<const float> bias_;
  std::size_t group_size_;
  std::vector<double> scores_;
  std::vector<double> corrected_;
  std::vector<std::int32_t> groups_;
  std::vector<double> group_scores_;
  std::vector<std::int32_t> candidates_;
};

template <typename Id>
void write_ids(std::span<const std::int32_t> chosen, void* ids, std::int64_t row_offset) {
  std::copy(chosen.begin(), chosen.end(), static_cast<Id*>(ids) + row_offset);
}

}  // namespace

void gate(ConstTensorView logits, ConstTensorView bias, const GateOptions& options, TensorView ids,
          TensorView weights) {
  check(logits, bias, options, ids, weights);
  const auto experts = static_cast<std::size_t>(logits.size(1));
  TokenRouter router(experts, bias.defined() ? bias.as<float>() : std::span<const float>{}, options);
  for (std::int64_t token = 0; token < logits.size(0); ++token) {
    const std::span<const float> row(static_cast<const float*>(logits.data()) + token * logits.stride(0), experts);
    const std::span<float> row_weights(static_cast<float*>(weights.data()) + token * weights.stride(0),
                                       static_cast<std::size_t>(options.top_k));
    const std::span<const std::int32_t> chosen = router.route(row, token, row_weights);
    if (ids.dtype() == DType::int32) {
      write_ids<std::int32_t>(chosen, ids.data(), token * ids.stride(0));
    } else {
      write_ids<std::int64_t>(chosen, ids.data(), token * ids.stride(0));
    }
  }
}

}  // namespace railyard
