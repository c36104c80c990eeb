// SPDX-License-Identifier: Apache-2.0
// Sums of rows in fp32, as combine needs them: each term is `acc + row` or `fma(weight, row, acc)`, in the order given,
// never contracted otherwise; the result is rounded once, to nearest even, with canonical NaN.
//
// All row pointers may have any alignment; rows are bf16, fp16 or fp32. The output must not overlap any input.
// Every factory throws `Error{unsupported}` for any other type.
#pragma once

#include "codecs/copy.hpp"

#include <railyard/types.hpp>

namespace railyard::codecs {

/// accumulator[i] = accumulator[i] + row[i]
using AccumulateRow = void (*)(float* accumulator, const void* row, int hidden) noexcept;
[[nodiscard]] AccumulateRow accumulate(DType input);

/// accumulator[i] = fma(weight, row[i], accumulator[i])
using AccumulateWeightedRow = void (*)(float* accumulator, float weight, const void* row, int hidden) noexcept;
[[nodiscard]] AccumulateWeightedRow accumulate_weighted(DType input);

/// row[i] = accumulator[i], rounded once.
using RoundRow = void (*)(const float* accumulator, void* row, int hidden) noexcept;
[[nodiscard]] RoundRow round_row(DType output);

/// One pass over `count` rows (zero is legal): the accumulator of an element starts at `initial[i]`, or +0 when
/// `initial` is null, takes the rows in order, weighted when `weights` is not null, and is rounded once into `out`.
/// With `Stores::streaming`, see copy.hpp for the fence that the caller owes.
using SumRows = void (*)(const void* const* rows, const float* weights, int count, const float* initial, void* out,
                         int hidden) noexcept;
[[nodiscard]] SumRows sum_rows(DType input, DType output, Stores stores = Stores::streaming);

}  // namespace railyard::codecs
