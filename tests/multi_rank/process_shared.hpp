// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <new>
#include <utility>

namespace railyard::multi_rank {

/// A T that threads share, and processes forked after it was made. It is never destroyed, only unmapped.
template <class T>
class ProcessShared {
 public:
  template <class... Arguments>
  explicit ProcessShared(Arguments&&... arguments) {
    void* const memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    value_ = new (memory) T(std::forward<Arguments>(arguments)...);
  }
  ~ProcessShared() { ::munmap(value_, sizeof(T)); }
  ProcessShared(const ProcessShared&) = delete;
  ProcessShared& operator=(const ProcessShared&) = delete;

  [[nodiscard]] T& operator*() const noexcept { return *value_; }
  [[nodiscard]] T* operator->() const noexcept { return value_; }

 private:
  T* value_ = nullptr;
};

}  // namespace railyard::multi_rank
