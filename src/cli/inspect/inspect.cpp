// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/inspect.hpp"

#include "cli/inspect/heat_map.hpp"
#include "cli/inspect/ids_file.hpp"
#include "cli/inspect/report.hpp"
#include "cli/names.hpp"
#include "cli/numbers.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "codecs/row_format.hpp"
#include "diagnostics/format.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <optional>

namespace railyard::cli::inspect {
namespace {

constexpr int kMostRanks = 1024;
constexpr int kMostAlignment = 65536;  // RouteOptions::alignment
constexpr int kPieceTokens = 1 << 14;
constexpr int kPieceScores = 1 << 24;  // of the gate: a score per token and expert

constexpr const char* kFooter =
    R"(Nothing is sent: ids are counted as a dispatch would count them. A rank's own rows cross no link.
  --ids       text: a line per token, its ids between spaces, tabs or commas, -1 = none; or .npy, int32 or int64,
              [tokens, top_k]. The tokens are dealt to the ranks in consecutive blocks of even size (they differ by at
              most one): rank r of N has tokens [T r / N, T (r + 1) / N).
  generated   the ids that `railyard bench` draws with the same options: its first set of inputs
docs/inspect.md says what each figure means; docs/inspect.schema.json describes the JSON.

Examples:
  railyard inspect --routing zipf --skew 1.2 --experts 256 --ranks 32 --domain-size 8
  railyard inspect --ids ids.txt --experts 64 --ranks 8 --codec fp8_e4m3 --alignment 128
  railyard inspect --ids layer7.npy --experts 256 --ranks 16 --json - --svg layer7.svg)";

/// What the parser fills: names are looked up afterwards.
struct Parsed {
  Options options;
  std::string codec{railyard::name(Codec::bf16)};
  std::string routing{name(Routing::uniform)};
  std::optional<double> skew;
};

Options checked(const Parsed& parsed) {
  Options options = parsed.options;
  options.codec = value_of("--codec", parsed.codec, kCodecs);
  if (options.ids.empty()) {
    options.choose(parsed.routing, parsed.skew);
  }
  if (options.hidden % 8 != 0) {
    throw UsageError(diagnostics::format("--hidden is {}; it takes multiples of 8", options.hidden));
  }
  options.domain_size = options.domain_size == 0 ? options.ranks : options.domain_size;
  if (options.ranks % options.domain_size != 0) {
    throw UsageError(
        diagnostics::format("--domain-size is {}; it must divide the {} ranks", options.domain_size, options.ranks));
  }
  if (!options.svg.empty() && options.ranks > kMostDrawnRanks) {
    throw UsageError(
        diagnostics::format("--svg draws at most {} ranks; --ranks is {}", kMostDrawnRanks, options.ranks));
  }
  if (options.svg == "-") {
    throw UsageError("--svg is '-'; it takes the path of a file");
  }
  return options;
}

void add_file(const Options& options, IdsFile& file, Tally& tally) {
  Progress progress(static_cast<std::size_t>(options.ranks));
  for (int rank = 0; rank < options.ranks; ++rank) {
    const std::int64_t tokens = file.num_tokens();
    const std::int64_t end = tokens * (rank + 1) / options.ranks;
    for (std::int64_t token = tokens * rank / options.ranks; token < end; token += kPieceTokens) {
      const auto piece = static_cast<int>(std::min<std::int64_t>(kPieceTokens, end - token));
      tally.add(rank, file.next(piece), file.top_k());
    }
    progress.advance();
  }
}

void add_generated(const Options& options, Tally& tally) {
  const int most = std::clamp(kPieceScores / options.experts, 1, kPieceTokens);
  Progress progress(static_cast<std::size_t>(options.ranks));
  for (int rank = 0; rank < options.ranks; ++rank) {
    ExpertChooser chooser(options, rank, 0);
    for (int token = 0; token < options.tokens; token += most) {
      tally.add(rank, chooser.next(std::min(most, options.tokens - token)).ids, options.top_k);
    }
    progress.advance();
  }
}

}  // namespace

std::function<Options()> add_options(CLI::App& command) {
  auto parsed = std::make_shared<Parsed>();
  Options& options = parsed->options;
  command.footer(kFooter);
  CLI::Option* ids =
      command.add_option("--ids", options.ids, "File of top-k ids, dealt to the ranks in consecutive even blocks")
          ->check(CLI::ExistingFile);
  CLI::Option* experts =
      command.add_option("--experts", options.experts, "Experts, spread over the ranks; must be given with --ids")
          ->capture_default_str()
          ->check(CLI::Range(1, 1 << 20));
  ids->needs(experts);
  command.add_option("--tokens", options.tokens, "Tokens per rank of a generated routing")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24))
      ->excludes(ids);
  command.add_option("--top-k", options.top_k, "Experts per token of a generated routing")
      ->capture_default_str()
      ->check(CLI::Range(1, kMostTopK))
      ->excludes(ids);
  command.add_option("--routing", parsed->routing, "How tokens choose experts: " + names_of(kRoutings))
      ->capture_default_str()
      ->excludes(ids);
  command.add_option("--skew", parsed->skew, "Exponent of --routing zipf (default 1)")
      ->check(real_from(0.0, kMostSkew))
      ->excludes(ids);
  command.add_option("--seed", options.seed, "Of a generated routing")
      ->capture_default_str()
      ->check(any_seed())
      ->excludes(ids);
  command.add_option("--ranks", options.ranks, "Ranks that hold the tokens and the experts")
      ->capture_default_str()
      ->check(CLI::Range(1, kMostRanks));
  command.add_option("--domain-size", options.domain_size, "Consecutive ranks of a scale-up domain (default: all)")
      ->check(CLI::Range(1, kMostRanks));
  command.add_option("--hidden", options.hidden, "Elements of a token's row")
      ->capture_default_str()
      ->check(CLI::Range(8, 1 << 20));
  command.add_option("--codec", parsed->codec, "How rows travel: " + names_of(kCodecs))->capture_default_str();
  command.add_option("--alignment", options.alignment, "Of the groups in expert_major")
      ->capture_default_str()
      ->check(CLI::Range(1, kMostAlignment));
  command.add_option("--json", options.json,
                     "Write the result to this file; '-': to standard output, the rest to stderr");
  command.add_option("--svg", options.svg, "Draw rows from each rank to each rank into this SVG file");
  return [parsed] { return checked(*parsed); };
}

ExitStatus run(const Options& options) {
  require_writable("--json", options.json);
  require_writable("--svg", options.svg);
  Tally tally(options.experts, options.ranks, options.domain_size);
  Report report{.options = options, .top_k = options.top_k, .row_bytes = 0, .findings = {}};
  if (options.ids.empty()) {
    add_generated(options, tally);
  } else {
    const std::unique_ptr<IdsFile> file = IdsFile::open(options.ids, options.experts);
    report.top_k = file->top_k();
    add_file(options, *file, tally);
  }
  const codecs::RowFormat format = codecs::RowFormat::of(options.codec, options.hidden);
  report.row_bytes = static_cast<std::int64_t>(format.row_bytes + format.scale_bytes);
  report.findings = findings_of(tally, report.row_bytes, options.alignment);
  print_report(text_stream(options.json), report);
  if (!options.json.empty()) {  // with many ranks and experts it takes more memory than the rest
    write_json(options.json, to_json(report, tally));
  }
  if (!options.svg.empty()) {
    write_text("--svg", options.svg, heat_map_of(tally, report.row_bytes, "railyard inspect: " + report.subject()));
  }
  return ExitStatus::verified;
}

}  // namespace railyard::cli::inspect
