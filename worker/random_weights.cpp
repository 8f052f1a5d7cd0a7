#include "worker/random_weights.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "sharding/local_communicator.h"
#include "sharding/shard_source.h"

namespace limn {

namespace {

constexpr double kDeviation = 0.02;

// The tensors of a model that its config describes and nobody has.
class ImaginedTensors : public ShardSource {
 public:
  explicit ImaginedTensors(const ModelConfig& model) : names_(model.names) {}

  bool has(const std::string& name) const override {
    return names_.head_bias && name == fmt::format("{}.bias", names_.head);
  }

  std::string place() const override { return "random weights"; }

 private:
  const TensorNames& names_;
};

// Another seed for every value of `more` (the finalizer of SplitMix64, Steele et al. 2014).
std::uint64_t mixed(std::uint64_t seed, std::uint64_t more) {
  seed += 0x9e3779b97f4a7c15 * (more + 1);
  seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
  seed = (seed ^ (seed >> 27)) * 0x94d049bb133111eb;
  return seed ^ (seed >> 31);
}

std::uint64_t seed_of(std::uint64_t seed, const ShardRequest& request) {
  for (const char character : request.name)
    seed = mixed(seed, static_cast<unsigned char>(character));
  return mixed(seed, static_cast<std::uint64_t>(request.slice.begin));
}

at::Generator seeded_generator(at::Device device, std::uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(seed);
  return generator;
}

// ATen draws on one thread, and at full speed float32 alone: so a piece for each thread at a time,
// each of a seed of its own, which makes the values independent of the number of threads.
void fill_normal_on_cpu(const at::Tensor& values, double center, std::uint64_t seed) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 18;
  const at::Tensor flat = values.view({-1});
  const std::int64_t num_pieces = (flat.numel() + kPiece - 1) / kPiece;
  at::parallel_for(0, num_pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode no_autograd;  // each thread has a mode of its own
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = piece * kPiece;
      const at::Tensor part = flat.narrow(0, first, std::min(kPiece, flat.numel() - first));
      const at::Generator generator =
          seeded_generator(at::kCPU, mixed(seed, static_cast<std::uint64_t>(piece)));
      part.copy_(at::normal(center, kDeviation, part.sizes(), generator));
    }
  });
}

void fill_normal(at::Tensor values, double center, std::uint64_t seed) {
  if (values.is_cpu()) {
    fill_normal_on_cpu(values, center, seed);
  } else {
    values.normal_(center, kDeviation, seeded_generator(values.device(), seed));
  }
}

class RandomTensors : public ImaginedTensors {
 public:
  RandomTensors(const ModelConfig& model, at::Device device, std::uint64_t seed)
      : ImaginedTensors(model),
        device_(device),
        seed_(seed) {}

  at::Tensor load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype) override {
    at::Tensor joined =
        at::empty(joined_shape(requests), at::TensorOptions().dtype(dtype).device(device_));
    std::int64_t row = 0;
    for (const ShardRequest& request : requests) {
      const std::int64_t count = shard_shape(request)[0];
      fill_normal(joined.narrow(0, row, count), request.center, seed_of(seed_, request));
      row += count;
    }
    return joined;
  }

 private:
  at::Device device_;
  std::uint64_t seed_;
};

// Counts the elements of all that is asked for, and gives nothing.
class CountedTensors : public ImaginedTensors {
 public:
  using ImaginedTensors::ImaginedTensors;

  at::Tensor load_joined(
      std::span<const ShardRequest> requests, at::ScalarType /*dtype*/) override {
    for (const ShardRequest& request : requests)
      num_elements_[request.name] = c10::multiply_integers(request.shape);
    return {};
  }

  std::int64_t total() const {
    std::int64_t sum = 0;
    for (const auto& [name, count] : num_elements_)
      sum += count;
    return sum;
  }

 private:
  std::map<std::string, std::int64_t> num_elements_;  // by name: parts of one tensor count once
};

}  // namespace

DecoderWeights random_decoder_weights(
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    at::Device device,
    std::uint64_t seed) {
  RandomTensors tensors(model, device, seed);
  return read_decoder_weights(tensors, model, tensor_ranks, dtype);
}

std::int64_t num_parameters(const ModelConfig& model) {
  CountedTensors tensors(model);
  LocalCommunicator alone;
  read_decoder_weights(tensors, model, alone, at::kFloat);
  return tensors.total();
}

}  // namespace limn
