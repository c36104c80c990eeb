// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/trace.hpp"

#include "diagnostics/format.hpp"
#include "diagnostics/resource_limit.hpp"
#include "diagnostics/utf8.hpp"

#include <railyard/error.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <new>
#include <utility>

namespace railyard::diagnostics {
namespace {

constexpr std::string_view kVariable = "RAILYARD_TRACE";
constexpr std::string_view kEnd = "\n]}\n";

std::string system_text(int error) { return format("{} (errno {})", error_and_limit(error), error); }

// Whether the system would end the process for a file of so many bytes (SIGXFSZ).
bool too_large(std::size_t bytes) noexcept { return bytes > largest_file(); }

// 0, or the errno.
int write_all(int file, std::string_view text, std::size_t offset) noexcept {
  if (too_large(offset + text.size())) return EFBIG;
  while (!text.empty()) {
    const ssize_t written = ::pwrite(file, text.data(), text.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return EIO;
    text.remove_prefix(static_cast<std::size_t>(written));
    offset += static_cast<std::size_t>(written);
  }
  return 0;
}

std::string replace_all(std::string text, std::string_view was, const std::string& now) {
  for (std::size_t at = 0; (at = text.find(was, at)) != std::string::npos; at += now.size()) {
    text.replace(at, was.size(), now);
  }
  return text;
}

// The trace's unit is a microsecond.
std::string microseconds(std::int64_t ns) { return format("{}.{:03}", ns / 1000, ns % 1000); }

std::string metadata(std::string_view what, int process, int thread, std::string_view name, int sort_index) {
  return format(R"({{"ph":"M","name":"{0}_name","pid":{1},"tid":{2},"args":{{"name":{3}}}}},)"
                "\n"
                R"({{"ph":"M","name":"{0}_sort_index","pid":{1},"tid":{2},"args":{{"sort_index":{4}}}}})",
                what, process, thread, json_string(name), sort_index);
}

std::vector<TraceEvent> make_events(int rank, std::size_t count) {
  try {
    return std::vector<TraceEvent>(count);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, format("rank {}: {} bytes for the trace of a group ({}): {}", rank,
                                                 count * sizeof(TraceEvent), kVariable, error_and_limit(ENOMEM)));
  }
}

std::string path_of(const Trace::Options& options) {
  std::string path = replace_all(std::string(options.file), "{rank}", format("{}", options.first_rank));
  return replace_all(std::move(path), "{pid}", format("{}", ::getpid()));
}

// 0, or the errno of making the file: its name must be one, and its folder there and writable.
int error_of_making(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == path.size() - 1) return EISDIR;
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  return ::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

[[noreturn]] void refuse(std::string_view value, std::string_view path, std::string_view why) {
  throw Error(ErrorCode::environment, format("{}=\"{}\": \"{}\" cannot be written: {}", kVariable, value, path, why));
}

}  // namespace

std::int64_t trace_clock() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    const char first = text.front();
    if (length == 0) {
      quoted += "\\ufffd";
    } else if (first == '"' || first == '\\') {
      quoted += {'\\', first};
    } else if (static_cast<unsigned char>(first) < 0x20) {
      quoted += format("\\u{:04x}", static_cast<unsigned>(first));
    } else {
      quoted += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return quoted + '"';
}

std::shared_ptr<Trace> Trace::open(const Options& options, std::shared_ptr<Log> log) {
  const std::string path = path_of(options);
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) refuse(options.file, path, system_text(errno));
  std::shared_ptr<Trace> trace(new Trace(file, path, options, std::move(log)));  // closes the file
  // A file system without locks cannot tell.
  if (::flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    refuse(options.file, path, "another world writes it; {rank} and {pid} in the name give each process its own");
  }
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  for (int index = 0; index < options.num_ranks; ++index) {
    const int rank = options.first_rank + index;
    text += (index == 0 ? "\n" : ",\n") + metadata("process", rank, 0, format("rank {}", rank), rank);
  }
  trace->end_ = text.size();
  text += kEnd;
  const int error = ::ftruncate(file, 0) == 0 || errno == EINVAL ? write_all(file, text, 0) : errno;
  if (error != 0) refuse(options.file, path, system_text(error));
  return trace;
}

void Trace::require_writable(const Options& options) {
  const std::string path = path_of(options);
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  int error = file < 0 ? errno : 0;
  if (error == 0) {
    if (::lseek(file, 0, SEEK_CUR) < 0) error = errno;  // a pipe
    ::close(file);
  } else if (error == ENOENT) {
    error = error_of_making(path);
  }
  if (error != 0) refuse(options.file, path, system_text(error));
}

Trace::Trace(int file, std::string path, const Options& options, std::shared_ptr<Log> log)
    : file_(file),
      path_(std::move(path)),
      first_rank_(options.first_rank),
      max_events_(options.max_events > 0 ? options.max_events : kMaxEvents),
      log_(std::move(log)),
      groups_(static_cast<std::size_t>(options.num_ranks)) {}

Trace::~Trace() { ::close(file_); }

std::shared_ptr<TraceTrack> Trace::make_track(int rank, std::span<const std::string_view> rows) {
  int group = 0;
  {
    const std::lock_guard lock(mutex_);
    group = groups_.at(static_cast<std::size_t>(rank - first_rank_))++;
  }
  return std::make_shared<TraceTrack>(shared_from_this(), rank, group, rows);
}

void Trace::append(const std::string& events, std::size_t count) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    const std::string text = events + std::string(kEnd);
    const bool untouched = too_large(end_ + text.size());
    const int error = untouched ? EFBIG : write_all(file_, text, end_);
    if (error == 0) {
      end_ += events.size();
      return;
    }
    // As it was before: the brackets have their room still.
    const bool whole =
        untouched || (::ftruncate(file_, static_cast<off_t>(end_)) == 0 && write_all(file_, kEnd, end_) == 0);
    log_->write(LogLevel::error,
                format("{}: {} events ({} bytes) could not be written to \"{}\": {}; {}", kVariable, count,
                       events.size(), path_, system_text(error), whole ? "it has what came before" : "it is torn"));
  } catch (...) {  // no memory to say so
  }
}

TraceTrack::TraceTrack(std::shared_ptr<Trace> trace, int rank, int group, std::span<const std::string_view> rows)
    : trace_(std::move(trace)),
      rank_(rank),
      group_(group),
      rows_(rows),
      events_(make_events(rank, trace_->max_events_)) {}

TraceTrack::~TraceTrack() {
  try {
    std::string text;
    describe_rows(text);
    const std::size_t kept = std::min(recorded_, events_.size());
    for (std::size_t i = recorded_ - kept; i < recorded_; ++i) describe(events_[i % events_.size()], text);
    if (recorded_ > kept) {
      const TraceEvent& oldest = events_[recorded_ % events_.size()];
      text += format(
          ",\n"
          R"({{"ph":"i","s":"t","cat":"limit","name":"{0} earlier events dropped","pid":{1},"tid":{2},"ts":{3},)"
          R"("args":{{"dropped":{0}}}}})",
          recorded_ - kept, rank_, thread_of(0), microseconds(oldest.begin_ns));
      trace_->log_->write(LogLevel::warn,
                          format("rank {}: the trace keeps the latest {} events of a group; {} were dropped", rank_,
                                 kept, recorded_ - kept));
    }
    describe_failures(text);
    trace_->append(text, kept + failures_.size());
  } catch (...) {  // no memory for the text
  }
}

void TraceTrack::begin_part(int row) noexcept {
  part_ = {.begin_ns = trace_clock(), .row = static_cast<std::uint8_t>(row)};
  recorded_before_part_ = recorded_;
}

void TraceTrack::enter(int row, std::string_view operation, std::uint64_t epoch, bool moves_rows) noexcept {
  const std::int64_t now = trace_clock();
  end_stage(now);
  stage_ = {.name = operation,
            .begin_ns = now,
            .epoch = epoch,
            .row = static_cast<std::uint8_t>(row),
            .moves_rows = moves_rows};
  in_stage_ = true;
  part_.name = operation;
  part_.epoch = epoch;
}

void TraceTrack::end_stage(std::int64_t now) noexcept {
  if (!in_stage_) return;
  stage_.end_ns = now;
  record(stage_);
  in_stage_ = false;
}

void TraceTrack::waited(std::int64_t begin_ns, std::int64_t end_ns, int last_peer, int missing) noexcept {
  record({.name = stage_.name,
          .begin_ns = begin_ns,
          .end_ns = end_ns,
          .epoch = stage_.epoch,
          .peer = last_peer,
          .missing = missing,
          .row = stage_.row});
}

void TraceTrack::end_part(std::uint64_t bytes) noexcept {
  const std::int64_t now = trace_clock();
  end_stage(now);
  const std::size_t of_part = std::min(recorded_ - recorded_before_part_, events_.size());
  for (std::size_t i = recorded_ - of_part; i < recorded_; ++i) {
    if (TraceEvent& event = events_[i % events_.size()]; event.moves_rows) event.bytes = bytes;
  }
  part_.end_ns = now;
  part_.bytes = bytes;
  if (!part_.name.empty()) record(part_);
}

void TraceTrack::map_times(const std::function<std::int64_t(std::int64_t)>& to_trace_clock) {
  const std::size_t kept = std::min(recorded_, events_.size());
  for (std::size_t i = 0; i < kept; ++i) {
    events_[i].begin_ns = to_trace_clock(events_[i].begin_ns);
    events_[i].end_ns = to_trace_clock(events_[i].end_ns);
  }
}

void TraceTrack::fail(std::string_view reason) noexcept {
  try {
    failures_.push_back({std::string(reason), trace_clock(), stage_.row});
  } catch (...) {  // no memory for it
  }
}

int TraceTrack::thread_of(int row) const noexcept { return group_ * static_cast<int>(rows_.size()) + row + 1; }

void TraceTrack::describe_rows(std::string& text) const {
  for (int row = 0; row < static_cast<int>(rows_.size()); ++row) {
    const std::string name = format("group {}: {}", group_, rows_[static_cast<std::size_t>(row)]);
    text += ",\n" + metadata("thread", rank_, thread_of(row), name, thread_of(row));
  }
}

void TraceTrack::describe(const TraceEvent& event, std::string& text) const {
  const bool is_wait = event.peer >= 0;
  const std::string name = is_wait ? format("\"wait for rank {}\"", event.peer) : json_string(event.name);
  text += format(
      ",\n"
      R"({{"ph":"X","cat":{},"name":{},"pid":{},"tid":{},"ts":{},"dur":{},"args":{{"epoch":{})",
      json_string(is_wait ? "wait" : rows_[event.row]), name, rank_, thread_of(event.row), microseconds(event.begin_ns),
      microseconds(event.end_ns - event.begin_ns), event.epoch);
  if (is_wait) text += format(R"(,"operation":{},"missing":{})", json_string(event.name), event.missing);
  if (event.bytes > 0) text += format(R"(,"bytes":{})", event.bytes);
  text += "}}";
}

void TraceTrack::describe_failures(std::string& text) const {
  for (const Failure& failure : failures_) {
    const std::size_t colon = failure.reason.find(':');
    const bool has_code = failure.reason.starts_with("RY-") && colon != std::string::npos;
    text += format(
        ",\n"
        R"({{"ph":"i","s":"t","cat":"failure","name":{},"pid":{},"tid":{},"ts":{},"args":{{"message":{}}}}})",
        json_string(has_code ? std::string_view(failure.reason).substr(0, colon) : "suspended"), rank_,
        thread_of(failure.row), microseconds(failure.at_ns), json_string(failure.reason));
  }
}

}  // namespace railyard::diagnostics
