// SPDX-License-Identifier: Apache-2.0
#include <railyard/types.hpp>

namespace railyard {

std::size_t size_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::fp8_e4m3:
    case DType::uint8:
      return 1;
    case DType::bf16:
    case DType::fp16:
      return 2;
    case DType::fp32:
    case DType::int32:
      return 4;
    case DType::int64:
      return 8;
  }
  return 0;
}

DType element_type(Codec codec) noexcept {
  switch (codec) {
    case Codec::bf16:
      return DType::bf16;
    case Codec::fp16:
      return DType::fp16;
    case Codec::fp32:
      return DType::fp32;
    case Codec::fp8_e4m3:
    case Codec::fp8_e4m3_ue8m0:
      return DType::fp8_e4m3;
  }
  return DType::uint8;
}

int block_size(Codec codec) noexcept { return codec == Codec::fp8_e4m3 || codec == Codec::fp8_e4m3_ue8m0 ? 128 : 0; }

DType scale_type(Codec codec) noexcept { return codec == Codec::fp8_e4m3_ue8m0 ? DType::uint8 : DType::fp32; }

std::string_view name(DType dtype) noexcept {
  switch (dtype) {
    case DType::bf16:
      return "bf16";
    case DType::fp16:
      return "fp16";
    case DType::fp32:
      return "fp32";
    case DType::fp8_e4m3:
      return "fp8_e4m3";
    case DType::uint8:
      return "uint8";
    case DType::int32:
      return "int32";
    case DType::int64:
      return "int64";
  }
  return "?";
}

std::string_view name(Codec codec) noexcept {
  switch (codec) {
    case Codec::bf16:
      return "bf16";
    case Codec::fp16:
      return "fp16";
    case Codec::fp32:
      return "fp32";
    case Codec::fp8_e4m3:
      return "fp8_e4m3";
    case Codec::fp8_e4m3_ue8m0:
      return "fp8_e4m3_ue8m0";
  }
  return "?";
}

std::string_view name(Layout layout) noexcept {
  switch (layout) {
    case Layout::rank_major:
      return "rank_major";
    case Layout::expert_major:
      return "expert_major";
    case Layout::expert_slots:
      return "expert_slots";
  }
  return "?";
}

std::string_view name(Mode mode) noexcept { return mode == Mode::throughput ? "throughput" : "low_latency"; }

std::string_view name(ReductionLevels levels) noexcept { return levels == ReductionLevels::none ? "none" : "rank"; }

std::string_view name(ReductionOrder order) noexcept {
  return order == ReductionOrder::rank_ascending ? "rank_ascending" : "highest_k";
}

std::string_view name(OverflowPolicy policy) noexcept { return policy == OverflowPolicy::error ? "error" : "drop"; }

std::string_view name(TimeoutPolicy policy) noexcept {
  switch (policy) {
    case TimeoutPolicy::error:
      return "error";
    case TimeoutPolicy::mask:
      return "mask";
    case TimeoutPolicy::wait:
      return "wait";
  }
  return "?";
}

std::string_view name(Tail tail) noexcept {
  switch (tail) {
    case Tail::untouched:
      return "untouched";
    case Tail::zero:
      return "zero";
    case Tail::poison:
      return "poison";
  }
  return "?";
}

std::string_view name(GpuHandles handles) noexcept { return handles == GpuHandles::fd ? "fd" : "fabric"; }

std::string_view name(DeviceKind kind) noexcept { return kind == DeviceKind::host ? "host" : "cuda"; }

}  // namespace railyard
