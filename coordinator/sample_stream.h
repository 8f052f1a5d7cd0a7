// The samples of a dataset, made ahead of need by threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/job.h"
#include "coordinator/sample.h"

namespace limn {

// Where the samples' targets come from.
enum class TargetSource {
  Dataset,    // the records
  Nowhere,    // the model will give them: samples have their prompts alone, without units
  Generated,  // the model has given them: from the run's file of targets
};

// Where those of a job come from, once they are all there.
TargetSource target_source(const Job& job);

// Walks the dataset once, in its order. Threads of its own parse and encode the records that come
// next, some hundred, but no more than some megabytes of them.
// Borrows: the preparer. Threads: one thread at a time.
class SampleStream {
 public:
  // Requires: at least one thread. Throws what DatasetReader throws.
  SampleStream(
      const Job& job, const SamplePreparer& preparer, TargetSource targets, int num_threads);
  ~SampleStream();
  SampleStream(SampleStream&&) noexcept;
  SampleStream& operator=(SampleStream&&) noexcept;

  // The samples of the next record of those that data.sample_ids and the like leave, one for each
  // of its alternative targets; none at the end. Samples are counted from 0 by their `index`. A
  // record that cannot be read or explained is, with data.on_error = "skip", a sample with the
  // status Skipped, its id and a message; without, it throws DataError naming its place, and the
  // call after that goes on with the record behind it. A question of SQuAD's without an answer is
  // skipped in either case. Throws what DatasetReader::next_entry throws, and DataError where the
  // file of targets is damaged; there are no more samples then.
  std::vector<Sample> next();

  // Those of data.sample_ids that no record had so far, in their order.
  std::vector<std::string> missing_ids() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
