// SPDX-License-Identifier: Apache-2.0
// Who has reserved the SMs of a device. Kernels that wait for each other must all be resident at once, so what could
// wait together must fit together.
#pragma once

#include <memory>
#include <string>

namespace railyard::tuning {

/// SMs of one device, taken as long as this lives. Counts within this process only.
class SmReservation {
 public:
  virtual ~SmReservation() = default;
};

/// Throws RY-UNSUPPORTED naming what the holders have and what is free, if `num_sms` of the device's `available` ones
/// are not. Thread-safe.
[[nodiscard]] std::unique_ptr<SmReservation> reserve_sms(int device, int available, int num_sms, std::string holder);

}  // namespace railyard::tuning
