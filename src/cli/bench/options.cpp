// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/options.hpp"

#include "cli/names.hpp"
#include "cli/numbers.hpp"
#include "diagnostics/format.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <optional>

namespace railyard::cli::bench {
namespace {

constexpr int kMostSms = 64;  // GroupOptions::num_sms

constexpr const char* kHowOnTheHost =
    R"(Every result is verified, then all ranks are timed together; 'x limit' is the time over that of a memcpy of the same
bytes by as many threads, in turn with it. Buffers rotate through more than the caches, unless --reuse-buffers.

Examples:
  railyard bench low-latency --tokens 1,8,32,128 --json result.json
  railyard bench low-latency --layout expert_slots --codec fp8_e4m3
  railyard bench low-latency --launch processes --peers mpi --tokens 16 --reuse-buffers)";
constexpr const char* kThroughputFooter =
    R"(Every result is verified against the reference before it is timed.
  host  all ranks at once, in turn with a memcpy of the same bytes by as many threads, which is the limit; buffers
        rotate through more than the caches, unless --reuse-buffers
  cuda  as a graph of at least eight operations, replayed by all ranks together, and as single calls between events;
        inputs rotate through more than twice the L2; outputs are compared again afterwards. The limit is the time of
        the same bytes at the rate of the link (push for dispatch, pull for combine), or of local copies between ranks
        of one GPU, measured in the same run; 'x limit' is the time over it.

Examples:
  railyard bench throughput --explain
  railyard bench throughput --layout expert_major --codec fp8_e4m3 --routing zipf --skew 1.2
  railyard bench throughput --launch processes --peers mpi       beside an MPI program, which it starts
  railyard bench throughput --device cuda --experts 256 --codec fp8_e4m3 --json result.json
  railyard bench throughput --device cuda --experts 256 --sms 4,8,12,16,20,24 --plot sms.svg
  railyard bench throughput --device cuda --experts 256 --tokens 128,512,2048,8192 --peers nccl --plot tokens.svg
  railyard bench throughput --device cuda --experts 256 --beside gemm    beside a matrix product on the other SMs
  railyard bench throughput --device cuda --ranks 4 --devices 0    four virtual ranks on one GPU)";
constexpr const char* kLinkFooter =
    R"(  host  memcpy by a thread per rank, a flag between two threads, FP8 encoding
  cuda  copies by so many SMs to (push) and from (pull) the next GPU, by bulk copies and by loads and stores, and by a
        copy engine, all GPUs at once so that both directions are busy; copies within a GPU; a flag's way between two
        GPUs, or between two blocks where there is one. A copy has the bytes of --tokens rows of --hidden BF16 elements.

Examples:
  railyard bench link
  railyard bench link --device cuda --plot link.svg
  railyard bench link --device cuda --devices 0,1 --sms 1,4,16,64 --json link.json)";

/// What the parser fills: names are looked up afterwards.
struct Parsed {
  Options options;
  std::string layout{railyard::name(Layout::rank_major)};
  std::string codec{railyard::name(Codec::bf16)};
  std::string routing{name(Routing::uniform)};
  std::optional<double> skew;
};

/// What other builds or later versions have, and this one has not.
void refuse_absent(const Options& options) {
  const auto refuse = [](std::string_view what, std::string_view instead) {
    throw UsageError(diagnostics::format("{} is not supported; {}", what, instead), ErrorCode::unsupported);
  };
  const bool cuda = options.device_kind() == DeviceKind::cuda;
#if !defined(RAILYARD_CUDA)
  if (cuda) throw UsageError("--device cuda is not in this build; it has host", ErrorCode::unsupported);
#endif
  if (cuda && options.launch == "processes") {
    refuse("--launch processes with --device cuda", "threads are");
  }
  if (cuda && options.mode() == Mode::low_latency) {
    refuse("low-latency with --device cuda", "it is with --device host");
  }
  if (cuda && options.explain) {
    refuse("--explain with --device cuda", "it is with --device host");
  }
  if (!options.beside.empty() && (!cuda || options.subject != Subject::throughput)) {
    refuse(diagnostics::format("--beside {} with {} on {}", options.beside, name(options.subject), options.device),
           "it is with throughput and --device cuda");
  }
  if (options.wait_statistics && (!cuda || options.subject != Subject::throughput)) {
    refuse(diagnostics::format("--wait-statistics with {} on {}", name(options.subject), options.device),
           "it is with throughput and --device cuda; the host always keeps them");
  }
  if (options.reuse_buffers && (cuda || options.subject == Subject::link)) {
    refuse(diagnostics::format("--reuse-buffers with {} on {}", name(options.subject), options.device),
           "it is with throughput and low-latency on --device host");
  }
  for (const std::string& peer : options.peers) {
    if (cuda ? peer != "nccl" : peer != "memcpy" && peer != "mpi") {
      refuse(diagnostics::format("the peer '{}' of --peers with --device {}", peer, options.device),
             cuda ? "nccl is" : "memcpy and mpi are");
    }
  }
  if (cuda && !options.peers.empty() && options.subject == Subject::link) {
    refuse("--peers with link on cuda", "they are with throughput");
  }
  if (cuda && options.subject == Subject::throughput) {
    for (const int sms : options.sms) {
      if (sms > kMostSms) {
        throw UsageError(diagnostics::format("--sms is {}; an operation takes at most {}", sms, kMostSms));
      }
    }
  }
  if (!cuda && !options.devices.empty()) {
    throw UsageError(diagnostics::format("--devices is {}; it belongs to --device cuda", options.devices.front()));
  }
  if (!cuda && !options.sms.empty()) {
    throw UsageError(diagnostics::format("--sms is {}; the host device has no SMs: it belongs to --device cuda",
                                         options.sms.front()),
                     ErrorCode::unsupported);
  }
}

/// What the peer mpi compares with.
void check_mpi(const Options& options) {
  if (options.launch != "processes") {
    throw UsageError("--peers mpi has ranks as processes; --launch is " + options.launch + " and must be processes");
  }
  if (options.subject == Subject::link) {
    throw UsageError("--peers mpi has no link; throughput and low-latency have it", ErrorCode::unsupported);
  }
  if (options.layout != Layout::rank_major || block_size(options.codec) > 0) {
    throw UsageError(diagnostics::format(
        "--peers mpi exchanges rank_major rows of bf16, fp16 or fp32; --layout is {}, --codec is {}",
        railyard::name(options.layout), railyard::name(options.codec)));
  }
}

Options checked(const Parsed& parsed) {
  Options options = parsed.options;
  refuse_absent(options);
  options.layout = value_of("--layout", parsed.layout, kLayouts);
  options.codec = value_of("--codec", parsed.codec, kCodecs);
  options.choose(parsed.routing, parsed.skew);
  if (options.hidden % 8 != 0) {
    throw UsageError(diagnostics::format("--hidden is {}; it takes multiples of 8", options.hidden));
  }
  if (options.tokens.empty()) {
    const bool large = options.device_kind() == DeviceKind::cuda;
    options.tokens = {options.subject == Subject::low_latency ? 128 : large ? 4096 : 1024};
  }
  if (options.peers_include("nccl") && options.layout != Layout::rank_major) {
    throw UsageError("--peers nccl exchanges rank_major rows; --layout is " + parsed.layout);
  }
  if (options.peers_include("mpi")) {
    check_mpi(options);
  }
  return options;
}

void add_options_of(CLI::App& command, Parsed& parsed) {
  Options& options = parsed.options;
  command.add_option("--ranks", options.ranks, "Ranks that work at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command.add_option("--launch", options.launch, "How ranks run: threads or processes")
      ->capture_default_str()
      ->check(CLI::IsMember({"threads", "processes"}));
  command.add_option("--device", options.device, "What they run on: host or cuda")
      ->capture_default_str()
      ->check(CLI::IsMember({"host", "cuda"}));
  command
      .add_option("--tokens", options.tokens,
                  "Tokens per rank; several values make a sweep (default 1024, cuda 4096; low-latency 128)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--hidden", options.hidden, "Elements of a token's row")
      ->capture_default_str()
      ->check(CLI::Range(8, 1 << 20));
  command.add_option("--experts", options.experts, "Experts, spread over the ranks")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--top-k", options.top_k, "Experts per token")->capture_default_str()->check(CLI::Range(1, 32));
  command.add_option("--layout", parsed.layout, "How received rows are placed: " + names_of(kLayouts))
      ->capture_default_str();
  command.add_option("--codec", parsed.codec, "How rows travel: " + names_of(kCodecs))->capture_default_str();
  command.add_option("--routing", parsed.routing, "How tokens choose experts: " + names_of(kRoutings))
      ->capture_default_str();
  command.add_option("--skew", parsed.skew, "Exponent of --routing zipf (default 1)")->check(real_from(0.0, kMostSkew));
  command
      .add_option("--devices", options.devices,
                  "GPUs, for the ranks in turn; fewer than ranks: virtual ranks (default: all)")
      ->delimiter(',')
      ->check(CLI::Range(0, 1023));
  command
      .add_option("--sms", options.sms,
                  "SMs that an operation may use; several values make a sweep (cuda; default: the library's choice)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  command.add_option("--seed", options.seed, "Of rows, ids and weights")->capture_default_str()->check(any_seed());
  command.add_option("--warmup", options.warmup, "Iterations before measuring")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  command.add_option("--iterations", options.iterations, "Iterations measured, for median and p99")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  command
      .add_option("--beside", options.beside,
                  "Measure again beside this work, on the SMs that operations leave: gemm (cuda, throughput)")
      ->check(CLI::IsMember({"gemm"}));
  command.add_flag("--wait-statistics", options.wait_statistics,
                   "Measure operations that keep wait statistics (cuda, throughput)");
  command.add_flag(
      "--reuse-buffers", options.reuse_buffers,
      "Two sets of buffers in turn, as steps of decode have them, instead of sets beyond the caches (host)");
  command.add_option("--peers", options.peers, "Others to measure beside: memcpy, mpi (host), nccl (cuda)")
      ->delimiter(',');
  command.add_flag("--explain", options.explain, "Count the bytes, print the limit, and say where the time goes");
  command.add_option("--json", options.json,
                     "Write the result to this file; '-': to standard output, the rest to stderr");
  command.add_option("--plot", options.plot, "Draw the sweep over tokens or SMs into this SVG file");
}

}  // namespace

std::string_view name(Subject subject) noexcept {
  switch (subject) {
    case Subject::throughput:
      return "throughput";
    case Subject::low_latency:
      return "low-latency";
    case Subject::link:
      return "link";
  }
  return "";
}

std::function<Options()> add_options(CLI::App& command) {
  auto parsed = std::make_shared<Parsed>();
  command.require_subcommand(1);
  struct Entry {
    Subject subject;
    const char* description;
    const char* footer;
  };
  constexpr std::array kEntries = {
      Entry{Subject::throughput, "Route, dispatch and combine of training and prefill", kThroughputFooter},
      Entry{Subject::low_latency, "Dispatch and combine of decode", kHowOnTheHost},
      Entry{Subject::link, "The limits: memcpy, flag latency, FP8 encoding; cuda: links between GPUs, local copies",
            kLinkFooter},
  };
  for (const Entry& entry : kEntries) {
    CLI::App* subject = command.add_subcommand(std::string(name(entry.subject)), entry.description);
    subject->footer(entry.footer);
    add_options_of(*subject, *parsed);
    subject->parse_complete_callback([parsed, chosen = entry.subject] { parsed->options.subject = chosen; });
  }
  return [parsed] { return checked(*parsed); };
}

}  // namespace railyard::cli::bench
