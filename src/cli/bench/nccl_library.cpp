// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/nccl_library.hpp"

#include "cli/bench/shared_library.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <cstdlib>
#include <thread>

namespace railyard::cli::bench {
namespace {

// nccl.h of every NCCL 2: ncclResult_t and ncclDataType_t are enumerations; ncclSuccess is 0, ncclInt8 is 0.
using NcclResult = int;
using NcclType = int;
constexpr NcclResult kSuccess = 0;
constexpr NcclType kBytes = 0;

}  // namespace

struct NcclRanks::Library {
  Library() : file("--peers nccl", {"libnccl.so.2"}) {
    file.find(get_version, "ncclGetVersion");
    file.find(error_text, "ncclGetErrorString");
    file.find(make_all, "ncclCommInitAll");
    file.find(destroy, "ncclCommDestroy");
    file.find(group_start, "ncclGroupStart");
    file.find(group_end, "ncclGroupEnd");
    file.find(send, "ncclSend");
    file.find(receive, "ncclRecv");
  }

  void require(NcclResult result, const char* what) const {
    if (result != kSuccess) {
      throw Error(ErrorCode::unsupported, diagnostics::format("--peers nccl: {}: {}", what, error_text(result)));
    }
  }

  SharedLibrary file;
  NcclResult (*get_version)(int*) = nullptr;
  const char* (*error_text)(NcclResult) = nullptr;
  NcclResult (*make_all)(ncclComm**, int, const int*) = nullptr;
  NcclResult (*destroy)(ncclComm*) = nullptr;
  NcclResult (*group_start)() = nullptr;
  NcclResult (*group_end)() = nullptr;
  NcclResult (*send)(const void*, std::size_t, NcclType, int, ncclComm*, cudaStream_t) = nullptr;
  NcclResult (*receive)(void*, std::size_t, NcclType, int, ncclComm*, cudaStream_t) = nullptr;
};

NcclRanks::NcclRanks(const std::vector<int>& devices) : devices_(devices), communicators_(devices.size()) {
  // With ranks as threads and its buffers from virtual memory management, which is its default, NCCL 2.28 does not end
  // on two H200: the first exchange waits for ever. Rows still go straight to the peer's memory without it.
  static_cast<void>(setenv("NCCL_CUMEM_ENABLE", "0", 0));
  library_ = std::make_unique<const Library>();
  library_->require(library_->make_all(communicators_.data(), static_cast<int>(devices.size()), devices.data()),
                    "making communicators");
}

NcclRanks::~NcclRanks() {
  // Each waits for the others of its process.
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < communicators_.size(); ++rank) {
    threads.emplace_back([this, rank] {
      const device::UseDevice use(devices_[rank]);
      static_cast<void>(library_->destroy(communicators_[rank]));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

std::string NcclRanks::version() const {
  int version = 0;
  library_->require(library_->get_version(&version), "asking for the version");
  return diagnostics::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

void NcclRanks::begin() const { library_->require(library_->group_start(), "beginning an exchange"); }

void NcclRanks::send(int rank, const void* data, std::size_t bytes, int peer, cudaStream_t stream) const {
  if (bytes > 0) {
    ncclComm* const communicator = communicators_[static_cast<std::size_t>(rank)];
    library_->require(library_->send(data, bytes, kBytes, peer, communicator, stream), "sending");
  }
}

void NcclRanks::receive(int rank, void* data, std::size_t bytes, int peer, cudaStream_t stream) const {
  if (bytes > 0) {
    ncclComm* const communicator = communicators_[static_cast<std::size_t>(rank)];
    library_->require(library_->receive(data, bytes, kBytes, peer, communicator, stream), "receiving");
  }
}

void NcclRanks::end() const { library_->require(library_->group_end(), "an exchange"); }

}  // namespace railyard::cli::bench
