// How fast a sweep is, beside the matrix products that it is made of.
//
//   sweep_bench MODEL [--tokens N] [--targets T] [--units U] [--samples S] [--compute C]
//               [--threads P] [--batch-tokens R] [--repeat K]
//
// S samples of N random prompt tokens and T target tokens, a perturbation for each of U tokens
// spread evenly over the prompt (0: for every token), cut into batches as a run cuts them. MODEL is
// a checkpoint folder; what its weights are does not matter for speed.
//
// Prints, of the median of K runs: rows/s; useful GFLOP/s, which count the exact minimum (what is
// left after every saving of the sweep); the rate of the matrix products alone at the same shapes,
// measured in turn with the runs; their ratio; the time by part; and the most memory that the
// tensors of a sweep take, predicted and measured.

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <fmt/format.h>

#include "coordinator/batch_plan.h"
#include "sharding/local_communicator.h"
#include "sharding/parallel_linear.h"
#include "storage/checkpoint.h"
#include "tests/allocation_count.h"
#include "worker/decoder_cost.h"
#include "worker/decoder_weights.h"
#include "worker/model_family.h"
#include "worker/sweep.h"
#include "worker/sweep_layout.h"
#include "worker/sweep_memory.h"

namespace limn {

namespace {

struct Options {
  std::string model;
  std::int64_t tokens = 128;
  std::int64_t targets = 16;
  std::int64_t units = 0;
  std::int64_t samples = 1;
  std::string compute = "float32";
  int threads = 2;
  std::int64_t batch_tokens = 16384;
  int repeat = 5;
};

const std::map<std::string, SweepCompute> kComputes{
    {"float32", SweepCompute::Float32},
    {"bfloat16", SweepCompute::Bfloat16},
    {"bfloat16_delta", SweepCompute::Bfloat16Delta}};

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The most bytes of tensors that are live at once, of what two runs allocate.
std::int64_t peak_memory(const std::function<void()>& run) {
  const auto count = std::make_shared<test::AllocationCount>();
  const c10::DebugInfoGuard counting(c10::DebugInfoKind::PROFILER_STATE, count);
  run();
  run();
  return count->peak();
}

double mib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// The sample's batches, as the coordinator would cut them.
std::vector<Batch> make_batches(const Options& options, const DecoderConfig& config) {
  Sample sample;
  sample.prompt_length = options.tokens;
  const std::int64_t length = options.tokens + options.targets;
  for (std::int64_t i = 0; i < length; ++i) {
    const auto id = static_cast<std::int32_t>((i * 7919 + 31) % config.vocab_size);
    sample.record.tokens.push_back({.id = id});
    if (i >= options.tokens) {
      sample.record.targets.push_back({.position = static_cast<std::int32_t>(i), .token = id});
    }
  }
  const std::int64_t units = options.units > 0 ? options.units : options.tokens;
  for (std::int64_t u = 0; u < units; ++u) {
    const auto token = static_cast<std::int32_t>(u * options.tokens / units);
    sample.record.units.push_back({.tokens = {token}});
  }
  BatchPlanner planner({.batch_tokens = options.batch_tokens, .cost = sweep_cost(config)});
  for (std::int64_t i = 0; i < options.samples; ++i) {
    sample.index = i;
    planner.add(sample);
  }
  planner.finish();
  std::vector<Batch> batches;
  while (auto planned = planner.next())
    batches.push_back(std::move(planned->batch));
  return batches;
}

// One matrix product of a layer or of the head.
struct Shape {
  std::int64_t rows = 0, inputs = 0, outputs = 0;

  auto operator<=>(const Shape&) const = default;

  double flops() const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(inputs) *
           static_cast<double>(outputs);
  }
};

// What a sweep cannot do without.
struct Work {
  std::map<Shape, std::int64_t> base_products;  // how many of each shape
  std::map<Shape, std::int64_t> products;
  double attention_flops = 0;
  std::int64_t rows = 0;

  double product_flops() const {
    double flops = 0;
    for (const auto* const of : {&base_products, &products}) {
      for (const auto& [shape, count] : *of)
        flops += shape.flops() * static_cast<double>(count);
    }
    return flops;
  }
};

std::int64_t visible_keys(const Segment& segment, std::int64_t first_row) {
  return (first_row + 1 + segment.row_end) * (segment.row_end - first_row) / 2;
}

void count_work(const DecoderConfig& c, const SweepLayout& layout, Work& work) {
  const std::int64_t width = c.num_heads * c.head_dim;
  const std::int64_t kv_width = c.num_kv_heads * c.head_dim;
  const std::int64_t up = c.mlp == MlpKind::Gated ? 2 * c.inner : c.inner;
  for (const RowBlock& block : layout.blocks) {
    auto& products = block.is_base ? work.base_products : work.products;
    for (std::int64_t l = 0; l < c.num_layers(); ++l) {
      const bool is_last = l + 1 == c.num_layers();
      const std::int64_t rows = is_last ? block.target_rows.size() : block.rows.size();
      if (l > 0 || block.is_base) {
        ++products[{block.rows.size(), c.hidden, (is_last ? 0 : width) + 2 * kv_width}];
        if (is_last) ++products[{rows, c.hidden, width}];
      }
      ++products[{rows, width, c.hidden}];
      ++products[{rows, c.hidden, up}];
      ++products[{rows, c.inner, c.hidden}];
      for (std::size_t s = block.segment_begin; s < block.segment_end; ++s) {
        const Segment& segment = layout.segments[s];
        work.attention_flops +=
            4.0 * static_cast<double>(width) *
            static_cast<double>(
                visible_keys(segment, is_last ? segment.target_row_begin : segment.row_begin));
      }
    }
    ++products[{block.target_rows.size(), c.hidden, c.vocab_size}];
  }
  work.rows += layout.num_rows;
}

// The time of all products alone, each into memory that is there already.
class ProductBench {
 public:
  ProductBench(const Work& work, SweepCompute compute) {
    add(work.base_products, compute == SweepCompute::Bfloat16 ? at::kBFloat16 : at::kFloat);
    add(work.products, compute == SweepCompute::Float32 ? at::kFloat : at::kBFloat16);
  }

  double seconds() {
    double total = 0;
    for (const auto& [x, weight, count] : products_) {
      std::vector<double> times;
      for (int i = 0; i < 5; ++i)
        times.push_back(seconds_of([&] { product(x, weight); }));
      total += *std::ranges::min_element(times) * static_cast<double>(count);
    }
    return total;
  }

 private:
  void add(const std::map<Shape, std::int64_t>& products, at::ScalarType dtype) {
    for (const auto& [shape, count] : products) {
      products_.emplace_back(
          at::randn({shape.rows, shape.inputs}).to(dtype),
          at::randn({shape.outputs, shape.inputs}).to(dtype),
          count);
    }
  }

  std::vector<std::tuple<at::Tensor, at::Tensor, std::int64_t>> products_;
};

// The attention of one layer over all blocks.
double attention_seconds(
    const ModelConfig& model, const DecoderWeights& weights, const SweepLayout& layout) {
  const DecoderConfig& c = model.decoder;
  AttentionBuffers buffers;
  const auto run = [&] {
    SuppressedAttention attention(
        layout, {.heads = weights.heads.runs, .scale = c.layers[0].attention_scale}, buffers);
    for (const RowBlock& block : layout.blocks) {
      const at::Tensor qkv =
          at::ones({block.rows.size(), c.num_heads + 2 * c.num_kv_heads, c.head_dim});
      const auto parts = qkv.split_with_sizes({c.num_heads, c.num_kv_heads, c.num_kv_heads}, 1);
      attention.attend(block, RowSet::All, parts[0], parts[1], parts[2]);
    }
  };
  run();
  return seconds_of(run);
}

void run_bench(const Options& options) {
  at::set_num_threads(options.threads);
  const c10::InferenceMode no_autograd;
  const ModelConfig model = load_model_config(options.model);
  const Checkpoint checkpoint(options.model);
  LocalCommunicator alone;
  const SweepCompute compute = kComputes.at(options.compute);
  const DecoderWeights weights = load_decoder_weights(
      checkpoint, model, alone, compute == SweepCompute::Float32 ? at::kFloat : at::kBFloat16);
  SweepEngine engine(model.decoder, weights, {}, compute);

  const std::vector<Batch> batches = make_batches(options, model.decoder);
  const at::ScalarType kept = weights.embedding.weight.scalar_type();
  Work work;
  double attention = 0;
  std::int64_t memory = 0;
  for (const Batch& batch : batches) {
    const SweepLayout layout = lay_out_sweep(batch, batch_factors(batch, {}, {}), kSweepBlockRows);
    count_work(model.decoder, layout, work);
    memory = std::max(
        memory,
        sweep_memory(
            model.decoder,
            shape_of(layout),
            {.threads = options.threads, .kept = kept, .compute = compute}));
    attention += attention_seconds(model, weights, layout) *
                 static_cast<double>(model.decoder.num_layers() - 1);
  }

  ProductBench products(work, compute);
  const auto run = [&] {
    for (const Batch& batch : batches)
      engine.run(batch);
  };
  const std::int64_t measured_memory = peak_memory(run);
  std::vector<double> sweeps;
  std::vector<double> alone_times;
  for (int i = 0; i < options.repeat; ++i) {
    sweeps.push_back(seconds_of(run));
    alone_times.push_back(products.seconds());
  }
  const double seconds = median(sweeps);
  const double product_seconds = median(alone_times);
  const double peak = work.product_flops() / product_seconds * 1e-9;
  const double useful = (work.product_flops() + work.attention_flops) / seconds * 1e-9;
  fmt::print(
      "{} tokens, {} targets, {} rows in {} sweeps, {}, {} threads: {:.3f} s "
      "({:.3f} to {:.3f})\n",
      options.tokens,
      options.targets,
      work.rows,
      batches.size(),
      options.compute,
      options.threads,
      seconds,
      *std::ranges::min_element(sweeps),
      *std::ranges::max_element(sweeps));
  fmt::print(
      "  {:.0f} rows/s, {:.0f} useful GFLOP/s, products alone {:.0f} GFLOP/s: {:.1f} %\n",
      static_cast<double>(work.rows) / seconds,
      useful,
      peak,
      100 * useful / peak);
  fmt::print(
      "  products {:.1f} %, attention {:.1f} % ({:.0f} GFLOP/s), all else {:.1f} %\n",
      100 * product_seconds / seconds,
      100 * attention / seconds,
      work.attention_flops / attention * 1e-9,
      100 * (1 - (product_seconds + attention) / seconds));
  fmt::print("  memory {:.1f} MiB, predicted {:.1f} MiB\n", mib(measured_memory), mib(memory));
}

}  // namespace

}  // namespace limn

int main(int argc, char** argv) {
  CLI::App app("How fast a sweep is, beside the matrix products that it is made of");
  limn::Options options;
  app.add_option("model", options.model, "a checkpoint folder")->required();
  app.add_option("--tokens", options.tokens, "of the prompt");
  app.add_option("--targets", options.targets, "target tokens");
  app.add_option("--units", options.units, "perturbed tokens; 0: all of the prompt");
  app.add_option("--samples", options.samples, "of these, one after the other");
  app.add_option("--compute", options.compute)->check(CLI::IsMember(limn::kComputes));
  app.add_option("--threads", options.threads);
  app.add_option("--batch-tokens", options.batch_tokens, "rows of a sweep");
  app.add_option("--repeat", options.repeat);
  CLI11_PARSE(app, argc, argv);
  limn::run_bench(options);
}
