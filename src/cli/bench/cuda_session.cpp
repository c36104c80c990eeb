// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_session.hpp"

#include "cli/bench/cuda_kernels.hpp"
#include "codecs/row_format.hpp"
#include "device/cuda_call.hpp"

#include <array>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

constexpr std::size_t kPitch = 256;
constexpr int kPoison = 0xFF;

std::size_t rounded(std::size_t bytes) { return (bytes + kPitch - 1) / kPitch * kPitch; }

/// From the first to the last byte of one or two dimensions; rows may have a pitch.
std::size_t extent(const ConstTensorView& view) {
  return static_cast<std::size_t>(view.size(0) * view.stride(0)) * size_of(view.dtype());
}

void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
  if (bytes > 0) {
    require_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "a copy");
  }
}

TensorView view_of(Buffer& image, const ConstTensorView& tensor) {
  if (tensor.dimensions() == 1) {
    return {image.data(), tensor.dtype(), {tensor.size(0)}};
  }
  return TensorView::rows(image.data(), tensor.dtype(), tensor.size(0), tensor.size(1), tensor.stride(0));
}

/// What `tensor` holds, copied into `image` as soon as the stream gets there.
ConstTensorView fetch(const ConstTensorView& tensor, Buffer& image, cudaStream_t stream) {
  if (!tensor.defined()) {
    return {};
  }
  if (image.bytes() != extent(tensor)) {
    image = Buffer(extent(tensor));
  }
  copy(image.data(), tensor.data(), extent(tensor), stream);
  return view_of(image, tensor);
}

DigestRegion region_of(const ConstTensorView& tensor, std::int64_t rows) {
  const auto element = static_cast<std::int64_t>(size_of(tensor.dtype()));
  const std::int64_t columns = tensor.dimensions() > 1 ? tensor.size(1) : 1;
  return {.data = tensor.data(), .rows = rows, .row_bytes = columns * element, .pitch = tensor.stride(0) * element};
}

}  // namespace

CudaSession::CudaSession(World& world, const RankStreams& streams, const Options& options, const Payload& payload,
                         int tokens, int slots, int num_sms, int held)
    : Session(world, options, payload, tokens, slots,
              {.device = DeviceKind::cuda, .num_sms = num_sms, .spare_leases = held + 2}),
      streams_(streams),
      memory_(static_cast<std::size_t>(options.ranks)),
      given_(memory_.size(), std::vector<Given>(static_cast<std::size_t>(slots))),
      images_(memory_.size()) {
  for (std::vector<Images>& own : images_) {
    own.resize(static_cast<std::size_t>(slots));
  }
  world.run([this](Rank& rank) {
    upload(rank.index());
    group(rank.index()).set_wait_statistics(this->options().wait_statistics);
  });
}

void CudaSession::upload(int rank) {
  const UseDevice use(streams_.device(rank));
  const cudaStream_t stream = streams_[rank];
  auto& own = given_[static_cast<std::size_t>(rank)];
  const auto entries = static_cast<std::size_t>(tokens()) * static_cast<std::size_t>(this->options().top_k);
  const Slot& first = slot(rank, 0);
  const std::array sizes = {first.x.bytes(), first.scales.bytes(), entries * sizeof(std::int32_t),
                            entries * sizeof(float), first.out.bytes()};
  std::size_t per_slot = 0;
  for (const std::size_t size : sizes) {
    per_slot += rounded(size);
  }
  DeviceMemory& memory = memory_[static_cast<std::size_t>(rank)];
  memory = DeviceMemory(streams_.device(rank), per_slot * own.size() + kPitch);
  std::byte* next = memory.data() + kPitch;  // the digests' word is in front
  const auto take = [&next](std::size_t bytes) {
    std::byte* const taken = next;
    next += rounded(bytes);
    return taken;
  };
  for (int index = 0; index < num_slots(); ++index) {
    const Slot& source = slot(rank, index);
    Given& copies = own[static_cast<std::size_t>(index)];
    copies = {.x = take(sizes[0]),
              .scales = take(sizes[1]),
              .ids = take(sizes[2]),
              .weights = take(sizes[3]),
              .out = take(sizes[4])};
    copy(copies.x, source.x.data(), sizes[0], stream);
    copy(copies.scales, source.scales.data(), sizes[1], stream);
    copy(copies.ids, source.choices.ids.data(), sizes[2], stream);
    copy(copies.weights, source.choices.weights.data(), sizes[3], stream);
    poison_output(rank, index);
  }
  require_cuda(cudaStreamSynchronize(stream), "uploading inputs");
}

Arguments CudaSession::arguments(int rank, int slot_index) const {
  const Given& copies = given(rank, slot_index);
  const Arguments host = Session::arguments(rank, slot_index);
  const Device device{DeviceKind::cuda, streams_.device(rank)};
  const auto there = [&device](const ConstTensorView& view, std::byte* data) {
    return TensorView(data, view.dtype(), {view.size(0), view.size(1)}, device);
  };
  return {.x = there(host.x, copies.x),
          .scales = host.scales.defined() ? there(host.scales, copies.scales) : TensorView(),
          .ids = there(host.ids, copies.ids),
          .weights = there(host.weights, copies.weights),
          .out = there(host.out, copies.out)};
}

void CudaSession::fetch_delivery(int rank, int slot_index) {
  const UseDevice use(streams_.device(rank));
  const cudaStream_t stream = streams_[rank];
  Slot& own = slot(rank, slot_index);
  Images& image = images(rank, slot_index);
  const Dispatched& received = own.received;
  own.delivery = {.rows = fetch(received.rows, image.rows, stream),
                  .scales = fetch(received.scales, image.scales, stream),
                  .weights = fetch(received.weights, image.weights, stream),
                  .expert_ids = fetch(received.route.expert_ids(), image.expert_ids, stream),
                  .origins = fetch(received.route.origins(), image.origins, stream),
                  .route = received.route};
  require_cuda(cudaStreamSynchronize(stream), "copying received rows to the host");
}

void CudaSession::fetch_output(int rank, int slot_index) {
  const UseDevice use(streams_.device(rank));
  Buffer& out = slot(rank, slot_index).out;
  copy(out.data(), output(rank, slot_index), out.bytes(), streams_[rank]);
  require_cuda(cudaStreamSynchronize(streams_[rank]), "copying an output to the host");
}

TensorView CudaSession::begin_y(int rank, int slot_index) {
  const Tensor& y = slot(rank, slot_index).y;
  Buffer& image = images(rank, slot_index).y;
  image = Buffer(extent(y));
  return view_of(image, y);
}

void CudaSession::end_y(int rank, int slot_index) {
  const UseDevice use(streams_.device(rank));
  copy(slot(rank, slot_index).y.data(), images(rank, slot_index).y.data(), extent(slot(rank, slot_index).y),
       streams_[rank]);
  require_cuda(cudaStreamSynchronize(streams_[rank]), "uploading expert outputs");
}

Traffic CudaSession::traffic() const {
  const auto ranks = static_cast<std::size_t>(options().ranks);
  std::vector<std::vector<double>> rows(ranks, std::vector<double>(ranks));
  std::vector<int> devices;
  for (std::size_t destination = 0; destination < ranks; ++destination) {
    const int rank = static_cast<int>(destination);
    devices.push_back(streams_.device(rank));
    for (int index = 0; index < num_slots(); ++index) {
      for (const PlacedRow& row : arrivals_at(options(), placement(), choices(index), rank, capacity()).rows) {
        rows[static_cast<std::size_t>(row.source)][destination] += 1.0 / num_slots();
      }
    }
  }
  return {std::move(rows), std::move(devices)};
}

void CudaSession::poison(int rank, const Dispatched& received, bool with_route) const {
  const UseDevice use(streams_.device(rank));
  std::vector<TensorView> written{received.rows, received.scales, received.weights};
  if (with_route) {
    written.insert(written.end(), {received.route.expert_ids(), received.route.origins()});
  }
  for (const TensorView& tensor : written) {
    if (tensor.defined()) {
      require_cuda(cudaMemsetAsync(tensor.data(), kPoison, extent(tensor), streams_[rank]), "poisoning rows");
    }
  }
}

void CudaSession::poison_output(int rank, int slot_index) const {
  const UseDevice use(streams_.device(rank));
  require_cuda(cudaMemsetAsync(output(rank, slot_index), kPoison, slot(rank, slot_index).out.bytes(), streams_[rank]),
               "poisoning an output");
}

std::uint64_t* CudaSession::digest_word(int rank) const {
  std::byte* const word = memory_[static_cast<std::size_t>(rank)].data();
  require_cuda(cudaMemsetAsync(word, 0, sizeof(std::uint64_t), streams_[rank]), "clearing a digest");
  return static_cast<std::uint64_t*>(static_cast<void*>(word));
}

namespace {

std::uint64_t read_digest(const std::uint64_t* word, cudaStream_t stream) {
  std::uint64_t value = 0;
  copy(&value, word, sizeof(value), stream);
  require_cuda(cudaStreamSynchronize(stream), "reading a digest");
  return value;
}

}  // namespace

std::uint64_t CudaSession::digest(int rank, const Dispatched& received, std::int64_t num_rows) const {
  const UseDevice use(streams_.device(rank));
  std::uint64_t* const word = digest_word(rank);
  std::uint64_t salt = 0;
  const auto add = [&](const ConstTensorView& tensor, std::int64_t rows) {
    if (tensor.defined()) {
      add_digest(streams_[rank], region_of(tensor, rows), salt, word);
    }
    ++salt;
  };
  add(received.rows, num_rows);
  add(received.scales, num_rows);
  for (const ConstTensorView& tensor : {ConstTensorView(received.weights), ConstTensorView(received.route.expert_ids()),
                                        ConstTensorView(received.route.origins())}) {
    add(tensor, tensor.defined() ? tensor.size(0) : 0);  // written to the end
  }
  return read_digest(word, streams_[rank]);
}

std::uint64_t CudaSession::output_digest(int rank, int slot_index) const {
  const UseDevice use(streams_.device(rank));
  std::uint64_t* const word = digest_word(rank);
  const TensorView out = arguments(rank, slot_index).out;
  add_digest(streams_[rank], region_of(out, out.size(0)), 0, word);
  return read_digest(word, streams_[rank]);
}

}  // namespace railyard::cli::bench
