#include "storage/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/durable_file.h"
#include "storage/error.h"
#include "storage/generated_targets.h"
#include "storage/json_file.h"
#include "storage/merge_parts.h"

namespace limn {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRunFormat = "limn.run";
constexpr std::int32_t kRunFormatVersion = 1;

constexpr std::string_view kPartPrefix = "part-";
constexpr std::string_view kPartSuffix = ".h5";

// A file under construction is .NAME.tmp until it is whole.
constexpr std::string_view kTemporarySuffix = ".tmp";

fs::path temporary_path(const fs::path& path) {
  return path.parent_path() / fmt::format(".{}{}", path.filename().string(), kTemporarySuffix);
}

bool is_temporary(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') && name.ends_with(kTemporarySuffix);
}

void remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw_errno(path, "cannot be removed");
}

// A file under construction. Removes what is there of it unless it was given its name.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& final_path)
      : final_path_(final_path),
        path_(temporary_path(final_path)) {}

  ~TemporaryFile() {
    if (!renamed_) ::unlink(path_.c_str());
  }

  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const fs::path& path() const { return path_; }

  // Requires: the file is synced to disk.
  void rename() {
    rename_durably(path_, final_path_);
    renamed_ = true;
  }

 private:
  fs::path final_path_;
  fs::path path_;
  bool renamed_ = false;
};

// Creates the folder and its parents where they are missing.
void create_folder(const fs::path& folder) {
  std::error_code code;
  const bool is_new = fs::create_directories(folder, code);
  if (code || !fs::is_directory(folder, code)) {
    throw IoError(fmt::format(
        "{}: the folder cannot be created: {}",
        folder.string(),
        code ? code.message() : "a file is in its place"));
  }
  if (is_new && folder.has_parent_path()) sync_folder(folder.parent_path());
}

std::vector<fs::path> list_folder(const fs::path& folder) {
  std::vector<fs::path> paths;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      paths.push_back(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    throw IoError(fmt::format("{}: cannot be listed: {}", folder.string(), error.code().message()));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// The number of part-NNNNNN.h5; nothing for any other name.
std::optional<std::int64_t> part_number(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(kPartPrefix) || !name.ends_with(kPartSuffix)) return std::nullopt;
  const char* const begin = name.data() + kPartPrefix.size();
  const char* const end = name.data() + name.size() - kPartSuffix.size();
  std::int64_t number = 0;
  const auto [parsed_end, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || parsed_end != end) return std::nullopt;
  return number;
}

std::string this_process() {
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("process {} on {}", ::getpid(), host.data());
}

std::string lock_holder(const FileDescriptor& lock) {
  std::array<char, 512> text = {};
  const ssize_t length = ::pread(lock.get(), text.data(), text.size(), 0);
  std::string holder(text.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  if (const auto line_end = holder.find('\n'); line_end != std::string::npos) {
    holder.resize(line_end);
  }
  return holder.empty() ? "an unknown process" : holder;
}

// Ranks outlive a launcher that was killed by a second or two; who starts the same command again at
// once need not know.
constexpr auto kPatience = std::chrono::seconds(5);

// The lock lasts until the last copy of the descriptor is closed: it goes with the process, and is
// not handed down to programs that it starts (O_CLOEXEC). Children forked without exec share it.
FileDescriptor lock_folder(const fs::path& folder) {
  const fs::path path = folder / "lock";
  FileDescriptor lock(path, O_RDWR | O_CREAT);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) throw_errno(path, "cannot be locked");
    if (std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    throw IoError(fmt::format(
        "{}: another run is at work here; wait for its end, or choose another output.path: {}",
        path.string(),
        lock_holder(lock)));
  }
  write_text(lock, path, this_process() + "\n");
  return lock;
}

FileDescriptor create_and_lock(const fs::path& folder) {
  create_folder(folder);
  return lock_folder(folder);
}

json attributes_json(const RelevanceAttributes& attributes) {
  return {
      {"job", attributes.job},
      {"model", attributes.model},
      {"software_version", attributes.software_version},
      {"tensor_parallel", attributes.tensor_parallel},
      {"dtype", attributes.dtype}};
}

void write_manifest(const fs::path& path, const RunManifest& manifest) {
  const json document = {
      {"format", kRunFormat},
      {"format_version", kRunFormatVersion},
      {"fingerprint", manifest.fingerprint},
      {"attributes", attributes_json(manifest.attributes)}};
  TemporaryFile temporary(path);
  write_text(
      FileDescriptor(temporary.path(), O_WRONLY | O_CREAT),
      temporary.path(),
      document.dump(2) + "\n");
  sync_file(temporary.path());
  temporary.rename();
}

RunManifest read_manifest(const fs::path& path) {
  const json document = read_json(path);
  try {
    if (document.at("format") != kRunFormat) {
      throw DataError(fmt::format("{}: format must be {}", path.string(), kRunFormat));
    }
    if (document.at("format_version") != kRunFormatVersion) {
      throw DataError(fmt::format(
          "{}: format_version must be {}; go on with the release of limn that began the run, or "
          "choose another output.path: {}",
          path.string(),
          kRunFormatVersion,
          document.at("format_version").dump()));
    }
    const json& attributes = document.at("attributes");
    return {
        .fingerprint = document.at("fingerprint").get<std::map<std::string, std::string>>(),
        .attributes = {
            .job = attributes.at("job").get<std::string>(),
            .model = attributes.at("model").get<std::string>(),
            .software_version = attributes.at("software_version").get<std::string>(),
            .tensor_parallel = attributes.at("tensor_parallel").get<std::int32_t>(),
            .dtype = attributes.at("dtype").get<std::string>()}};
  } catch (const json::exception& error) {
    throw DataError(fmt::format("{}: is damaged: {}", path.string(), error.what()));
  }
}

using Fingerprint = std::map<std::string, std::string>;

// The first key that only one side has, or whose values differ.
std::optional<std::string> first_difference(const Fingerprint& left, const Fingerprint& right) {
  const auto [in_left, in_right] =
      std::mismatch(left.begin(), left.end(), right.begin(), right.end());
  if (in_left == left.end() && in_right == right.end()) return std::nullopt;
  if (in_left == left.end()) return in_right->first;
  if (in_right == right.end()) return in_left->first;
  return std::min(in_left->first, in_right->first);
}

std::string value_or_none(const Fingerprint& fingerprint, const std::string& key) {
  const auto found = fingerprint.find(key);
  return found == fingerprint.end() ? "none" : found->second;
}

void check_same_run(const fs::path& path, const Fingerprint& earlier, const Fingerprint& now) {
  const auto key = first_difference(earlier, now);
  if (!key) return;
  throw JobError(fmt::format(
      "{}: begun with another {}; choose another output.path, or remove the folder to start again: "
      "{} there, {} now",
      path.string(),
      *key,
      value_or_none(earlier, *key),
      value_or_none(now, *key)));
}

}  // namespace

class RunDirectory::Impl {
 public:
  Impl(const fs::path& path, const RunManifest& manifest)
      : path_(path),
        parts_path_(path / "parts"),
        lock_(create_and_lock(path)),
        manifest_(open_manifest(manifest)) {
    create_folder(parts_path_);
    remove_temporaries();
    const std::vector<fs::path> parts = part_paths();
    if (!parts.empty()) next_part_ = *part_number(parts.back()) + 1;
  }

  const fs::path& path() const { return path_; }

  fs::path result_path() const { return path_ / "relevance.h5"; }

  bool is_complete() const {
    if (!fs::exists(result_path())) return false;
    try {
      return RelevanceReader(result_path()).attributes().complete;
    } catch (const DataError&) {
      return false;  // The parts are still there: merge() makes it anew.
    }
  }

  std::unordered_set<std::int64_t> finished_batches() const {
    std::unordered_set<std::int64_t> batches;
    for (const fs::path& part : part_paths()) {
      const auto ids = read_part(part, [&] { return RelevanceReader(part).part_batch_ids(); });
      batches.insert(ids.begin(), ids.end());
    }
    return batches;
  }

  fs::path seal(const OpenPart& part) {
    const fs::path path = parts_path_ / fmt::format("part-{:06}.h5", next_part_);
    TemporaryFile temporary(path);
    RelevanceWriter writer(temporary.path(), attributes(false));
    std::vector<std::int64_t> sample_index;
    for (const auto& [index, sample] : part.samples) {
      writer.append(sample);
      sample_index.push_back(index);
    }
    writer.write_part_contents(sample_index, part.batch_ids);
    writer.close();
    temporary.rename();
    ++next_part_;
    return path;
  }

  bool stop_requested() const {
    std::error_code unreadable;
    return fs::exists(stop_path(), unreadable);
  }

  void clear_stop_request() { remove_file(stop_path()); }

  void merge(std::int64_t num_samples) {
    TemporaryFile temporary(result_path());
    RelevanceWriter writer(temporary.path(), attributes(true));
    merge_parts(part_paths(), num_samples, writer);
    writer.close();
    temporary.rename();
  }

 private:
  fs::path stop_path() const { return path_ / "stop"; }

  // The manifest of the first start that computed something, which later ones must match.
  RunManifest open_manifest(const RunManifest& manifest) const {
    const fs::path manifest_path = path_ / "manifest.json";
    std::optional<RunManifest> earlier;
    if (fs::exists(manifest_path)) earlier = read_manifest(manifest_path);
    if (!holds_results()) {
      // There is nothing to go on with: what ended an earlier start may be mended now.
      write_manifest(manifest_path, manifest);
      return manifest;
    }
    if (!earlier) {
      throw JobError(fmt::format(
          "{}: missing, though there are results; choose another output.path, or remove the folder "
          "to start again",
          manifest_path.string()));
    }
    check_same_run(manifest_path, earlier->fingerprint, manifest.fingerprint);
    return *std::move(earlier);
  }

  bool holds_results() const {
    std::error_code missing;
    const auto size_of_targets = fs::file_size(generated_targets_path(path_), missing);
    return fs::exists(result_path()) || (fs::exists(parts_path_) && !part_paths().empty()) ||
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

  std::vector<fs::path> part_paths() const {
    std::vector<fs::path> paths = list_folder(parts_path_);
    std::erase_if(paths, [](const fs::path& path) { return !part_number(path); });
    std::sort(paths.begin(), paths.end(), [](const fs::path& left, const fs::path& right) {
      return *part_number(left) < *part_number(right);
    });
    return paths;
  }

  RelevanceAttributes attributes(bool complete) const {
    RelevanceAttributes attributes = manifest_.attributes;
    attributes.complete = complete;
    return attributes;
  }

  fs::path path_;
  fs::path parts_path_;
  FileDescriptor lock_;
  RunManifest manifest_;
  std::int64_t next_part_ = 0;
};

RunDirectory RunDirectory::open(const std::filesystem::path& path, const RunManifest& manifest) {
  return RunDirectory(std::make_unique<Impl>(path, manifest));
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

bool RunDirectory::is_complete() const {
  return impl_->is_complete();
}

std::unordered_set<std::int64_t> RunDirectory::finished_batches() const {
  return impl_->finished_batches();
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
