// The run directory: the durable state of a run.
//
//   RUN/manifest.json        what is computed here; not changed once anything is
//   RUN/lock                 held by the one live run
//   RUN/targets.jsonl        what the model answered, where it gives the targets
//   RUN/parts/part-NNNNNN.h5 sealed parts, in the order of their sealing
//   RUN/stop                 made by a person: finish the current part and stop
//   RUN/limn.log             the log of all starts
//   RUN/relevance.h5         the result, once everything is computed
//
// docs/run-directory.md specifies them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "storage/relevance_file.h"
#include "storage/sample_record.h"

namespace limn {

// What a run directory computes. Two starts with equal contents continue each other: every key can
// alter values (or which batches there are), and a change of any is refused by name.
struct RunManifest {
  // Key -> value, for example "explain.factor" -> "0.0" or "dataset" -> "xxh3:...". Compared key by
  // key.
  std::map<std::string, std::string> fingerprint;
  RelevanceAttributes attributes;  // `complete` is ignored
};

// Finished batches that are not on disk yet.
struct OpenPart {
  // By the sample's index in the dataset. What no batch of this part computed is NaN in `delta` and
  // in the targets' `log_prob`.
  std::map<std::int64_t, SampleRecord> samples;
  std::vector<std::int64_t> batch_ids;

  bool empty() const { return batch_ids.empty(); }
};

// Owns: the lock, from open() until destruction. Threads: one thread at a time, but for
// stop_requested() and clear_stop_request(), which any thread may call.
class RunDirectory {
 public:
  // Creates the directory and its parents, or opens the one of an earlier start. Once that has
  // sealed a part its manifest counts and its attributes are kept; until then the new manifest
  // replaces it. Removes what an earlier start was writing when it was killed.
  // Waits some seconds for a killed run's last processes to let go of it.
  // Throws IoError when it cannot be written or another run holds it (naming host and process),
  // JobError when the manifest that counts differs (naming the first key and both values),
  // DataError when there is one that is damaged or of another version.
  static RunDirectory open(const std::filesystem::path& path, const RunManifest& manifest);
  ~RunDirectory();
  RunDirectory(RunDirectory&&) noexcept;
  RunDirectory& operator=(RunDirectory&&) noexcept;

  const std::filesystem::path& path() const;
  std::filesystem::path result_path() const;  // RUN/relevance.h5

  // Whether relevance.h5 is there, complete and not damaged so that merge() must make it anew.
  bool is_complete() const;

  // The batches of all sealed parts. A part that cannot be read is an error: DataError naming the
  // file and saying that deleting it makes limn compute its batches again.
  std::unordered_set<std::int64_t> finished_batches() const;

  // Makes a part durable: written to a temporary name, synced, renamed, folder synced. Either the
  // whole part is there afterwards or, after an exception or a crash, none of it. Returns where it
  // is. Throws IoError.
  std::filesystem::path seal(const OpenPart& part);

  // Whether a person asked to stop by creating RUN/stop.
  bool stop_requested() const;

  // Removes RUN/stop, so that the next start does not stop at once.
  void clear_stop_request();

  // Merges all parts, in dataset order, into relevance.h5, durably and whole or not at all. A
  // sample that is not Ok in one part is not Ok in the result. Throws InternalError when a unit of
  // an Ok sample was computed by no part, DataError as finished_batches().
  void merge(std::int64_t num_samples);

 private:
  class Impl;
  explicit RunDirectory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
