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
  // Implicit: the legacy default stream, while a stream that it waits for is captured. Work there would end the
  // capture.
  const cudaError_t error = cudaStreamIsCapturing(stream, &status);
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return error == cudaErrorStreamCaptureImplicit;
  }
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace railyard::device
