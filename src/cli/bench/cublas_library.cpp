// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cublas_library.hpp"

#include "cli/bench/shared_library.hpp"

namespace railyard::cli::bench {
namespace {

// cublas_api.h and library_types.h of every CUDA since 11.
constexpr int kSuccess = 0;
constexpr int kNotTransposed = 0;  // CUBLAS_OP_N
constexpr int kBf16 = 14;          // CUDA_R_16BF
constexpr int kComputeFp32 = 68;   // CUBLAS_COMPUTE_32F
constexpr int kAnyAlgorithm = -1;  // CUBLAS_GEMM_DEFAULT

}  // namespace

struct Cublas::Library {
  Library() : file("--beside gemm", {"libcublas.so.13", "libcublas.so.12"}) {
    file.find(create, "cublasCreate_v2");
    file.find(destroy, "cublasDestroy_v2");
    file.find(set_stream, "cublasSetStream_v2");
    file.find(set_sms, "cublasSetSmCountTarget");
    file.find(multiply, "cublasGemmEx");
  }

  void require(int status, const char* what) const {
    if (status != kSuccess) {
      throw Error(ErrorCode::unsupported,
                  diagnostics::format("--beside gemm: {}: cuBLAS answered with status {}", what, status));
    }
  }

  SharedLibrary file;
  int (*create)(void**) = nullptr;
  int (*destroy)(void*) = nullptr;
  int (*set_stream)(void*, cudaStream_t) = nullptr;
  int (*set_sms)(void*, int) = nullptr;
  int (*multiply)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                  const void*, void*, int, int, int, int) = nullptr;
};

Cublas::Cublas(cudaStream_t stream, int sms) : library_(std::make_unique<const Library>()) {
  library_->require(library_->create(&handle_), "beginning");
  library_->require(library_->set_stream(handle_, stream), "choosing a stream");
  library_->require(library_->set_sms(handle_, sms), "choosing SMs");
}

Cublas::~Cublas() { static_cast<void>(library_->destroy(handle_)); }

void Cublas::multiply(int size, const void* a, const void* b, void* c) const {
  const float one = 1.0F;
  const float zero = 0.0F;
  library_->require(library_->multiply(handle_, kNotTransposed, kNotTransposed, size, size, size, &one, a, kBf16, size,
                                       b, kBf16, size, &zero, c, kBf16, size, kComputeFp32, kAnyAlgorithm),
                    "multiplying");
}

}  // namespace railyard::cli::bench
