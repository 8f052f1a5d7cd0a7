#include "storage/run_directory.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/earlier_state.h"
#include "storage/error.h"
#include "storage/file_checksum.h"
#include "storage/generated_targets.h"
#include "storage/merge_parts.h"
#include "storage/part_files.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

RunOwnership create_and_own(const fs::path& folder, const OwnershipOptions& options) {
  create_folder(folder);
  return RunOwnership::acquire(folder, options);
}

// A disk that is full, or cannot be written any more, is the person's to mend; what was sealed is
// not touched by it.
template <typename Write>
void write_or_advise(const Write& write) {
  try {
    write();
  } catch (const IoError& error) {
    throw IoError(fmt::format(
        "{}; what is sealed stays: make room, or the folder writable, and start the same command "
        "again",
        error.what()));
  }
}

// Whether this is the same Slurm job as the one that began the run, started again by Slurm.
bool is_requeued(const RunOwner& begun, const RunOwner& now) {
  const char* const restarts = std::getenv("SLURM_RESTART_COUNT");
  const bool was_restarted = restarts != nullptr && std::string_view(restarts) != "0";
  return was_restarted && !now.job_id.empty() && begun.job_id == now.job_id;
}

std::optional<std::string> damage_of_result(const fs::path& path) {
  try {
    if (!RelevanceReader(path).attributes().complete) return "is not complete";
  } catch (const DataError& error) {
    return error.what();
  }
  return has_checksum(path) ? damage_by_checksum(path) : std::nullopt;
}

}  // namespace

class RunDirectory::Impl {
 public:
  Impl(const fs::path& path, const RunManifest& manifest, const OpenOptions& options)
      : path_(path),
        parts_path_(path / "parts"),
        ownership_(create_and_own(path, options.ownership)) {
    if (const auto folder = finish_moving(path_)) warn_of_earlier_state(*folder);
    if (options.mode == StartMode::Fresh) begin_anew(manifest);
    open_manifest(manifest, options);
    create_folder(parts_path_);
    remove_temporaries();
    inspect_parts();
    inspect_result();
  }

  const fs::path& path() const { return path_; }

  fs::path result_path() const { return path_ / "relevance.h5"; }

  const RunOwner& owner() const { return ownership_.owner(); }

  bool is_complete() const {
    if (!fs::exists(result_path())) return false;
    try {
      return RelevanceReader(result_path()).attributes().complete;
    } catch (const DataError&) {
      return false;  // The parts are still there: merge() makes it anew.
    }
  }

  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

  std::unordered_map<std::int64_t, std::int64_t> finished_contents() const {
    std::unordered_map<std::int64_t, std::int64_t> contents;
    for (const SealedPart& part : parts_) {
      for (const PartBatch& batch : part.batches) {
        const auto [known, is_new] = contents.try_emplace(batch.id, batch.contents);
        if (!is_new && known->second != batch.contents) known->second = -1;
      }
    }
    return contents;
  }

  void supersede(const std::unordered_set<std::int64_t>& batches) {
    std::vector<SealedPart> kept;
    std::size_t num_superseded = 0;
    for (SealedPart& part : parts_) {
      const bool is_superseded = std::ranges::any_of(
          part.batches, [&](const PartBatch& batch) { return batches.contains(batch.id); });
      if (is_superseded) {
        set_file_aside(part.path, "superseded");
        ++num_superseded;
      } else {
        kept.push_back(std::move(part));
      }
    }
    parts_ = std::move(kept);
    if (num_superseded == 0) return;
    warnings_.push_back(fmt::format(
        "{}: parts set aside as superseded-*, for the end of the dataset is cut into other batches "
        "now; what is in them is computed again: {}",
        parts_path_.string(),
        num_superseded));
  }

  void check_still_owner() const { ownership_.check_still_owner(); }

  fs::path seal(const OpenPart& part) {
    const PartName name{.epoch = ownership_.epoch(), .number = next_number_};
    SealedPart sealed{.path = parts_path_ / file_name(name), .batches = batches_of(part)};
    TemporaryFile temporary(sealed.path);
    write_or_advise([&] { write_part(temporary.path(), part, sealed.batches); });
    ownership_.check_still_owner();
    write_or_advise([&] { temporary.rename(); });
    ++next_number_;
    const fs::path path = sealed.path;
    parts_.push_back(std::move(sealed));
    write_or_advise([&] { write_checksum(path); });
    return path;
  }

  bool stop_requested() const {
    std::error_code unreadable;
    return fs::exists(stop_path(), unreadable);
  }

  void clear_stop_request() { remove_file(stop_path()); }

  void merge(std::int64_t num_samples) {
    std::vector<fs::path> paths;
    for (const SealedPart& part : parts_)
      paths.push_back(part.path);
    // Named by the epoch: whoever takes the run over writes another file.
    TemporaryFile temporary(result_path(), fmt::format("{:06}", ownership_.epoch()));
    write_or_advise([&] {
      RelevanceWriter writer(temporary.path(), attributes(true));
      merge_parts(paths, num_samples, writer);
      writer.close();
    });
    ownership_.check_still_owner();
    write_or_advise([&] {
      remove_file(checksum_path(result_path()));
      temporary.rename();
      write_checksum(result_path());
    });
  }

 private:
  fs::path stop_path() const { return path_ / "stop"; }

  fs::path manifest_path() const { return path_ / "manifest.json"; }

  void warn_of_earlier_state(const fs::path& folder) {
    warnings_.push_back(fmt::format(
        "{}: begun anew; what was there before is kept, remove it if nobody needs it: {}",
        path_.string(),
        folder.string()));
  }

  // A job that Slurm starts again has the flag still, and would never come to an end.
  void begin_anew(const RunManifest& manifest) {
    if (fs::exists(manifest_path()) && began_before_requeue(manifest)) {
      warnings_.push_back(fmt::format(
          "{}: --fresh: begun anew by this Slurm job before it was requeued; it goes on",
          path_.string()));
      return;
    }
    if (const auto folder = move_state_aside(path_)) warn_of_earlier_state(*folder);
  }

  bool began_before_requeue(const RunManifest& manifest) const {
    try {
      return is_requeued(read_manifest(manifest_path(), manifest).begun, owner());
    } catch (const DataError&) {
      return false;
    }
  }

  // That of the first start that computed something, which later ones must match.
  void open_manifest(const RunManifest& now, const OpenOptions& options) {
    manifest_ = now;
    manifest_.begun = owner();
    if (!holds_results()) {
      // There is nothing to go on with: what ended an earlier start may be mended now.
      if (fs::exists(manifest_path())) read_manifest(manifest_path(), now);
      write_manifest(manifest_path(), manifest_);
      return;
    }
    if (!fs::exists(manifest_path())) {
      throw JobError(fmt::format(
          "{}: missing, though there are results; choose another output.path, or start anew with "
          "--fresh, which keeps what is there",
          manifest_path().string()));
    }
    RunManifest earlier = read_manifest(manifest_path(), now);
    if (has_grown(earlier, now, options)) return extend(std::move(earlier), now);
    check_same_run(earlier, now);
    const bool is_of_earlier_release = earlier.dataset_files.empty();
    if (!is_of_earlier_release) {
      manifest_ = std::move(earlier);
      return;
    }
    manifest_.attributes = earlier.attributes;
    if (!now.dataset_files.empty()) write_manifest(manifest_path(), manifest_);
  }

  // Whether only the dataset is another, and may be. Throws JobError when it may not.
  bool has_grown(
      const RunManifest& earlier, const RunManifest& now, const OpenOptions& options) const {
    RunManifest rest = earlier;
    rest.fingerprint[kDatasetKey] = value_or_none(now, kDatasetKey);
    const bool dataset_alone =
        first_difference(earlier, now) == kDatasetKey && !first_difference(rest, now);
    const bool is_known = options.objection_to_growth && !earlier.dataset_files.empty();
    if (!dataset_alone || !is_known) return false;
    const auto objection = options.objection_to_growth(earlier.dataset_files);
    if (options.mode == StartMode::Extend) {
      if (!objection) return true;
      throw JobError(fmt::format(
          "{}: --extend: the dataset has not just grown at its end; choose another output.path, or "
          "start anew with --fresh: {}",
          manifest_path().string(),
          *objection));
    }
    if (objection) return false;
    throw JobError(fmt::format(
        "{}: the dataset has grown since the run began; go on with --extend, which keeps what is "
        "computed, or choose another output.path: {} there, {} now",
        manifest_path().string(),
        value_or_none(earlier, kDatasetKey),
        value_or_none(now, kDatasetKey)));
  }

  // In this order, so that a start that is killed in between leaves the earlier run, only without
  // the result that the parts give again.
  void extend(RunManifest earlier, const RunManifest& now) {
    supersede_unknown_contents();
    if (const auto folder = move_result_aside(path_)) {
      warnings_.push_back(fmt::format(
          "{}: the result of the dataset before it grew is kept: {}",
          result_path().string(),
          folder->string()));
    }
    earlier.fingerprint[kDatasetKey] = value_or_none(now, kDatasetKey);
    earlier.dataset_files = now.dataset_files;
    write_manifest(manifest_path(), earlier);
    manifest_ = std::move(earlier);
  }

  // Parts of an earlier release: nobody can tell whether their batches are still the same.
  void supersede_unknown_contents() const {
    for (const fs::path& path : list_parts(parts_path_).parts) {
      const auto batches = read_part(path, [&] { return RelevanceReader(path).part_batches(); });
      const bool is_unknown =
          std::ranges::any_of(batches, [](const PartBatch& batch) { return batch.contents == 0; });
      if (is_unknown) set_file_aside(path, "superseded");
    }
  }

  void check_same_run(const RunManifest& earlier, const RunManifest& now) const {
    const auto key = first_difference(earlier, now);
    if (!key) return;
    throw JobError(fmt::format(
        "{}: begun with another {}; choose another output.path, or start anew with --fresh, which "
        "keeps what is there: {} there, {} now",
        manifest_path().string(),
        *key,
        value_or_none(earlier, *key),
        value_or_none(now, *key)));
  }

  bool holds_results() const {
    std::error_code missing;
    const auto size_of_targets = fs::file_size(generated_targets_path(path_), missing);
    return fs::exists(result_path()) ||
           (fs::exists(parts_path_) && !list_parts(parts_path_).parts.empty()) ||
           (!missing && size_of_targets > 0);
  }

  // What an earlier start was writing when it ended.
  void remove_temporaries() const {
    for (const fs::path& folder : {path_, parts_path_}) {
      for (const fs::path& path : list_folder(folder)) {
        if (is_temporary(path)) remove_file(path);
      }
    }
  }

  void inspect_parts() {
    const PartListing listing = list_parts(parts_path_);
    next_number_ = listing.next_number;
    for (const fs::path& path : listing.missing) {
      warnings_.push_back(fmt::format(
          "{}: is gone, though it was sealed; its batches are computed again", path.string()));
      remove_file(checksum_path(path));
    }
    for (const fs::path& path : listing.parts) {
      PartInspection inspection = inspect_part(path);
      if (inspection.damage) {
        set_damaged_aside(path, *inspection.damage, "its batches are computed again");
      } else {
        parts_.push_back(std::move(inspection.part));
      }
    }
  }

  void inspect_result() {
    if (!fs::exists(result_path())) return;
    if (const auto damage = damage_of_result(result_path()))
      set_damaged_aside(result_path(), *damage, "it is merged anew");
  }

  void set_damaged_aside(
      const fs::path& path, const std::string& damage, std::string_view consequence) {
    const fs::path aside = set_file_aside(path, "damaged");
    const std::string where = path.string() + ": ";
    warnings_.push_back(fmt::format(
        "{}{}; {}, and the file kept as {}",
        where,
        damage.starts_with(where) ? damage.substr(where.size()) : damage,
        consequence,
        aside.filename().string()));
  }

  static std::vector<PartBatch> batches_of(const OpenPart& part) {
    std::vector<PartBatch> batches;
    for (const std::int64_t id : part.batch_ids) {
      const auto contents = part.contents.find(id);
      batches.push_back(
          {.id = id, .contents = contents == part.contents.end() ? 0 : contents->second});
    }
    return batches;
  }

  void write_part(
      const fs::path& path, const OpenPart& part, std::span<const PartBatch> batches) const {
    RelevanceWriter writer(path, attributes(false));
    std::vector<std::int64_t> sample_index;
    for (const auto& [index, sample] : part.samples) {
      writer.append(sample);
      sample_index.push_back(index);
    }
    writer.write_part_contents(sample_index, batches);
    writer.close();
  }

  RelevanceAttributes attributes(bool complete) const {
    RelevanceAttributes attributes = manifest_.attributes;
    attributes.complete = complete;
    return attributes;
  }

  fs::path path_;
  fs::path parts_path_;
  RunOwnership ownership_;
  RunManifest manifest_;
  std::vector<SealedPart> parts_;  // those that count, in the order of their names
  std::int64_t next_number_ = 0;
  std::vector<std::string> warnings_;
};

RunDirectory RunDirectory::open(
    const std::filesystem::path& path, const RunManifest& manifest, const OpenOptions& options) {
  return RunDirectory(std::make_unique<Impl>(path, manifest, options));
}

RunDirectory::RunDirectory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RunDirectory::~RunDirectory() = default;
RunDirectory::RunDirectory(RunDirectory&&) noexcept = default;
RunDirectory& RunDirectory::operator=(RunDirectory&&) noexcept = default;

const std::filesystem::path& RunDirectory::path() const {
  return impl_->path();
}

std::filesystem::path RunDirectory::result_path() const {
  return impl_->result_path();
}

const RunOwner& RunDirectory::owner() const {
  return impl_->owner();
}

bool RunDirectory::is_complete() const {
  return impl_->is_complete();
}

std::unordered_set<std::int64_t> RunDirectory::finished_batches() const {
  std::unordered_set<std::int64_t> batches;
  for (const auto& [id, contents] : impl_->finished_contents())
    batches.insert(id);
  return batches;
}

std::vector<std::string> RunDirectory::take_warnings() {
  return impl_->take_warnings();
}

std::unordered_map<std::int64_t, std::int64_t> RunDirectory::finished_contents() const {
  return impl_->finished_contents();
}

void RunDirectory::supersede(const std::unordered_set<std::int64_t>& batches) {
  impl_->supersede(batches);
}

void RunDirectory::check_still_owner() const {
  impl_->check_still_owner();
}

std::filesystem::path RunDirectory::seal(const OpenPart& part) {
  return impl_->seal(part);
}

bool RunDirectory::stop_requested() const {
  return impl_->stop_requested();
}

void RunDirectory::clear_stop_request() {
  impl_->clear_stop_request();
}

void RunDirectory::merge(std::int64_t num_samples) {
  impl_->merge(num_samples);
}

}  // namespace limn
