// SPDX-License-Identifier: Apache-2.0
// What the operations of a world did when (RAILYARD_TRACE, docs/tracing.md): trace events in JSON, as Chrome's "Trace
// Event Format" defines them and Perfetto opens them. A process row for each rank; in it a few rows for each of its
// groups.
//
// A group records in its rank's thread, into memory taken at its creation, and what it recorded is written when it is
// destroyed. Between two writes the file is complete JSON.
#pragma once

#include "diagnostics/log.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::diagnostics {

/// Nanoseconds of the clock of a trace, which all processes of a machine share.
[[nodiscard]] std::int64_t trace_clock() noexcept;

/// Something that took time. `name` lives as long as the program.
struct TraceEvent {
  std::string_view name = {};
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::uint64_t epoch = 0;
  std::uint64_t bytes = 0;   // moved; 0: not said
  std::int32_t peer = -1;    // of a wait: the rank that came last
  std::int32_t missing = 0;  // of a wait: ranks that were not there at its first look
  std::uint8_t row = 0;
  bool moves_rows = false;
};

class TraceTrack;

/// The file of one world. Thread-safe; its tracks keep it alive.
class Trace : public std::enable_shared_from_this<Trace> {
 public:
  struct Options {
    std::string_view file = {};  // {rank} is replaced by first_rank, {pid} by this process's
    int first_rank = 0;          // of this process
    int num_ranks = 1;           // of this process
    std::size_t max_events = 0;  // that each group keeps: the latest
  };
  static constexpr std::size_t kMaxEvents = std::size_t{1} << 16;

  /// Makes the file anew. Throws RY-ENVIRONMENT naming RAILYARD_TRACE, its value and the system's reason if it cannot
  /// be written, is no file, or is being written by another world.
  [[nodiscard]] static std::shared_ptr<Trace> open(const Options& options, std::shared_ptr<Log> log);
  /// Throws what open() would if the file cannot be opened. Makes and changes nothing.
  static void require_writable(const Options& options);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  /// For the next group of `rank`. `rows`: the names of its rows, from the top; they live as long as the program.
  /// Throws RY-OUT-OF-MEMORY with the bytes of its events.
  [[nodiscard]] std::shared_ptr<TraceTrack> make_track(int rank, std::span<const std::string_view> rows);

 private:
  friend class TraceTrack;
  Trace(int file, std::string path, const Options& options, std::shared_ptr<Log> log);
  /// `count` events, each beginning with a comma. If they cannot be written, or would make the file longer than it may
  /// be (ulimit -f), that is logged, and the file stays as it was.
  void append(const std::string& events, std::size_t count) noexcept;

  const int file_;
  const std::string path_;
  const int first_rank_;
  const std::size_t max_events_;
  const std::shared_ptr<Log> log_;
  std::mutex mutex_;
  std::vector<int> groups_;  // [ranks of this process] made so far
  std::size_t end_ = 0;      // bytes of the file before its last brackets
};

/// What one group does at one rank. Used by one thread at a time; written when it is destroyed.
///
/// An operation has a send and a receive part, a part has stages, one after the other, and a stage may have a wait in
/// it. Only `fail` allocates.
class TraceTrack {
 public:
  TraceTrack(std::shared_ptr<Trace> trace, int rank, int group, std::span<const std::string_view> rows);
  ~TraceTrack();
  TraceTrack(const TraceTrack&) = delete;
  TraceTrack& operator=(const TraceTrack&) = delete;

  void begin_part(int row) noexcept;
  /// Ends the stage before, and begins this one. `moves_rows`: the part's bytes are this stage's.
  void enter(int row, std::string_view operation, std::uint64_t epoch, bool moves_rows) noexcept;
  /// Within a stage.
  void waited(std::int64_t begin_ns, std::int64_t end_ns, int last_peer, int missing) noexcept;
  /// Ends the part and its last stage.
  void end_part(std::uint64_t bytes) noexcept;
  /// What others have timed, by any clock that map_times() puts right.
  void add(const TraceEvent& event) noexcept { record(event); }
  /// Begin and end of all events that are kept become what `to_trace_clock` makes of them.
  void map_times(const std::function<std::int64_t(std::int64_t)>& to_trace_clock);
  /// The group is suspended: `reason` is an error's text.
  void fail(std::string_view reason) noexcept;
  [[nodiscard]] bool has_failed() const noexcept { return !failures_.empty(); }

 private:
  struct Failure {
    std::string reason;
    std::int64_t at_ns;
    std::uint8_t row;
  };

  void record(const TraceEvent& event) noexcept { events_[recorded_++ % events_.size()] = event; }
  void end_stage(std::int64_t now) noexcept;
  [[nodiscard]] int thread_of(int row) const noexcept;
  void describe_rows(std::string& text) const;
  void describe(const TraceEvent& event, std::string& text) const;
  void describe_failures(std::string& text) const;

  const std::shared_ptr<Trace> trace_;
  const int rank_;
  const int group_;
  const std::span<const std::string_view> rows_;
  std::vector<TraceEvent> events_;  // a ring
  std::size_t recorded_ = 0;
  std::size_t recorded_before_part_ = 0;
  TraceEvent part_;
  TraceEvent stage_;
  bool in_stage_ = false;
  std::vector<Failure> failures_;
};

/// One part of an operation, as long as it lives. Without a track it does nothing.
class TracedPart {
 public:
  TracedPart(TraceTrack* track, int row) noexcept : track_(track) {
    if (track_) [[unlikely]]
      track_->begin_part(row);
  }
  ~TracedPart() {
    if (track_) [[unlikely]]
      track_->end_part(bytes_);
  }
  TracedPart(const TracedPart&) = delete;
  TracedPart& operator=(const TracedPart&) = delete;

  void moved(std::uint64_t bytes) noexcept { bytes_ = bytes; }

 private:
  TraceTrack* track_;
  std::uint64_t bytes_ = 0;
};

/// `text` within quotes as JSON has it; what is no UTF-8 becomes U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace railyard::diagnostics
