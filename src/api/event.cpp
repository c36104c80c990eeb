// SPDX-License-Identifier: Apache-2.0
#include <railyard/stream.hpp>

namespace railyard {

bool Event::done() const { return !completion_ || completion_->done(); }

void Event::synchronize() const {
  if (completion_) completion_->synchronize();
}

const Status& Event::status() const { return completion_ ? completion_->status() : status_; }

void* Event::native() const noexcept { return completion_ ? completion_->native() : nullptr; }

}  // namespace railyard
