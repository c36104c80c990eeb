// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/result.hpp"

#include "cli/environment_json.hpp"
#include "diagnostics/format.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace railyard::cli::bench {
namespace {

using Json = nlohmann::ordered_json;

template <typename Value>
Json name_or_null(const std::optional<Value>& value) {
  return value ? Json(name(*value)) : Json(nullptr);
}

Json number_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json json_of(const Result& result, const Options& options) {
  Json row;
  if (!result.name.empty()) {
    row["name"] = result.name;
  }
  row["operation"] = result.operation;
  row["layout"] = name_or_null(result.layout);
  row["codec"] = name_or_null(result.codec);
  row["quantise"] = result.quantise;
  row["input_dtype"] = name_or_null(result.input_dtype);
  row["algorithm"] = result.algorithm;
  row["tokens"] = result.tokens;
  row["ranks"] = options.ranks;
  row["launch"] = options.launch;
  row["routing"] = name(options.routing);
  row["timing"] = result.timing;
  row["sms"] = result.sms;
  row["wire_bytes"] = result.wire_bytes;
  row["us_median"] = result.times ? Json(result.times->median_us) : Json(nullptr);
  row["us_p99"] = result.times ? Json(result.times->p99_us) : Json(nullptr);
  row["gbps"] = result.gbps;
  row["limit_ratio"] = number_or_null(result.limit_ratio);
  row["beside"] = result.beside ? Json{{"name", result.beside->name},
                                       {"sms", result.beside->sms},
                                       {"alone_ratio", result.beside->alone_ratio}}
                                : Json(nullptr);
  row["verified"] = result.verified;
  return row;
}

Json json_of(const Options& options) {
  return {{"subject", name(options.subject)},
          {"ranks", options.ranks},
          {"launch", options.launch},
          {"device", options.device},
          {"devices", options.devices},
          {"tokens", options.tokens},
          {"hidden", options.hidden},
          {"experts", options.experts},
          {"top_k", options.top_k},
          {"layout", name(options.layout)},
          {"codec", name(options.codec)},
          {"routing", name(options.routing)},
          {"skew", options.skew},
          {"sms", options.sms},
          {"seed", options.seed},
          {"warmup", options.warmup},
          {"iterations", options.iterations},
          {"beside", options.beside.empty() ? Json(nullptr) : Json(options.beside)},
          {"wait_statistics", options.wait_statistics},
          {"reuse_buffers", options.reuse_buffers},
          {"peers", options.peers}};
}

void print_row(std::FILE* stream, const Result& result) {
  const std::string operation = result.name.empty() ? result.operation : result.name + " (" + result.operation + ")";
  const std::string codec =
      (result.codec ? std::string(name(*result.codec)) : std::string("-")) + (result.quantise ? " (quantised)" : "");
  diagnostics::print(stream, "{:<24} {:<13} {:<27} {:<6} {:>4} {:>7} {:>10.2f}", operation,
                     result.layout ? name(*result.layout) : "-", codec, result.timing,
                     result.sms > 0 ? diagnostics::format("{}", result.sms) : "-", result.tokens,
                     static_cast<double>(result.wire_bytes) * 1e-6);
  if (result.times) {
    diagnostics::print(stream, " {:>10.2f} {:>10.2f} {:>8.2f}", result.times->median_us, result.times->p99_us,
                       result.gbps);
  } else {
    diagnostics::print(stream, " {:>10} {:>10} {:>8}", "-", "-", "-");
  }
  diagnostics::print(stream, " {:>7} {:>9}",
                     result.limit_ratio ? diagnostics::format("{:.2f}", *result.limit_ratio) : "-",
                     result.verified ? "yes" : "no");
  if (result.beside) {
    diagnostics::print(stream, "  beside a {} on {} SMs: {:.2f} x alone", result.beside->name, result.beside->sms,
                       result.beside->alone_ratio);
  }
  diagnostics::print(stream, "\n");
}

}  // namespace

bool Run::verified() const {
  const auto right = [](const Result& result) { return result.verified; };
  return std::all_of(results.begin(), results.end(), right) && std::all_of(peers.begin(), peers.end(), right);
}

void print_heading(std::FILE* stream, const Run& run) {
  const Options& options = run.options;
  diagnostics::print(stream, "railyard {} ({}), {} on {}: {}, {} cores, {} MB last-level cache\n",
                     run.environment.version, run.environment.commit, name(options.subject),
                     options.device_kind() == DeviceKind::cuda ? "GPUs" : "the host", run.environment.device,
                     run.environment.cores, run.environment.cache_bytes >> 20U);
  if (options.subject == Subject::link) {
    diagnostics::print(stream, "{} ranks ({}), rows of {} elements\n", options.ranks, options.launch, options.hidden);
  } else {
    diagnostics::print(stream, "{} ranks ({}), hidden {}, top-{} of {} experts, {} routing, seed {}{}\n", options.ranks,
                       options.launch, options.hidden, options.top_k, options.experts, name(options.routing),
                       options.seed, options.reuse_buffers ? ", buffers reused" : "");
  }
  if (options.ranks > run.environment.cores && options.device_kind() == DeviceKind::host) {
    diagnostics::print(stream, "note: {} ranks share {} cores; times include waiting for a core\n", options.ranks,
                       run.environment.cores);
  }
}

void print_results(std::FILE* stream, const Run& run) {
  diagnostics::print(stream, "\n{:<24} {:<13} {:<27} {:<6} {:>4} {:>7} {:>10} {:>10} {:>10} {:>8} {:>7} {:>9}\n",
                     "operation", "layout", "codec", "timing", "SMs", "tokens", "wire MB", "median us", "p99 us",
                     "GB/s", "x limit", "verified");
  for (const Result& result : run.results) {
    print_row(stream, result);
  }
  for (const Result& peer : run.peers) {
    print_row(stream, peer);
  }
  for (const MeasuredRate& link : run.limits.links) {
    diagnostics::print(stream, "best {}: {:.1f} GB/s ({}{})\n", link.operation, link.gbps, link.algorithm,
                       link.sms > 0 ? diagnostics::format(", {} SMs", link.sms) : "");
  }
  if (run.limits.flag_us) {
    diagnostics::print(stream, "flag, one way: {:.3f} us\n", *run.limits.flag_us);
  }
  if (run.limits.encode_gbps) {
    diagnostics::print(stream, "FP8 encoding: {:.2f} GB/s of bf16 input per core\n", *run.limits.encode_gbps);
  }
}

nlohmann::ordered_json to_json(const Run& run) {
  Json document;
  document["schema"] = 1;
  document["environment"] = cli::to_json(run.environment);
  document["environment"]["device_kind"] = run.options.device;
  document["config"] = json_of(run.options);
  Json copies = Json::array();
  for (const MeasuredLimit& limit : run.limits.copies) {
    copies.push_back({{"operation", limit.operation},
                      {"tokens", limit.tokens},
                      {"bytes", limit.bytes},
                      {"us_median", limit.median_us},
                      {"gbps", limit.gbps}});
  }
  Json links = Json::array();
  for (const MeasuredRate& link : run.limits.links) {
    links.push_back(
        {{"operation", link.operation}, {"algorithm", link.algorithm}, {"sms", link.sms}, {"gbps", link.gbps}});
  }
  document["limits"] = {{"memcpy", copies},
                        {"link", links},
                        {"flag_us", number_or_null(run.limits.flag_us)},
                        {"fp8_encode_gbps", number_or_null(run.limits.encode_gbps)}};
  document["results"] = Json::array();
  for (const Result& result : run.results) {
    document["results"].push_back(json_of(result, run.options));
  }
  document["peers"] = Json::array();
  for (const Result& peer : run.peers) {
    document["peers"].push_back(json_of(peer, run.options));
  }
  return document;
}

}  // namespace railyard::cli::bench
