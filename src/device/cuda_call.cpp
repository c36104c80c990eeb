// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

namespace railyard::device {

void require_cuda(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // or the next launch would report it again
  const ErrorCode code = error == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::unsupported;
  throw Error(code, diagnostics::format("{}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error)));
}

bool is_capturing(cudaStream_t stream) noexcept {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  // Asking about the legacy default stream while another stream is captured is an error of its own; it is not captured.
  if (cudaStreamIsCapturing(stream, &status) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return false;
  }
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace railyard::device
