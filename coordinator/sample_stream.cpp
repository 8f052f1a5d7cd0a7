#include "coordinator/sample_stream.h"

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_set>
#include <utility>

#include "coordinator/dataset.h"
#include "coordinator/target_alternatives.h"
#include "storage/error.h"
#include "storage/generated_targets.h"

namespace limn {

namespace {

// What a thread takes at once: enough that taking it is nothing beside encoding it.
constexpr std::size_t kBlockEntries = 16;
constexpr std::size_t kBlockBytes = 64 * 1024;

// What may be read and not asked for yet. Made ready, a text takes some ten times its bytes.
constexpr std::int64_t kBlocksAhead = 16;  // for each thread
constexpr std::size_t kBytesAhead = 4 * 1024 * 1024;

// The samples of a record, or why there are none.
struct Outcome {
  std::string record_id;
  std::vector<Sample> samples;
  std::exception_ptr failure;
};

// With the target that the model gave, if it did.
struct Entry {
  DatasetEntry entry;
  std::optional<std::vector<std::int32_t>> target_ids;
};

// Some successive entries, then what became of those that are wanted.
struct Block {
  std::int64_t number = 0;
  std::size_t num_bytes = 0;
  std::vector<Entry> entries;
  std::vector<Outcome> outcomes;
  std::exception_ptr failure;  // of reading on behind the entries
  bool is_last = false;
};

// Of the records, in their order.
class GeneratedTargets {
 public:
  explicit GeneratedTargets(const std::filesystem::path& path) : reader_(path) {}

  // Requires: no record of a larger index was asked for.
  std::optional<std::vector<std::int32_t>> of_record(std::int64_t index) {
    while (!at_end_ && (!line_ || line_->record_index < index)) {
      line_ = reader_.next();
      at_end_ = !line_;
    }
    if (!line_ || line_->record_index != index) return std::nullopt;
    return std::move(line_->target_ids);
  }

 private:
  GeneratedTargetsReader reader_;
  std::optional<GeneratedTargetLine> line_;  // of a record that was not asked for so far
  bool at_end_ = false;
};

Sample skipped_sample(std::string id, std::string message) {
  Sample sample;
  sample.record.id = std::move(id);
  sample.record.status = SampleStatus::Skipped;
  sample.record.message = std::move(message);
  return sample;
}

}  // namespace

class SampleStream::Impl {
 public:
  Impl(const Job& job, const SamplePreparer& preparer, TargetSource targets, int num_threads)
      : options_(job.data),
        wanted_ids_(options_.sample_ids.begin(), options_.sample_ids.end()),
        preparer_(preparer),
        target_source_(targets),
        most_blocks_(kBlocksAhead * num_threads),
        reader_(
            options_,
            targets == TargetSource::Dataset ? TargetKeys::Required : TargetKeys::Optional) {
    if (targets == TargetSource::Generated) {
      generated_targets_.emplace(generated_targets_path(job.output.path));
    }
    for (int i = 0; i < num_threads; ++i)
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }

  // One thread may wait for another that waits for room.
  ~Impl() {
    for (std::jthread& thread : threads_)
      thread.request_stop();
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::vector<Sample> next() {
    while (next_outcome_ == outcomes_.size()) {
      if (at_end_) return {};
      take_next_block();
    }
    Outcome outcome = std::move(outcomes_[next_outcome_++]);
    if (outcome.failure) std::rethrow_exception(outcome.failure);
    for (Sample& sample : outcome.samples)
      sample.index = num_samples_++;
    if (!wanted_ids_.empty()) found_ids_.insert(outcome.record_id);
    return std::move(outcome.samples);
  }

  std::vector<std::string> missing_ids() const {
    std::vector<std::string> missing;
    for (const std::string& id : options_.sample_ids) {
      if (!found_ids_.contains(id)) missing.push_back(id);
    }
    return missing;
  }

 private:
  void work(const std::stop_token& stop) {
    while (std::optional<Block> block = read_block(stop)) {
      for (const Entry& entry : block->entries) {
        Outcome outcome = outcome_of(entry);
        if (!outcome.samples.empty() || outcome.failure)
          block->outcomes.push_back(std::move(outcome));
      }
      block->entries.clear();
      if (block->failure) block->outcomes.push_back(failed(block->failure));
      deliver(*std::move(block));
    }
  }

  // Nothing when all is read or `stop` was asked for. Waits for room.
  std::optional<Block> read_block(const std::stop_token& stop) {
    const std::lock_guard reading(reader_mutex_);
    if (all_is_read_) return std::nullopt;
    {
      std::unique_lock lock(mutex_);
      const auto has_room = [this] {
        return num_blocks_ahead_ < most_blocks_ && num_bytes_ahead_ < kBytesAhead;
      };
      if (!room_.wait(lock, stop, has_room)) return std::nullopt;
    }
    Block block{.number = num_blocks_read_++};
    try {
      while (block.entries.size() < kBlockEntries && block.num_bytes < kBlockBytes) {
        auto entry = reader_.next_entry();
        if (!entry) {
          all_is_read_ = true;
          break;
        }
        block.num_bytes += entry->num_bytes();
        std::optional<std::vector<std::int32_t>> target_ids;
        if (generated_targets_) target_ids = generated_targets_->of_record(entry->index);
        block.entries.push_back({*std::move(entry), std::move(target_ids)});
      }
    } catch (...) {
      all_is_read_ = true;
      block.failure = std::current_exception();
    }
    block.is_last = all_is_read_;
    const std::lock_guard lock(mutex_);
    ++num_blocks_ahead_;
    num_bytes_ahead_ += block.num_bytes;
    return block;
  }

  bool is_wanted(const std::string& id) const {
    return wanted_ids_.empty() || wanted_ids_.contains(id);
  }

  // Neither samples nor a failure if the entry is not wanted.
  Outcome outcome_of(const Entry& entry) const {
    try {
      DatasetRecord record = record_of(entry);
      if (!is_wanted(record.id)) return {};
      if (record.skip_reason) return skipped(record.id, *record.skip_reason);
      Outcome outcome{.record_id = record.id, .samples = {}, .failure = nullptr};
      for (const DatasetRecord& one : single_target_records(std::move(record)))
        outcome.samples.push_back(prepared(one));
      return outcome;
    } catch (const DataError& error) {
      if (options_.on_error == OnError::Fail) return failed(std::current_exception());
      const std::string id = reader_.id_of(entry.entry);
      if (!is_wanted(id)) return {};
      return skipped(id, error.what());
    } catch (...) {
      return failed(std::current_exception());
    }
  }

  static Outcome failed(std::exception_ptr failure) {
    return {.record_id = {}, .samples = {}, .failure = std::move(failure)};
  }

  static Outcome skipped(const std::string& id, std::string message) {
    Outcome outcome{.record_id = id, .samples = {}, .failure = nullptr};
    outcome.samples.push_back(skipped_sample(id, std::move(message)));
    return outcome;
  }

  DatasetRecord record_of(const Entry& entry) const {
    DatasetRecord record = reader_.record_of(entry.entry);
    if (target_source_ != TargetSource::Dataset) {
      record.target.reset();
      record.targets.reset();
      record.targets_ids.reset();
      record.target_ids = entry.target_ids;
    }
    return record;
  }

  Sample prepared(const DatasetRecord& record) const {
    return target_source_ == TargetSource::Nowhere ? preparer_.prepare_prompt(record)
                                                   : preparer_.prepare(record);
  }

  void deliver(Block block) {
    {
      const std::lock_guard lock(mutex_);
      const std::int64_t number = block.number;
      done_.emplace(number, std::move(block));
    }
    delivered_.notify_one();
  }

  void take_next_block() {
    std::unique_lock lock(mutex_);
    delivered_.wait(lock, [this] { return done_.contains(num_blocks_taken_); });
    Block block = std::move(done_.extract(num_blocks_taken_++).mapped());
    --num_blocks_ahead_;
    num_bytes_ahead_ -= block.num_bytes;
    lock.unlock();
    room_.notify_one();
    at_end_ = block.is_last;
    outcomes_ = std::move(block.outcomes);
    next_outcome_ = 0;
  }

  DataOptions options_;
  std::unordered_set<std::string> wanted_ids_;  // empty: all
  const SamplePreparer& preparer_;
  TargetSource target_source_;
  std::int64_t most_blocks_;

  // Of the thread that asks for samples.
  std::vector<Outcome> outcomes_;
  std::size_t next_outcome_ = 0;
  std::int64_t num_blocks_taken_ = 0;
  std::int64_t num_samples_ = 0;
  std::unordered_set<std::string> found_ids_;
  bool at_end_ = false;

  std::mutex reader_mutex_;  // locked before the other one
  DatasetReader reader_;     // whose const functions need no lock
  std::optional<GeneratedTargets> generated_targets_;
  std::int64_t num_blocks_read_ = 0;
  bool all_is_read_ = false;

  std::mutex mutex_;
  std::condition_variable_any room_;
  std::condition_variable delivered_;
  std::map<std::int64_t, Block> done_;  // by number
  std::int64_t num_blocks_ahead_ = 0;
  std::size_t num_bytes_ahead_ = 0;

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

TargetSource target_source(const Job& job) {
  return generates_targets(job) ? TargetSource::Generated : TargetSource::Dataset;
}

SampleStream::SampleStream(
    const Job& job, const SamplePreparer& preparer, TargetSource targets, int num_threads)
    : impl_(std::make_unique<Impl>(job, preparer, targets, num_threads)) {}

SampleStream::~SampleStream() = default;
SampleStream::SampleStream(SampleStream&&) noexcept = default;
SampleStream& SampleStream::operator=(SampleStream&&) noexcept = default;

std::vector<Sample> SampleStream::next() {
  return impl_->next();
}

std::vector<std::string> SampleStream::missing_ids() const {
  return impl_->missing_ids();
}

}  // namespace limn
