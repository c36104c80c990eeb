// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/options.hpp"

#include "cli/names.hpp"
#include "cli/numbers.hpp"
#include "diagnostics/format.hpp"

#include <CLI/CLI.hpp>

#include <limits>
#include <memory>

namespace railyard::cli::demo {
namespace {

/// What the parser fills: names are looked up afterwards.
struct Parsed {
  Options options;
  std::string layout{name(Layout::rank_major)};
  std::string codec{name(Codec::bf16)};
  std::string mode{name(Mode::throughput)};
  std::string levels;
};

/// The most groups of DeepSeek-V3's eight that divide the experts evenly and leave room for top_k in half of them.
void choose_groups(Options& options) {
  options.groups = 8;
  while (options.experts % options.groups != 0 ||
         options.experts / options.groups * std::max(1, options.groups / 2) < options.top_k) {
    options.groups /= 2;
  }
  options.kept_groups = std::max(1, options.groups / 2);
}

Options checked(const Parsed& parsed) {
  Options options = parsed.options;
  options.layout = value_of("--layout", parsed.layout, kLayouts);
  options.codec = value_of("--codec", parsed.codec, kCodecs);
  options.mode = value_of("--mode", parsed.mode, kModes);
  const bool rank_major = options.layout == Layout::rank_major;
  options.levels = rank_major ? ReductionLevels::rank : ReductionLevels::none;
  if (!parsed.levels.empty()) {
    options.levels = value_of("--levels", parsed.levels, kReductionLevels);
  }
  if (rank_major && options.levels == ReductionLevels::none) {
    throw UsageError("--levels is none; with --layout rank_major a row is a rank's partial sum, so it takes rank");
  }
  if (options.hidden % 8 != 0) {
    throw UsageError(diagnostics::format("--hidden is {}; it takes multiples of 8", options.hidden));
  }
  if (options.top_k > options.experts) {
    throw UsageError(diagnostics::format("--top-k is {}, more than the {} experts", options.top_k, options.experts));
  }
  choose_groups(options);
  return options;
}

}  // namespace

std::function<Options()> add_options(CLI::App& command) {
  auto parsed = std::make_shared<Parsed>();
  Options& options = parsed->options;
  command.add_option("--ranks", options.ranks, "Ranks, as threads")->capture_default_str()->check(CLI::Range(1, 256));
  command.add_option("--text", options.text, "Text whose bytes are the tokens (default: one that is built in)")
      ->check(CLI::ExistingFile);
  command.add_option("--tokens", options.tokens, "Tokens per rank in each step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--steps", options.steps, "Stop after so many steps (0: at the end of the text)")
      ->capture_default_str()
      ->check(CLI::Range(0, std::numeric_limits<int>::max()));
  command.add_option("--hidden", options.hidden, "Elements of a token's row")
      ->capture_default_str()
      ->check(CLI::Range(8, 1 << 20));
  command.add_option("--intermediate", options.intermediate, "Width inside an expert")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--experts", options.experts, "Experts of the layer, spread over the ranks")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  command.add_option("--top-k", options.top_k, "Experts per token")->capture_default_str()->check(CLI::Range(1, 32));
  command.add_option("--layout", parsed->layout, "How received rows are placed: " + names_of(kLayouts))
      ->capture_default_str();
  command.add_option("--codec", parsed->codec, "How rows travel: " + names_of(kCodecs))->capture_default_str();
  command.add_option("--mode", parsed->mode, "Which operations: " + names_of(kModes))->capture_default_str();
  command.add_option(
      "--levels", parsed->levels,
      "Where partial sums are rounded: none (then the output equals the dense layer bit for bit) or rank "
      "(default: rank with rank_major, else none)");
  command.add_option("--seed", options.seed, "Of the layer's parameters")->capture_default_str()->check(any_seed());
  command.add_flag("--corrupt", options.corrupt,
                   "Flip one byte of one received row; the demo must then end with 'verified: no' and status 1");
  command.add_option("--json", options.json,
                     "Write the result to this file; '-': to standard output, the rest to stderr");
  return [parsed] { return checked(*parsed); };
}

}  // namespace railyard::cli::demo
