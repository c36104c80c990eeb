// SPDX-License-Identifier: Apache-2.0
// What differs, from all ranks of a case: the first few differences are enough.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace railyard::multi_rank {

class Report {
 public:
  void fail(std::string what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failures_.size() < 12) {
      failures_.push_back(std::move(what));
    }
  }
  [[nodiscard]] bool ok() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return failures_.empty();
  }
  /// Tail rows that were seen to keep their poison: that somebody looked.
  void count_untouched_rows(std::int64_t rows) {
    const std::lock_guard<std::mutex> lock(mutex_);
    untouched_rows_ += rows;
  }
  [[nodiscard]] std::int64_t untouched_rows() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return untouched_rows_;
  }
  [[nodiscard]] std::string text() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string all;
    for (const std::string& failure : failures_) {
      all += "\n  " + failure;
    }
    return all;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> failures_;
  std::int64_t untouched_rows_ = 0;
};

/// One rank's view of a report: every message begins with `where`.
struct Place {
  Report* report = nullptr;
  std::string where;

  void fail(const std::string& what) const { report->fail(where + ": " + what); }
  [[nodiscard]] Place at(const std::string& further) const { return {report, where + ", " + further}; }
  template <typename A, typename B>
  void equal(const A& expected, const B& got, const std::string& what) const {
    if (!(expected == got)) {
      fail(what + ": expected " + std::to_string(expected) + ", got " + std::to_string(got));
    }
  }
  void require(bool condition, const std::string& what) const {
    if (!condition) {
      fail(what);
    }
  }
};

}  // namespace railyard::multi_rank
