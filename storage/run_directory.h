// The run directory: the durable state of a run.
//
//   RUN/manifest.json                what is computed here; not changed once anything is
//   RUN/lock, RUN/epochs/            who owns the run (run_owner.h)
//   RUN/targets.jsonl                what the model answered, where it gives the targets
//   RUN/parts/part-EEEEEE-NNNNNN.h5  sealed parts, in the order of their sealing, with checksums
//   RUN/stop                         made by a person: finish the current part and stop
//   RUN/limn.log                     the log of all starts
//   RUN/relevance.h5                 the result, once everything is computed
//   RUN/earlier-NNN/                 what was there before the run was begun anew
//
// docs/run-directory.md specifies them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "storage/relevance_file.h"
#include "storage/run_manifest.h"
#include "storage/run_owner.h"
#include "storage/sample_record.h"

namespace limn {

// Finished batches that are not on disk yet.
struct OpenPart {
  // By the sample's index in the dataset. What no batch of this part computed is NaN in `delta` and
  // in the targets' `log_prob`.
  std::map<std::int64_t, SampleRecord> samples;
  std::vector<std::int64_t> batch_ids;
  // Of the batches that have one: PartBatch::contents.
  std::unordered_map<std::int64_t, std::int64_t> contents = {};

  bool empty() const { return batch_ids.empty(); }
};

// What a start does with what an earlier one left.
enum class StartMode {
  Continue,
  Fresh,   // it is moved to RUN/earlier-NNN, and the run begun anew
  Extend,  // it is continued even if the dataset has grown at its end
};

struct OpenOptions {
  StartMode mode = StartMode::Continue;
  // None: a dataset that is another has never just grown.
  ObjectionToGrowth objection_to_growth = {};
  OwnershipOptions ownership = {};
};

// Owns: the run, from open() until destruction. Threads: one thread at a time, but for
// stop_requested(), clear_stop_request() and check_still_owner(), which any thread may call.
class RunDirectory {
 public:
  // Creates the directory and its parents, or opens the one of an earlier start. Once that has
  // computed anything its manifest counts and its attributes are kept; until then the new manifest
  // replaces it. Reads all parts whole; what is damaged is set aside, so that its batches are
  // computed again, and is named in take_warnings(). Removes what an earlier start was writing when
  // it was killed. Waits some seconds for a killed run's last processes to let go of it.
  // Throws IoError when it cannot be written or another run holds it (naming host and process),
  // JobError when the manifest that counts differs (naming the first key and both values) or the
  // dataset has not just grown, DataError when there is a manifest that is damaged or of another
  // version.
  static RunDirectory open(
      const std::filesystem::path& path,
      const RunManifest& manifest,
      const OpenOptions& options = {});
  ~RunDirectory();
  RunDirectory(RunDirectory&&) noexcept;
  RunDirectory& operator=(RunDirectory&&) noexcept;

  const std::filesystem::path& path() const;
  std::filesystem::path result_path() const;  // RUN/relevance.h5
  const RunOwner& owner() const;

  // Whether relevance.h5 is there, complete and not damaged so that merge() must make it anew.
  bool is_complete() const;

  // What a person should know of what was found, a line each; those that were not taken before.
  std::vector<std::string> take_warnings();

  // The batches of all parts that were whole at the start, and of those sealed since.
  std::unordered_set<std::int64_t> finished_batches() const;

  // The same, each with PartBatch::contents. Two parts that disagree: the contents are -1.
  std::unordered_map<std::int64_t, std::int64_t> finished_contents() const;

  // Sets aside all parts that hold one of these batches, because a batch of this number has other
  // contents now: nothing in them is finished any more. Throws IoError.
  void supersede(const std::unordered_set<std::int64_t>& batches);

  // Throws IoError when another start has taken the run over: then nothing may be written. To be
  // called before anything is written that this class does not write itself.
  void check_still_owner() const;

  // Makes a part durable: written to a temporary name, synced, renamed, folder synced. Either the
  // whole part is there afterwards or, after an exception or a crash, none of it. Returns where it
  // is. Throws IoError, also when another start has taken the run over.
  std::filesystem::path seal(const OpenPart& part);

  // Whether a person asked to stop by creating RUN/stop.
  bool stop_requested() const;

  // Removes RUN/stop, so that the next start does not stop at once.
  void clear_stop_request();

  // Merges all parts, in dataset order, into relevance.h5, durably and whole or not at all. A
  // sample that is not Ok in one part is not Ok in the result. Throws InternalError when a unit of
  // an Ok sample was computed by no part, DataError when a part has been damaged since the start,
  // IoError as seal().
  void merge(std::int64_t num_samples);

 private:
  class Impl;
  explicit RunDirectory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
