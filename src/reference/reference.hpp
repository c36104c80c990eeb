// SPDX-License-Identifier: Apache-2.0
// What dispatch and combine mean, in plain C++ that a reader can check by eye: every backend equals it,
// bit for bit. All ranks at once, values instead of views, no threads, no speed. It includes only the public
// types.hpp and error.hpp, and shares no code with the paths that it judges.
//
// A *flat row* of a destination is its index in the delivered tensor: the row (rank_major, expert_major), or
// local expert * capacity + slot (expert_slots). Values are packed: no stride, no padding between rows.
// Inconsistent sizes throw std::invalid_argument.
#pragma once

#include <railyard/error.hpp>
#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace railyard::reference {

using Bytes = std::vector<std::byte>;

/// The same fields and meaning as railyard::Origin.
struct Origin {
  std::int32_t token = -1;
  std::int16_t rank = -1;
  std::int16_t k = -1;  // rank_major: the token's lowest k on this rank; mask: the column, which is the rank itself
  friend bool operator==(const Origin&, const Origin&) = default;
};

/// What all ranks agree on.
struct Config {
  std::vector<int> experts_per_rank;  // contiguous blocks; its size is the number of ranks
  int top_k = 0;                      // columns of the ids; ignored for masks, which have a column per rank
  int hidden = 0;
  Layout layout = Layout::rank_major;
  int alignment = 1;                   // of group starts, expert_major only
  std::vector<std::int64_t> capacity;  // rows granted by each rank; per local expert in expert_slots
  std::vector<bool> heap_exhausted;    // ranks that could not grant: capacity counts as 0. Empty: none
  OverflowPolicy overflow = OverflowPolicy::error;
  ReductionLevels levels = ReductionLevels::rank;
  ReductionOrder order = ReductionOrder::rank_ascending;
  DType input = DType::bf16;            // element type of x
  std::optional<DType> input_scales{};  // x is quantised already: fp32 or uint8, ceil(hidden/128) per row
  std::optional<Codec> codec{};         // none: rows are copied exactly
  Tail tail = Tail::untouched;
  bool has_weights = false;  // gate weights travel
  bool from_mask = false;    // routes come from Source::mask (rank_major only, no weights)

  [[nodiscard]] int num_ranks() const { return static_cast<int>(experts_per_rank.size()); }
  /// Columns of the ids or of the mask.
  [[nodiscard]] int columns() const { return from_mask ? num_ranks() : top_k; }
};

/// One rank as a source.
struct Source {
  std::int64_t tokens = 0;
  std::vector<std::int64_t> ids;   // [tokens, top_k]; outside [-1, experts) counts as -1 and is reported
  std::vector<std::uint8_t> mask;  // [tokens, ranks] if Config::from_mask; nonzero = send
  std::vector<float> weights;      // [tokens, top_k] if Config::has_weights
  Bytes x;                         // [tokens, hidden] of Config::input
  Bytes scales;                    // [tokens, ceil(hidden/128)] of Config::input_scales
};

/// `SourceRoute::row` of a column without an expert, and of one whose row did not fit.
inline constexpr std::int64_t kNoRow = -1;
inline constexpr std::int64_t kLostRow = -2;

/// One rank as a source, after routing. The vectors have [tokens, columns] elements.
struct SourceRoute {
  std::vector<int> destination;      // rank, -1 for none
  std::vector<int> local_expert;     // at the destination, -1 for none and for masks
  std::vector<std::int64_t> row;     // flat row at the destination, kNoRow or kLostRow
  std::vector<std::int32_t> counts;  // [ranks] rows sent to each, after dropping
};

/// One rank as a destination. Its vectors have one element (or row) per flat row, unless said otherwise.
struct Delivered {
  std::int64_t num_rows = 0;  // flat rows that hold a token
  Bytes rows;                 // [flat rows, row_bytes]
  Bytes scales;               // [flat rows, scale_bytes]; empty for codecs without
  std::size_t row_bytes = 0;  // of one packed row
  std::size_t scale_bytes = 0;
  std::vector<bool> payload_written;     // false: tail rows under Tail::untouched, whose payload means nothing
  std::vector<std::int32_t> expert_ids;  // rank_major [flat rows, top_k]; empty for masks
  std::vector<float> weights;            // the same shape; empty unless Config::has_weights
  std::vector<Origin> origins;
  std::vector<std::int32_t> receive_counts;  // [ranks] rows from each source
  std::vector<std::int32_t> expert_counts;   // [local experts] entries (rank_major: of delivered rows; masks: 0)
  std::vector<std::int32_t> expert_offsets;  // [local experts + 1]; all zero in rank_major
};

struct Result {
  std::vector<SourceRoute> sources;  // [ranks]
  std::vector<Delivered> received;   // [ranks]
  Status status;
  std::int64_t num_dropped = 0;  // rows (entries in expert layouts) left out by policy `drop`, whole group
};

/// Places and delivers the rows of all ranks.
///
/// Rows. rank_major: one per (token, rank that holds any of its entries), ordered by (source rank, token). Expert
/// layouts: one per entry, inside a local expert ordered by (source rank, token, k); an expert named twice by a token
/// has two entries and two rows. expert_major: group e starts where group e - 1 ends, rounded up to the alignment,
/// computed from the counts before dropping; the rows between are padding: ids -1, weights 0, origin -1, payload and
/// scales zero. Every other flat row without a token is tail: ids -1, weights 0, origin -1, payload and scales as
/// Config::tail says (zero: bytes 0x00, poison: bytes 0xFF). In expert_slots all of an expert's rows above its count
/// are tail.
///
/// Capacity. A row whose index (in expert_slots: slot) is at or beyond the capacity is lost: not delivered, and in no
/// count. Expert offsets are clipped to the capacity (expert_slots: expert * capacity). A rank overflows when it needs
/// more than its capacity: rows (rank_major), rows with the padding of every group, the last one too (expert_major; it
/// can overflow although no row is lost), or rows of one local expert (expert_slots).
///
/// Status, the first that applies:
///   heap_exhausted  some rank is exhausted, whatever the policy. rank: the lowest. count: rows (entries) lost at all
///                   exhausted ranks. needed and capacity are bytes, which this reference does not know: 0.
///   capacity        policy `error`, some other rank overflows. rank: the lowest; expert: its first full local expert
///   in
///                   expert_slots, else -1; needed: as above, of that rank (or expert); capacity: its capacity; count:
///                   rows (entries) lost in the whole group.
///   invalid_id      rank: the lowest source with an id outside [-1, experts); needed: its first one in row order;
///                   capacity: the number of experts; count: such ids in the whole group.
/// Under policy `drop`, rows lost to capacity at ranks that are not exhausted are counted in num_dropped instead.
[[nodiscard]] Result dispatch(const Config& config, const std::vector<Source>& sources);

/// A bias of one rank: [tokens, hidden] of bf16, fp16 or fp32.
struct Bias {
  DType dtype = DType::bf16;
  Bytes values;
};

struct CombineInput {
  DType y_dtype = DType::bf16;    // bf16, fp16 or fp32
  std::vector<Bytes> y;           // [ranks]: rows by flat row; enough of them for every row that holds a token
  DType out_dtype = DType::bf16;  // bf16, fp16 or fp32
  std::vector<std::vector<float>> weights{};      // [ranks] of [tokens, top_k] at the origin; empty: none
  std::vector<std::vector<float>> row_weights{};  // [ranks] of one per flat row; empty: none. Never both
  std::vector<std::vector<Bias>> biases{};        // [ranks] of any number, in argument order; empty: none
};

/// Reduces the rows of `y` along the routes of `routed`; returns [tokens, hidden] of out_dtype for each rank.
///
/// Each element of a token, in fp32: the accumulator starts at the first bias plus the others in order, +0 without any.
///   levels none   for every entry with a row, ascending k: acc = fma(weight, row, acc), or acc + row without weights.
///                 Expert layouts only.
///   levels rank   partial(rank), from +0, over the token's entries with a row on that rank in the same way, rounded to
///                 y_dtype once, even if it is a single row; in rank_major the row is the partial, and weights are an
///                 error. Then acc = acc + partial, ranks ascending, or (highest_k) in ascending order of the highest k
///                 among the entries with a row on the rank (for masks: its column).
/// One rounding to out_dtype, to nearest even; NaN is written 0x7FFF (bf16, fp16) or 0x7FFFFFFF (fp32).
/// A token with a lost row is NaN throughout under policy `error`, and under both if it was lost to an exhausted heap;
/// otherwise lost rows are left out. A token without rows gets its biases, or +0.
[[nodiscard]] std::vector<Bytes> combine(const Config& config, const Result& routed, const CombineInput& input);

/// RouteOptions::capacity when it is 0: enough for any routing without duplicate ids in a token.
[[nodiscard]] std::int64_t default_capacity(Layout layout, int num_ranks, std::int64_t max_tokens, int top_k,
                                            int local_experts, int alignment);

}  // namespace railyard::reference
