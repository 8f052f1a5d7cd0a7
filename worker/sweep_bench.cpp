#include "worker/sweep_bench.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "sharding/device_measure.h"
#include "sharding/parallel_linear.h"
#include "worker/sweep.h"
#include "worker/sweep_attention.h"
#include "worker/sweep_layout.h"
#include "worker/sweep_memory.h"

namespace limn {

namespace {

// The best time of a product. A GPU is given several calls at a time: between two products of a
// sweep nobody waits for it either.
double seconds_of_product(const at::Tensor& x, const at::Tensor& weight) {
  constexpr int kTries = 5;
  const int calls = x.is_cuda() ? 4 : 1;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTries; ++i) {
    const double seconds = seconds_of(x.device(), [&] {
      for (int call = 0; call < calls; ++call)
        product(x, weight);
    });
    best = std::min(best, seconds / calls);
  }
  return best;
}

at::Tensor random_matrix(
    std::int64_t rows, std::int64_t columns, at::ScalarType dtype, at::Device device) {
  // What is multiplied does not matter, but zeros and denormals do.
  return at::empty({rows, columns}, at::TensorOptions().dtype(dtype).device(device))
      .uniform_(-1, 1);
}

// The products of some work, those of the same weight together: one weight is there at a time, and
// the rows of the largest.
double seconds_of_products(const MinimumWork& work, at::Device device) {
  struct WeightShape {
    at::ScalarType dtype;
    std::int64_t inputs;
    std::int64_t outputs;

    auto operator<=>(const WeightShape&) const = default;
  };

  std::map<WeightShape, std::map<std::int64_t, std::int64_t>> by_weight;
  for (const auto& [one, count] : work.products)
    by_weight[{one.dtype, one.inputs, one.outputs}][one.rows] += count;

  double total = 0;
  for (const auto& [shape, counts] : by_weight) {
    const at::Tensor weight = random_matrix(shape.outputs, shape.inputs, shape.dtype, device);
    const at::Tensor x = random_matrix(counts.rbegin()->first, shape.inputs, shape.dtype, device);
    for (const auto& [rows, count] : counts) {
      total += seconds_of_product(x.narrow(0, 0, rows), weight) * static_cast<double>(count);
    }
  }
  return total;
}

// Layers whose attention takes equally long.
struct AttentionClass {
  std::int64_t window = 0;
  RowSet rows = RowSet::All;

  auto operator<=>(const AttentionClass&) const = default;
};

std::map<AttentionClass, std::int64_t> attention_classes(const DecoderConfig& config) {
  std::map<AttentionClass, std::int64_t> counts;
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const bool is_last = l + 1 == config.layers.size();
    ++counts[{config.layers[l].window, is_last ? RowSet::Targets : RowSet::All}];
  }
  return counts;
}

class SweepBench {
 public:
  SweepBench(
      const ModelConfig& model,
      const DecoderWeights& weights,
      std::span<const PlannedBatch> batches,
      const SweepBenchOptions& options)
      : config_(model.decoder),
        names_(model.names),
        weights_(weights),
        batches_(batches),
        options_(options),
        engine_(model.decoder, weights, options.suppression, options.compute) {}

  void run() {
    for (const PlannedBatch& planned : batches_)
      engine_.run(planned.batch);
  }

  // What is known of the batches without running them, and their attention's time.
  SweepBenchResult survey(int tensor_parallel) {
    SweepBenchResult result;
    for (const PlannedBatch& planned : batches_) {
      const Batch& batch = planned.batch;
      const SweepLayout layout = lay_out_sweep(
          batch, batch_factors(batch, options_.suppression, {}), sweep_block_rows(options_.device));
      add_minimum_work(
          config_,
          {.tensor_parallel = tensor_parallel, .compute = ideal_compute()},
          layout,
          result.work);
      if (options_.device.is_cpu()) {
        result.predicted_memory = std::max(
            result.predicted_memory.value_or(0), predicted_memory(layout, tensor_parallel));
      }
      for (const auto& [attention, count] : attention_classes(config_))
        result.attention += attention_seconds(layout, attention) * static_cast<double>(count);
    }
    return result;
  }

 private:
  // What the least work is counted in. The base's rows in the delta form take thrice their products
  // on a GPU, as wide_product() has it: more than the least.
  SweepCompute ideal_compute() const {
    const bool is_wide = is_wide_as_kept(weights_.embedding.weight);
    return is_wide && is_delta(options_.compute) ? SweepCompute::Bfloat16 : options_.compute;
  }

  std::int64_t predicted_memory(const SweepLayout& layout, int tensor_parallel) const {
    return sweep_memory(
        config_,
        shape_of(layout),
        {.tensor_parallel = tensor_parallel,
         .threads = at::get_num_threads(),
         .kept = weights_.embedding.weight.scalar_type(),
         .compute = options_.compute,
         .norms_branches = !names_.attention_out_norm.empty() || !names_.mlp_out_norm.empty()});
  }

  // One layer's over all blocks, the second time that it is computed.
  double attention_seconds(const SweepLayout& layout, const AttentionClass& kind) {
    const std::int64_t heads = weights_.heads.query_heads.size();
    const std::int64_t kv_heads = weights_.heads.kv_heads.size();
    // [rows, (heads + 2 kv_heads)/t, head_dim] of the largest block
    std::int64_t most_rows = 0;
    for (const RowBlock& block : layout.blocks)
      most_rows = std::max(most_rows, block.rows.size());
    const at::Tensor qkv = at::ones(
        {most_rows, heads + 2 * kv_heads, config_.head_dim},
        at::TensorOptions().device(options_.device));
    const AttentionOptions attention_options{
        .heads = weights_.heads.runs,
        .scale = config_.layers.front().attention_scale,
        .window = kind.window,
        .softcap = config_.attention_softcap,
        .suppression = options_.suppression.kind};
    SweepAttention of_sweep(
        layout, weights_.heads.runs, config_.head_dim, options_.compute, options_.device, buffers_);
    const auto attend = [&] {
      const std::unique_ptr<LayerAttention> attention = of_sweep.layer(attention_options);
      for (const RowBlock& block : layout.blocks) {
        const auto parts =
            qkv.narrow(0, 0, block.rows.size()).split_with_sizes({heads, kv_heads, kv_heads}, 1);
        const std::int64_t queries =
            kind.rows == RowSet::All ? block.rows.size() : block.target_rows.size();
        attention->attend(block, kind.rows, parts[0].narrow(0, 0, queries), parts[1], parts[2]);
      }
    };
    attend();
    return seconds_of(options_.device, attend);
  }

  const DecoderConfig& config_;
  const TensorNames& names_;
  const DecoderWeights& weights_;
  std::span<const PlannedBatch> batches_;
  const SweepBenchOptions& options_;
  SweepEngine engine_;
  AttentionBuffers buffers_;  // of attention alone
};

// The largest of the ranks' values.
double slowest(Communicator& world, double seconds) {
  at::Tensor value = at::full({1}, seconds, at::kDouble);
  world.all_reduce(value, ReduceOp::Max);
  return value.item<double>();
}

}  // namespace

SweepBenchResult bench_sweeps(
    const ModelConfig& model,
    const DecoderWeights& weights,
    std::span<const PlannedBatch> batches,
    TimedCommunicator& tensor_ranks,
    Communicator& world,
    const SweepBenchOptions& options) {
  const c10::InferenceMode no_autograd;
  SweepBench bench(model, weights, batches, options);
  // First of all, while nothing else is in memory.
  const TensorMemory memory = tensor_memory_of(options.device, [&] { bench.run(); });
  SweepBenchResult result = bench.survey(tensor_ranks.size());
  result.memory = memory.peak;

  std::vector<double> products;
  for (int i = 0; i < options.repeat; ++i) {
    slowest(world, 0);  // all begin together
    result.runs.push_back(slowest(world, seconds_of(options.device, [&] { bench.run(); })));
    products.push_back(seconds_of_products(result.work, options.device));
  }
  std::ranges::sort(result.runs);
  std::ranges::sort(products);
  result.products = products[products.size() / 2];

  if (tensor_ranks.size() > 1) {
    slowest(world, 0);
    tensor_ranks.start();
    bench.run();
    const TimedCommunicator::Total total = tensor_ranks.stop();
    result.communication = total.seconds;
    result.num_collectives = total.calls;
    result.collective_bytes = total.bytes;
  }
  return result;
}

}  // namespace limn
