// SPDX-License-Identifier: Apache-2.0
// The baseline, one element at a time, for any processor. Also what the other levels are tested against.
#include "codecs/element.hpp"
#include "codecs/implementation.hpp"
#include "codecs/table.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>

namespace railyard::codecs {
namespace {

template <class Storage>
Storage load(const void* base, int index) noexcept {
  Storage value;
  std::memcpy(&value, static_cast<const std::byte*>(base) + static_cast<std::size_t>(index) * sizeof(Storage),
              sizeof(Storage));
  return value;
}

template <class Storage>
void store(void* base, int index, Storage value) noexcept {
  std::memcpy(static_cast<std::byte*>(base) + static_cast<std::size_t>(index) * sizeof(Storage), &value,
              sizeof(Storage));
}

template <DType T>
float load_float(const void* base, int index) noexcept {
  return Element<T>::to_float(load<typename Element<T>::Storage>(base, index));
}

template <DType T>
void store_float(void* base, int index, float value) noexcept {
  store(base, index, Element<T>::from_float(value));
}

struct ScalarKernels {
  template <DType From, DType To>
  static void convert(const void* source, void* destination, int hidden) noexcept {
    if constexpr (From == To) {
      std::memcpy(destination, source, static_cast<std::size_t>(hidden) * sizeof(typename Element<To>::Storage));
    } else {
      for (int i = 0; i < hidden; ++i) {
        store_float<To>(destination, i, load_float<From>(source, i));
      }
    }
  }

  template <class Format, DType Input>
  static void encode_blocks(const void* source, void* row, void* scales, int hidden) noexcept {
    for (int first = 0, index = 0; first < hidden; first += Format::kBlock, ++index) {
      const int last = hidden - first < Format::kBlock ? hidden : first + Format::kBlock;
      float amax = kMinAmax;
      for (int i = first; i < last; ++i) {
        const float magnitude = std::fabs(load_float<Input>(source, i));
        amax = magnitude > amax ? magnitude : amax;  // a NaN compares false
      }
      const auto block = Format::block_of(amax);
      store(scales, index, block.scale);
      for (int i = first; i < last; ++i) {
        store(row, i, float_to_e4m3(load_float<Input>(source, i) * block.multiplier));
      }
    }
  }

  template <class Format, DType Output>
  static void decode_blocks(const void* row, const void* scales, void* destination, int hidden) noexcept {
    for (int i = 0; i < hidden; ++i) {
      const float scale = Format::scale_value(load<typename Format::Scale>(scales, i / Format::kBlock));
      store_float<Output>(destination, i, e4m3_to_float(load<std::uint8_t>(row, i)) * scale);
    }
  }

  template <DType Input>
  static void accumulate(float* accumulator, const void* row, int hidden) noexcept {
    for (int i = 0; i < hidden; ++i) {
      store(accumulator, i, load<float>(accumulator, i) + load_float<Input>(row, i));
    }
  }

  template <DType Input>
  static void accumulate_weighted(float* accumulator, float weight, const void* row, int hidden) noexcept {
    for (int i = 0; i < hidden; ++i) {
      store(accumulator, i, std::fma(weight, load_float<Input>(row, i), load<float>(accumulator, i)));
    }
  }

  template <DType Output>
  static void round(const float* accumulator, void* row, int hidden) noexcept {
    for (int i = 0; i < hidden; ++i) {
      store_float<Output>(row, i, load<float>(accumulator, i));
    }
  }

  template <DType Input, DType Output, Stores>
  static void sum(const void* const* rows, const float* weights, int count, const float* initial, void* out,
                  int hidden) noexcept {
    for (int i = 0; i < hidden; ++i) {
      float accumulator = initial != nullptr ? load<float>(initial, i) : 0.0F;
      for (int r = 0; r < count; ++r) {
        const float term = load_float<Input>(rows[r], i);
        accumulator = weights != nullptr ? std::fma(weights[r], term, accumulator) : accumulator + term;
      }
      store_float<Output>(out, i, accumulator);
    }
  }

  static void copy(const Destinations& destinations, const void* source, std::size_t bytes) noexcept {
    for (const std::span<void* const> part : {destinations.cached, destinations.streamed}) {
      for (void* destination : part) {
        std::memcpy(destination, source, bytes);
      }
    }
  }
};

}  // namespace

const Implementation& scalar_implementation() noexcept {
  static constexpr Implementation kTable = Table<ScalarKernels>::make();
  return kTable;
}

}  // namespace railyard::codecs
