// SPDX-License-Identifier: Apache-2.0
// Symbol visibility. The library is built with hidden visibility; RAILYARD_API marks what users may link against.
#pragma once

#if defined(__GNUC__)
#define RAILYARD_API __attribute__((visibility("default")))
#else
#define RAILYARD_API
#endif
