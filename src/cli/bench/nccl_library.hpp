// SPDX-License-Identifier: Apache-2.0
// libnccl.so.2, found when it is asked for: the few functions of its stable interface that an all-to-all needs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

struct ncclComm;  // NOLINT(readability-identifier-naming): the name that NCCL has

namespace railyard::cli::bench {

/// One communicator per GPU, in one process.
class NcclRanks {
 public:
  /// Throws Error{unsupported}: no libnccl.so.2, or one without these functions; or what NCCL says.
  explicit NcclRanks(const std::vector<int>& devices);
  ~NcclRanks();
  NcclRanks(const NcclRanks&) = delete;
  NcclRanks& operator=(const NcclRanks&) = delete;

  /// Such as "2.27.3".
  [[nodiscard]] std::string version() const;

  // In the rank's thread, the sends and receives of one exchange between begin and end. Bytes of device memory.
  void begin() const;
  void send(int rank, const void* data, std::size_t bytes, int peer, cudaStream_t stream) const;
  void receive(int rank, void* data, std::size_t bytes, int peer, cudaStream_t stream) const;
  void end() const;

 private:
  struct Library;
  std::unique_ptr<const Library> library_;
  std::vector<int> devices_;
  std::vector<ncclComm*> communicators_;
};

}  // namespace railyard::cli::bench
