// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_link.hpp"

#include "cli/bench/buffer.hpp"
#include "cli/bench/cuda_copy.hpp"
#include "cli/bench/cuda_kernels.hpp"
#include "cli/bench/cuda_resources.hpp"
#include "cli/bench/cuda_timing.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

constexpr int kMostSlots = 64;

int property(int device, cudaDeviceAttr attribute) {
  int value = 0;
  require_cuda(cudaDeviceGetAttribute(&value, attribute, device), "a property of a GPU");
  return value;
}

/// Sources and destinations on every GPU, in several slots that together exceed the L2 twice.
class LinkMemory {
 public:
  explicit LinkMemory(const LinkPlan& plan) : bytes_(static_cast<std::size_t>(plan.bytes)), streams_(plan.devices) {
    const auto cache = static_cast<std::size_t>(property(plan.devices.front(), cudaDevAttrL2CacheSize));
    slots_ = static_cast<int>(std::clamp<std::size_t>(2 * cache / std::max<std::size_t>(bytes_, 1) + 1, 2, kMostSlots));
    Buffer pattern(bytes_);
    Random random(1, 77);
    for (const int device : plan.devices) {
      const UseDevice use(device);
      sources_.emplace_back(device, bytes_ * static_cast<std::size_t>(slots_));
      destinations_.emplace_back(device, bytes_ * static_cast<std::size_t>(slots_));
      digests_.emplace_back(device, sizeof(std::uint64_t));
      for (int slot = 0; slot < slots_; ++slot) {
        fill_random(pattern.data(), DType::uint8, slot == 0 ? bytes_ : std::min<std::size_t>(bytes_, 4096), random);
        require_cuda(cudaMemcpy(at(sources_.back(), slot), pattern.data(), bytes_, cudaMemcpyHostToDevice), "a copy");
      }
    }
  }

  [[nodiscard]] int size() const { return streams_.size(); }
  [[nodiscard]] const RankStreams& streams() const { return streams_; }
  [[nodiscard]] std::byte* source(int gpu, int copy) { return at(sources_[index(gpu)], copy % slots_); }
  [[nodiscard]] std::byte* destination(int gpu, int copy) { return at(destinations_[index(gpu)], copy % slots_); }

  void poison() {
    for (int gpu = 0; gpu < size(); ++gpu) {
      const UseDevice use(streams_.device(gpu));
      require_cuda(cudaMemset(destinations_[index(gpu)].data(), 0xFF, destinations_[index(gpu)].bytes()), "poisoning");
      require_cuda(cudaDeviceSynchronize(), "poisoning");
    }
  }
  /// Whether the first `copies` slots of `gpu` have what `from` has.
  [[nodiscard]] bool equal(int gpu, int from, int copies) {
    bool same = true;
    for (int slot = 0; slot < std::min(copies, slots_); ++slot) {
      same = same && digest(gpu, destination(gpu, slot)) == digest(from, source(from, slot));
    }
    return same;
  }

 private:
  static std::size_t index(int gpu) { return static_cast<std::size_t>(gpu); }
  [[nodiscard]] std::byte* at(const DeviceMemory& memory, int slot) const {
    return memory.data() + static_cast<std::size_t>(slot) * bytes_;
  }
  std::uint64_t digest(int gpu, const std::byte* data) {
    const UseDevice use(streams_.device(gpu));
    auto* const word = static_cast<std::uint64_t*>(static_cast<void*>(digests_[index(gpu)].data()));
    const auto bytes = static_cast<std::int64_t>(bytes_);
    std::uint64_t value = 0;
    require_cuda(cudaMemsetAsync(word, 0, sizeof(value), streams_[gpu]), "clearing a digest");
    add_digest(streams_[gpu], {.data = data, .rows = 1, .row_bytes = bytes, .pitch = bytes}, 0, word);
    require_cuda(cudaMemcpyAsync(&value, word, sizeof(value), cudaMemcpyDefault, streams_[gpu]), "reading a digest");
    require_cuda(cudaStreamSynchronize(streams_[gpu]), "reading a digest");
    return value;
  }

  std::size_t bytes_;
  int slots_ = 0;
  RankStreams streams_;
  std::vector<DeviceMemory> sources_;
  std::vector<DeviceMemory> destinations_;
  std::vector<DeviceMemory> digests_;
};

class LinkMeasurement {
 public:
  explicit LinkMeasurement(const LinkPlan& plan)
      : plan_(plan), memory_(plan), world_(World::threads(static_cast<int>(plan.devices.size()))) {}

  /// Between each GPU and the `distance`-th after it; whose memory is read is `pull`'s to say.
  void on_sms(const char* operation, CopyMethod method, int sms, int distance, bool pull) {
    add(operation, std::string(name(method)), sms, pull ? distance : 0, pull ? 0 : distance,
        [&, this](std::byte* to, const std::byte* from, int gpu) {
          copy_on_sms(memory_.streams()[gpu], to, from, plan_.bytes, sms, method);
        });
  }
  void by_engine(const char* operation, int distance) {
    add(operation, "cudaMemcpyPeerAsync", 0, 0, distance, [&, this](std::byte* to, const std::byte* from, int gpu) {
      const RankStreams& streams = memory_.streams();
      require_cuda(cudaMemcpyPeerAsync(to, streams.device(after(gpu, distance)), from, streams.device(gpu),
                                       static_cast<std::size_t>(plan_.bytes), streams[gpu]),
                   "a peer copy");
    });
  }
  [[nodiscard]] std::vector<LinkFigure> figures() && { return std::move(figures_); }

  /// What each GPU writes to the `distance`-th after it.
  void pairs_at(int distance, std::vector<PairRate>& pairs) {
    memory_.poison();
    const std::vector<Series> times =
        time_calls_of_ranks(world_, memory_.streams(), plan_.warmup, plan_.iterations, [&](int gpu, int number) {
          copy_on_sms(memory_.streams()[gpu], memory_.destination(after(gpu, distance), number),
                      memory_.source(gpu, number), plan_.bytes, plan_.sms.front(), CopyMethod::bulk);
        });
    for (int gpu = 0; gpu < memory_.size(); ++gpu) {
      const PairRate pair{memory_.streams().device(gpu), memory_.streams().device(after(gpu, distance)),
                          rate(times[static_cast<std::size_t>(gpu)])};
      pairs.push_back(pair);
      if (memory_.equal(after(gpu, distance), gpu, plan_.warmup + plan_.iterations)) continue;
      throw Error(ErrorCode::unsupported,
                  diagnostics::format("copies from cuda:{} to cuda:{} differ from their sources", pair.from, pair.to));
    }
  }

 private:
  [[nodiscard]] double rate(const Series& series) const {
    return static_cast<double>(plan_.bytes) / series.median() * 1e-3;
  }
  [[nodiscard]] int after(int gpu, int distance) const { return (gpu + distance) % memory_.size(); }

  template <typename Copy>
  void add(const char* operation, std::string algorithm, int sms, int from_distance, int to_distance,
           const Copy& copy) {
    memory_.poison();
    const auto submit = [&](int gpu, int number) {
      copy(memory_.destination(after(gpu, to_distance), number), memory_.source(after(gpu, from_distance), number),
           gpu);
    };
    const Series series = time_calls(world_, memory_.streams(), plan_.warmup, plan_.iterations, submit);
    bool verified = true;
    for (int gpu = 0; gpu < memory_.size(); ++gpu) {
      verified = verified &&
                 memory_.equal(after(gpu, to_distance), after(gpu, from_distance), plan_.warmup + plan_.iterations);
    }
    figures_.push_back({.rate = {operation, std::move(algorithm), sms, rate(series)},
                        .times = {series.median(), series.p99()},
                        .verified = verified});
  }

  const LinkPlan& plan_;
  LinkMemory memory_;
  World world_;  // a thread for each GPU
  std::vector<LinkFigure> figures_;
};

}  // namespace

void allow_peer_access(const std::vector<int>& devices) {
  for (const int device : devices) {
    const UseDevice use(device);
    for (const int peer : devices) {
      if (peer == device) {
        continue;
      }
      int can = 0;
      require_cuda(cudaDeviceCanAccessPeer(&can, device, peer), "asking about a peer");
      if (can == 0) {
        throw Error(ErrorCode::unsupported,
                    diagnostics::format("cuda:{} cannot reach the memory of cuda:{}", device, peer));
      }
      const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
      if (error == cudaErrorPeerAccessAlreadyEnabled) {
        static_cast<void>(cudaGetLastError());  // it is not sticky, but it stays to be asked for
      } else {
        require_cuda(error, "reaching a peer's memory");
      }
    }
  }
}

std::vector<LinkFigure> measure_links(const LinkPlan& plan) {
  allow_peer_access(plan.devices);
  LinkMeasurement measurement(plan);
  const int all_sms = property(plan.devices.front(), cudaDevAttrMultiProcessorCount);
  if (plan.devices.size() > 1) {
    for (const CopyMethod method : {CopyMethod::bulk, CopyMethod::vector}) {
      for (const int sms : plan.sms) {
        measurement.on_sms("push", method, std::min(sms, all_sms), 1, false);
        measurement.on_sms("pull", method, std::min(sms, all_sms), 1, true);
      }
    }
    measurement.by_engine("copy_engine", 1);
  }
  for (const CopyMethod method : {CopyMethod::bulk, CopyMethod::vector}) {
    measurement.on_sms("local_copy", method, all_sms, 0, false);
  }
  measurement.by_engine("local_copy", 0);
  return std::move(measurement).figures();
}

std::vector<PairRate> measure_pairs(const LinkPlan& plan) {
  allow_peer_access(plan.devices);
  LinkMeasurement measurement(plan);
  std::vector<PairRate> pairs;
  for (int distance = 1; distance < static_cast<int>(plan.devices.size()); ++distance) {
    measurement.pairs_at(distance, pairs);
  }
  return pairs;
}

std::vector<MeasuredRate> best_rates(const std::vector<LinkFigure>& figures, int most_sms) {
  std::vector<MeasuredRate> best;
  for (const LinkFigure& figure : figures) {
    if (figure.rate.operation != "local_copy" && figure.rate.sms > most_sms) {
      continue;
    }
    const auto same = std::find_if(best.begin(), best.end(),
                                   [&](const MeasuredRate& rate) { return rate.operation == figure.rate.operation; });
    if (same == best.end()) {
      best.push_back(figure.rate);
    } else if (same->gbps < figure.rate.gbps) {
      *same = figure.rate;
    }
  }
  return best;
}

}  // namespace railyard::cli::bench
