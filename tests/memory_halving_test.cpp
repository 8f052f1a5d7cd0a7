// Sweeps for which there is too little memory, on one rank of the group.

#include "worker/memory_halving.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/batch.h"
#include "coordinator/generation.h"
#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"
#include "storage/json_file.h"
#include "tests/golden.h"
#include "tests/messages.h"
#include "worker/decoder_weights.h"
#include "worker/generator.h"
#include "worker/layer_source.h"
#include "worker/model_family.h"
#include "worker/streamed_layers.h"
#include "worker/sweep.h"

namespace limn::test {

namespace {

using testing::FloatNear;
using testing::HasSubstr;
using testing::Pointwise;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// ATen's allocator of this process, with a limit. Refuses as ATen's own does where the machine has
// no more: by asking that for more than any machine has.
class LimitedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override;

  c10::DeleterFnPtr raw_deleter() const override { return &free; }

  void copy_data(void* to, const void* from, std::size_t size) const override {
    default_copy_data(to, from, size);
  }

  std::int64_t live() const { return live_; }

  // The most that was live since the last limit.
  std::int64_t peak() const { return peak_; }

  void limit(std::int64_t bytes) {
    limit_ = bytes;
    peak_ = live_.load();
  }

 private:
  // Before each block, which is aligned like this, lies its size.
  static constexpr std::size_t kAlignment = 64;

  static void free(void* block);

  std::atomic<std::int64_t> live_ = 0;
  std::atomic<std::int64_t> peak_ = 0;
  std::atomic<std::int64_t> limit_ = kUnlimited;
};

LimitedAllocator& allocator() {
  // Outlives every tensor.
  static auto* const limited = new LimitedAllocator;
  return *limited;
}

c10::DataPtr LimitedAllocator::allocate(std::size_t size) {
  const auto bytes = static_cast<std::int64_t>(size);
  constexpr std::size_t kMoreThanThereIs = std::size_t{1} << 60;
  if (bytes > limit_ - live_ || size >= kMoreThanThereIs)
    return c10::GetDefaultCPUAllocator()->allocate(kMoreThanThereIs);
  live_ += bytes;
  peak_ = std::max<std::int64_t>(peak_, live_);
  const std::size_t rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
  auto* const memory =
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, kAlignment + rounded));
  std::memcpy(memory, &bytes, sizeof bytes);
  return {memory + kAlignment, memory + kAlignment, &free, at::kCPU};
}

void LimitedAllocator::free(void* block) {
  if (block == nullptr) return;
  auto* const memory = static_cast<std::byte*>(block) - kAlignment;
  std::int64_t bytes = 0;
  std::memcpy(&bytes, memory, sizeof bytes);
  allocator().live_ -= bytes;
  std::free(memory);
}

class MemoryHalvingTest : public testing::Test {
 protected:
  MemoryHalvingTest() {
    c10::SetCPUAllocator(&allocator(), /*priority=*/1);
    weights_ = load_decoder_weights(checkpoint_, model_, *ranks_, at::kFloat);
  }

  ~MemoryHalvingTest() override { allocator().limit(kUnlimited); }

  // Three samples that differ, two of them with a common stem; every position is suppressed.
  Batch batch() const {
    BatchPiece piece = piece_of(golden_);
    piece.perturbations.clear();
    for (std::int32_t position = 0; position < piece.prompt_length; ++position)
      piece.perturbations.push_back({{position}});
    Batch batch{.id = 17, .pieces = {piece, piece, piece}};
    batch.pieces[0].tokens[1] += 1;
    batch.pieces[2].target_ids.back() += 1;
    batch.pieces[2].stem = 1;
    for (std::size_t i = 0; i < batch.pieces.size(); ++i)
      batch.pieces[i].sample_index = static_cast<std::int64_t>(i);
    return batch;
  }

  // Limits this rank, if it is the last one, to `share` of what the first run took beyond what is
  // live, and computes it again.
  template <typename Engine, typename OneBatch>
  auto run_limited(Engine& engine, const OneBatch& batch, double share) {
    engine.release_memory();
    allocator().limit(kUnlimited);
    const std::int64_t live = allocator().live();
    engine.run(batch);
    const auto beyond = static_cast<double>(allocator().peak() - live);
    engine.release_memory();
    if (ranks_->rank() == ranks_->size() - 1)
      allocator().limit(allocator().live() + static_cast<std::int64_t>(share * beyond));
    return run_in_memory(
        batch,
        *ranks_,
        [&](const OneBatch& part) { return engine.run(part); },
        [&] { engine.release_memory(); });
  }

  void expect_same(const BatchResult& halved, const BatchResult& whole) {
    ASSERT_EQ(halved.pieces.size(), whole.pieces.size());
    for (std::size_t i = 0; i < whole.pieces.size(); ++i) {
      EXPECT_EQ(halved.pieces[i].sample_index, whole.pieces[i].sample_index);
      EXPECT_EQ(halved.pieces[i].perturbation_begin, whole.pieces[i].perturbation_begin);
      EXPECT_THAT(
          halved.pieces[i].base_log_prob,
          Pointwise(FloatNear(1e-5F), whole.pieces[i].base_log_prob));
      EXPECT_THAT(halved.pieces[i].delta, Pointwise(FloatNear(1e-5F), whole.pieces[i].delta));
    }
  }

  std::unique_ptr<Communicator> ranks_ = world_communicator();
  std::filesystem::path folder_ = test_data() / "golden" / "llama";
  nlohmann::json golden_ = read_json(folder_ / "golden.json");
  Checkpoint checkpoint_{folder_};
  ModelConfig model_ = load_model_config(folder_);
  DecoderWeights weights_;
};

}  // namespace

TEST_F(MemoryHalvingTest, ComputesHalvesOfWhatOneRankHasNoMemoryFor) {
  SweepEngine engine(model_.decoder, weights_, Suppression{});
  const BatchResult whole = engine.run(batch());
  for (const double share : {0.7, 0.3}) {
    const BatchResult halved = run_limited(engine, batch(), share);
    EXPECT_GT(halved.num_sweeps, 1);
    expect_same(halved, whole);
  }
}

TEST_F(MemoryHalvingTest, GoesOnWithStreamedLayers) {
  StreamedLayers layers(checkpoint_, model_, *ranks_, at::kFloat);
  SweepEngine engine(model_.decoder, weights_, layers, Suppression{});
  const BatchResult whole = engine.run(batch());
  const BatchResult halved = run_limited(engine, batch(), 0.5);
  EXPECT_GT(halved.num_sweeps, 1);
  expect_same(halved, whole);
}

TEST_F(MemoryHalvingTest, SaysWhenNotEvenOnePerturbationFits) {
  SweepEngine engine(model_.decoder, weights_, Suppression{});
  EXPECT_THAT(
      message_of<InternalError>([&] { run_limited(engine, batch(), 0.001); }),
      HasSubstr("too little memory even for one perturbation"));
}

TEST_F(MemoryHalvingTest, AnswersHalvesOfThePrompts) {
  GenerationBatch prompts{.id = 3};
  const BatchPiece piece = piece_of(golden_);
  for (std::int64_t record = 0; record < 6; ++record) {
    std::vector<std::int32_t> tokens(
        piece.tokens.begin(), piece.tokens.begin() + piece.prompt_length - record);
    prompts.prompts.push_back({record, std::move(tokens), 5});
  }
  ResidentLayers layers(weights_.layers);
  Generator generator(model_.decoder, weights_, layers, SweepCompute::Float32);
  const GenerationResult whole = generator.run(prompts);
  const GenerationResult halved = run_limited(generator, prompts, 0.6);
  EXPECT_GT(halved.num_passes, 1);
  EXPECT_EQ(halved.targets, whole.targets);
}

TEST_F(MemoryHalvingTest, DoesNotTakeOtherFailuresForWantOfMemory) {
  const auto is_want_of_memory = [](const std::function<void()>& act) {
    try {
      act();
    } catch (...) {
      return is_out_of_memory(std::current_exception());
    }
    ADD_FAILURE() << "did not throw";
    return false;
  };
  EXPECT_TRUE(is_want_of_memory([] { at::empty({std::int64_t{1} << 58}); }));
  EXPECT_TRUE(is_want_of_memory([] { throw std::bad_alloc(); }));
  EXPECT_FALSE(is_want_of_memory([] { at::ones({2}).reshape({3}); }));
  EXPECT_FALSE(is_want_of_memory([] { throw InternalError("DefaultCPUAllocator"); }));
}

}  // namespace limn::test
