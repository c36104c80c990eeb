// SPDX-License-Identifier: Apache-2.0
#include "tuning/sm_ledger.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <list>
#include <map>
#include <mutex>
#include <utility>

namespace railyard::tuning {
namespace {

struct Entry {
  std::string holder;
  int num_sms = 0;
};

struct Ledger {
  std::mutex mutex;
  std::map<int, std::list<Entry>> entries;  // by device
};

Ledger& ledger() {
  static auto* const only = new Ledger;  // never destroyed: groups may end while the process does
  return *only;
}

class Reservation final : public SmReservation {
 public:
  Reservation(int device, std::list<Entry>::iterator entry) : device_(device), entry_(entry) {}
  ~Reservation() override {
    const std::lock_guard lock(ledger().mutex);
    ledger().entries[device_].erase(entry_);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

 private:
  int device_;
  std::list<Entry>::iterator entry_;
};

}  // namespace

std::unique_ptr<SmReservation> reserve_sms(int device, int available, int num_sms, std::string holder) {
  const std::lock_guard lock(ledger().mutex);
  std::list<Entry>& entries = ledger().entries[device];
  int taken = 0;
  std::string holders;
  for (const Entry& entry : entries) {
    taken += entry.num_sms;
    holders += diagnostics::format("{}{}: {}", holders.empty() ? "" : ", ", entry.holder, entry.num_sms);
  }
  if (num_sms > available - taken) {
    throw Error(
        ErrorCode::unsupported,
        diagnostics::format("{} wants {} SMs of device {}, which has {} with {} reserved ({}); destroy a group, or "
                            "set num_sms lower",
                            holder, num_sms, device, available, taken, holders.empty() ? "nobody" : holders));
  }
  entries.push_back({.holder = std::move(holder), .num_sms = num_sms});
  return std::make_unique<Reservation>(device, std::prev(entries.end()));
}

}  // namespace railyard::tuning
