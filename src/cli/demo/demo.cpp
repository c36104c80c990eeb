// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/demo.hpp"

#include "cli/demo/report.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "diagnostics/format.hpp"

#include <nlohmann/json.hpp>

namespace railyard::cli::demo {
namespace {

/// DeepSeek-V3's router, at the size of the demo.
LayerShape layer_shape(const Options& options) {
  return {.hidden = options.hidden,
          .intermediate = options.intermediate,
          .experts = options.experts,
          .gate = {.top_k = options.top_k,
                   .score = GateScore::sigmoid,
                   .num_groups = options.groups,
                   .top_k_groups = options.kept_groups,
                   .normalize = true,
                   .scale = 2.5F},
          .seed = options.seed};
}

void run_step(const Options& options, const Layer& layer, const std::string& text, const std::vector<Slice>& slices,
              Exchange& exchange, Totals& totals) {
  totals.seconds.gate += exchange.gate(text, slices);
  const std::int64_t before = exchange.wire_bytes();
  totals.seconds.dispatch += exchange.dispatch();
  const std::int64_t dispatched = exchange.wire_bytes();
  if (options.corrupt && totals.corrupted.empty()) {
    if (const auto where = exchange.corrupt()) {
      totals.corrupted.push_back(*where);
    }
  }
  totals.seconds.experts += exchange.run_experts();
  totals.seconds.combine += exchange.combine();
  totals.dispatch_bytes += dispatched - before;
  totals.combine_bytes += exchange.wire_bytes() - dispatched;
  totals.add_routes(options, exchange);
  totals.verification.add(verify_step(options, layer, exchange, text, slices));
  ++totals.steps;
}

}  // namespace

ExitStatus run(const Options& options) {
  require_writable("--json", options.json);
  const std::string text = read_text(options.text);
  const auto steps = deal(text.size(), options.ranks, options.tokens, options.steps);
  const Layer layer(layer_shape(options));
  Totals totals;
  {
    Exchange exchange(options, layer);
    Progress progress(steps.size());
    for (const std::vector<Slice>& slices : steps) {
      run_step(options, layer, text, slices, exchange, totals);
      progress.advance();
    }
  }
  std::FILE* stream = text_stream(options.json);
  print_report(stream, options, text.size(), totals);
  write_json(options.json, to_json(options, text.size(), totals));
  diagnostics::print(stream, "{}\n", verdict(options, totals));
  return totals.verification.ok() ? ExitStatus::verified : ExitStatus::failed;
}

}  // namespace railyard::cli::demo
