#include "launch/bench_report.h"

#include <array>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/job_keys.h"
#include "worker/decoder_cost.h"

namespace limn {

namespace {

using Json = nlohmann::ordered_json;

// Four significant digits and a prefix: "363.1 GFLOP/s".
std::string with_prefix(double value, std::string_view unit) {
  constexpr std::array<std::string_view, 7> kPrefixes = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t prefix = 0;
  for (; value >= 1000 && prefix + 1 < kPrefixes.size(); ++prefix)
    value /= 1000;
  return fmt::format("{:#.4g} {}{}", value, kPrefixes[prefix], unit);
}

std::string bytes_text(std::int64_t bytes) {
  const auto size = static_cast<double>(bytes);
  if (bytes >= std::int64_t{1} << 30) return fmt::format("{:.2f} GiB", size / (1 << 30));
  if (bytes >= std::int64_t{1} << 20) return fmt::format("{:.1f} MiB", size / (1 << 20));
  return fmt::format("{:.1f} KiB", size / (1 << 10));
}

std::string seconds_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:#.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:#.3g} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

std::string line(std::string_view name, const std::string& text) {
  return fmt::format("{:<16}{}\n", name, text);
}

std::string shape_text(const BenchReport& report) {
  const DecoderConfig& c = report.model.decoder;
  const std::string layers =
      c.num_layers() == report.config_layers
          ? fmt::format("{} layers", c.num_layers())
          : fmt::format("{} of {} layers", c.num_layers(), report.config_layers);
  std::string text = fmt::format(
      "{}, {}, hidden {}, {} heads on {} key/value heads of {}, inner {}, vocabulary {}",
      report.model.model_type,
      layers,
      c.hidden,
      c.num_heads,
      c.num_kv_heads,
      c.head_dim,
      c.inner,
      c.vocab_size);
  if (c.experts) {
    text += fmt::format(
        ", {} of {} experts of {}",
        c.experts->num_chosen,
        c.experts->num_experts,
        c.experts->inner);
  }
  return text;
}

// The share of a run's time.
struct TimeShares {
  double products = 0;
  double attention = 0;
  double communication = 0;

  explicit TimeShares(const SweepBenchResult& result)
      : products(result.products / result.median_run()),
        attention(result.attention / result.median_run()),
        communication(result.communication / result.median_run()) {}

  // Less than 0 where parts overlap.
  double all_else() const { return 1 - products - attention - communication; }
};

double useful_rate(const SweepBenchResult& result) {
  return result.work.flops() / result.median_run();
}

double product_rate(const SweepBenchResult& result) {
  return result.work.product_flops() / result.products;
}

double row_rate(const SweepBenchResult& result) {
  return static_cast<double>(result.work.rows) / result.median_run();
}

std::string suppression_text(const Suppression& suppression) {
  Job job;
  job.explain.suppression = suppression;
  return value_text(find_job_key("explain.suppression")->get(job));
}

std::string sweeps_text(const BenchReport& report) {
  const BenchCoverage& coverage = report.coverage;
  if (coverage.measured_batches == coverage.planned_batches) {
    return fmt::format("{} rows in {} sweeps", report.result.work.rows, coverage.planned_batches);
  }
  return fmt::format(
      "{} rows in {} sweeps, of {} rows in {}",
      report.result.work.rows,
      coverage.measured_batches,
      coverage.planned_rows,
      coverage.planned_batches);
}

std::string explanation_text(const BenchReport& report) {
  const BenchCoverage& coverage = report.coverage;
  std::string text = seconds_text(report.seconds_per_explanation());
  text += coverage.measured_batches == coverage.planned_batches
              ? ", measured"
              : fmt::format(
                    ", extrapolated by the plan's cost from {} of {} sweeps",
                    coverage.measured_batches,
                    coverage.planned_batches);
  if (report.num_groups > 1) text += fmt::format("; {} at a time", report.num_groups);
  return text;
}

std::string communication_text(const SweepBenchResult& result) {
  return fmt::format(
      "{} in {} collectives of {} together, waits for other ranks included",
      seconds_text(result.communication),
      result.num_collectives,
      bytes_text(result.collective_bytes));
}

}  // namespace

double BenchReport::seconds_per_explanation() const {
  return result.median_run() * coverage.cost_ratio / static_cast<double>(samples.count);
}

double BenchReport::naive_flops_per_explanation() const {
  const std::int64_t length = samples.fed_length();
  const DecoderConfig& c = model.decoder;
  const std::int64_t width = c.embedding_width > 0 ? c.embedding_width : c.hidden;
  const double logits = 2 * static_cast<double>(length) * static_cast<double>(width) *
                        static_cast<double>(c.vocab_size);
  return static_cast<double>(samples.num_units() + 1) *
         (sweep_cost(c).of(work_of_rows(0, length)) + logits);
}

double BenchReport::flops_per_explanation() const {
  return result.work.flops() * tensor_parallel * coverage.cost_ratio /
         static_cast<double>(samples.count);
}

std::string text_of(const BenchReport& report) {
  const SweepBenchResult& result = report.result;
  const TimeShares shares(result);
  std::string text;
  text += line("model", shape_text(report));
  text += line("parameters", with_prefix(static_cast<double>(report.parameters), ""));
  text += line(
      "weights",
      fmt::format(
          "{} on a rank, matrices as {}",
          bytes_text(report.weight_bytes),
          report.dtype == at::kBFloat16 ? "bfloat16"
          : report.dtype == at::kHalf   ? "float16"
                                        : "float32"));
  text += line(
      "computes",
      fmt::format(
          "in {} on {}; groups x tensor ranks: {} x {}, threads a rank: {}",
          name_of(report.compute),
          report.device,
          report.num_groups,
          report.tensor_parallel,
          report.threads));
  text += line(
      "samples",
      fmt::format(
          "{}, each with {} prompt tokens, {} target tokens and {} perturbations, {} at {}",
          report.samples.count,
          report.samples.tokens,
          report.samples.targets,
          report.samples.num_units(),
          suppression_text(report.suppression),
          report.suppression.factor));
  text += line("measured", sweeps_text(report));
  text += line(
      "a run",
      fmt::format(
          "{}, the median of {} ({} to {})",
          seconds_text(result.median_run()),
          result.runs.size(),
          seconds_text(result.runs.front()),
          seconds_text(result.runs.back())));
  text += line("rows", fmt::format("{:.0f} rows/s", row_rate(result)));
  text += line("useful", with_prefix(useful_rate(result), "FLOP/s a rank"));
  text += line("products alone", with_prefix(product_rate(result), "FLOP/s a rank"));
  text += line("share", fmt::format("{:.1f} %", 100 * useful_rate(result) / product_rate(result)));
  text += line(
      "time in",
      fmt::format(
          "products {:.1f} %, attention {:.1f} % ({}), communication {:.1f} %, all else {:.1f} %",
          100 * shares.products,
          100 * shares.attention,
          with_prefix(result.work.attention_flops / result.attention, "FLOP/s"),
          100 * shares.communication,
          100 * shares.all_else()));
  if (report.tensor_parallel > 1) text += line("communication", communication_text(result));
  text += line("an explanation", explanation_text(report));
  text += line("its work", with_prefix(report.flops_per_explanation(), "FLOP"));
  text += line(
      "naively",
      fmt::format(
          "{}, {:.1f} times as much: a whole pass for each perturbation, all logits",
          with_prefix(report.naive_flops_per_explanation(), "FLOP"),
          report.naive_flops_per_explanation() / report.flops_per_explanation()));
  text += line(
      "memory",
      fmt::format(
          "{} of tensors beyond the weights{}",
          bytes_text(result.memory),
          result.predicted_memory
              ? fmt::format(", predicted {}", bytes_text(*result.predicted_memory))
              : ""));
  return text;
}

std::string json_of(const BenchReport& report) {
  const SweepBenchResult& result = report.result;
  const DecoderConfig& c = report.model.decoder;
  Json json;
  json["model"] = {
      {"model_type", report.model.model_type},
      {"layers", c.num_layers()},
      {"config_layers", report.config_layers},
      {"hidden", c.hidden},
      {"heads", c.num_heads},
      {"kv_heads", c.num_kv_heads},
      {"head_dim", c.head_dim},
      {"inner", c.inner},
      {"vocabulary", c.vocab_size},
      {"parameters", report.parameters},
      {"weight_bytes", report.weight_bytes},
      {"dtype", c10::toString(report.dtype)}};
  json["compute"] = name_of(report.compute);
  json["device"] = report.device;
  json["threads"] = report.threads;
  json["groups"] = report.num_groups;
  json["tensor_parallel"] = report.tensor_parallel;
  json["samples"] = {
      {"count", report.samples.count},
      {"tokens", report.samples.tokens},
      {"targets", report.samples.targets},
      {"units", report.samples.num_units()},
      {"suppression", suppression_text(report.suppression)},
      {"factor", report.suppression.factor}};
  json["batch_tokens"] = report.batch_tokens;
  json["batches"] = {
      {"measured", report.coverage.measured_batches},
      {"planned", report.coverage.planned_batches},
      {"measured_rows", result.work.rows},
      {"planned_rows", report.coverage.planned_rows}};
  json["seconds"] = {
      {"runs", result.runs},
      {"median", result.median_run()},
      {"products", result.products},
      {"attention", result.attention},
      {"communication", result.communication}};
  json["rows_per_s"] = row_rate(result);
  json["useful_flops"] = result.work.flops();
  json["useful_flops_per_s"] = useful_rate(result);
  json["product_flops"] = result.work.product_flops();
  json["products_alone_flops_per_s"] = product_rate(result);
  json["share"] = useful_rate(result) / product_rate(result);
  json["collectives"] = {{"calls", result.num_collectives}, {"bytes", result.collective_bytes}};
  json["explanation"] = {
      {"seconds", report.seconds_per_explanation()},
      {"extrapolated", report.coverage.measured_batches < report.coverage.planned_batches},
      {"flops", report.flops_per_explanation()},
      {"naive_flops", report.naive_flops_per_explanation()}};
  json["memory"] = {
      {"measured_bytes", result.memory},
      {"predicted_bytes", result.predicted_memory ? Json(*result.predicted_memory) : Json()}};
  return json.dump(2) + "\n";
}

std::string text_of(std::span<const CollectiveTime> times, int ranks, const std::string& device) {
  std::string text = fmt::format(
      "all-reduce of float32 over {} ranks on {}\n{:>10}{:>14}{:>14}\n",
      ranks,
      device,
      "size",
      "time",
      "bus");
  for (const CollectiveTime& time : times) {
    text += fmt::format(
        "{:>10}{:>14}{:>14}\n",
        bytes_text(time.bytes),
        seconds_text(time.seconds),
        fmt::format("{:.3f} GB/s", time.bus_bytes_per_s * 1e-9));
  }
  return text;
}

std::string json_of(std::span<const CollectiveTime> times, int ranks, const std::string& device) {
  Json json;
  json["ranks"] = ranks;
  json["device"] = device;
  json["all_reduce"] = Json::array();
  for (const CollectiveTime& time : times) {
    json["all_reduce"].push_back(
        {{"bytes", time.bytes},
         {"seconds", time.seconds},
         {"bus_bytes_per_s", time.bus_bytes_per_s}});
  }
  return json.dump(2) + "\n";
}

}  // namespace limn
