#include "storage/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "storage/json_file.h"
#include "storage/safetensors.h"
#include "storage/torch_archive.h"

namespace limn {

namespace {

using nlohmann::json;

using ReadTensors = std::vector<FileTensor> (*)(std::span<const std::byte>, const std::string&);

enum class Content { Tensors, Index };

// A way to store a checkpoint: the file that shows it, and how the files of tensors are read.
struct CheckpointFormat {
  const char* file;
  Content content;
  ReadTensors read;
};

// The first whose file is there is taken.
// In the order of transformers.
constexpr std::array<CheckpointFormat, 4> kFormats = {{
    {"model.safetensors", Content::Tensors, read_safetensors},
    {"model.safetensors.index.json", Content::Index, read_safetensors},
    {"pytorch_model.bin", Content::Tensors, read_torch_archive},
    {"pytorch_model.bin.index.json", Content::Index, read_torch_archive},
}};

// Requires: `path` holds a JSON index. The weight map: tensor -> file, a path inside the folder.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path) {
  const json index = read_json(path);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) {
    throw DataError(fmt::format("{}: must have an object weight_map", path.string()));
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, file] : map->items()) {
    const std::filesystem::path relative = file.is_string() ? file.get<std::string>() : "";
    const bool leaves_folder = relative.is_absolute() ||
                               std::find(relative.begin(), relative.end(), "..") != relative.end();
    if (relative.empty() || leaves_folder) {
      throw DataError(fmt::format(
          "{}: weight_map must name files inside the folder: {}: {}",
          path.string(),
          name,
          file.dump()));
    }
    weight_map.emplace(name, relative.string());
  }
  return weight_map;
}

bool is_there(const std::filesystem::path& path) {
  std::error_code unreadable;  // is not there for us
  return std::filesystem::exists(path, unreadable);
}

const CheckpointFormat& find_format(const std::filesystem::path& folder) {
  const auto found = std::ranges::find_if(
      kFormats, [&](const CheckpointFormat& format) { return is_there(folder / format.file); });
  if (found != kFormats.end()) return *found;
  std::vector<std::string_view> files;
  for (const CheckpointFormat& format : kFormats)
    files.push_back(format.file);
  throw IoError(fmt::format(
      "{}: no checkpoint; name a Hugging Face folder that has one of: {}",
      folder.string(),
      fmt::join(files, ", ")));
}

void check_is_there(
    const std::filesystem::path& folder, const std::string& file, std::string_view index) {
  if (!is_there(folder / file)) {
    throw IoError(
        fmt::format("{}: missing, but named by {}; fetch it", (folder / file).string(), index));
  }
}

void refuse_git_lfs_pointer(std::span<const std::byte> bytes, const std::string& where) {
  constexpr std::string_view kPointer = "version https://git-lfs";
  if (bytes.size() >= kPointer.size() &&
      std::memcmp(bytes.data(), kPointer.data(), kPointer.size()) == 0) {
    throw DataError(
        fmt::format("{}: a Git LFS pointer, not the file; fetch it: git lfs pull", where));
  }
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder) : folder_(folder) {
  const CheckpointFormat& format = find_format(folder);
  const auto add_file = [&](const std::string& file) {
    const std::string where = (folder / file).string();
    // A mapping stays where it is when its MappedFile moves.
    const MappedFile& mapped = files_.emplace_back(folder / file);
    file_list_.push_back({.name = file, .bytes = std::ssize(mapped.bytes())});
    refuse_git_lfs_pointer(mapped.bytes(), where);
    add(file, format.read(mapped.bytes(), where));
  };
  if (format.content == Content::Tensors) {
    add_file(format.file);
    return;
  }
  const std::map<std::string, std::string> weight_map = read_weight_map(folder / format.file);
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map)
    files.insert(file);
  for (const std::string& file : files) {
    check_is_there(folder, file, format.file);
    add_file(file);
  }
  for (const auto& [name, file] : weight_map)
    check_is_in(name, file, format.file);
}

void Checkpoint::add(const std::string& file, std::vector<FileTensor> tensors) {
  for (FileTensor& read : tensors) {
    const std::string name = read.name;
    const auto [entry, is_new] = entries_.emplace(name, Entry{file, std::move(read)});
    if (!is_new) {
      throw DataError(fmt::format(
          "{}: a tensor is also in {}: {}", (folder_ / file).string(), entry->second.file, name));
    }
  }
}

void Checkpoint::check_is_in(
    const std::string& name, const std::string& file, const std::string& index) const {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.file != file) {
    throw DataError(fmt::format(
        "{}: has no tensor that {} places there; fetch both again: {}",
        (folder_ / file).string(),
        index,
        name));
  }
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return nullptr;
  const FileTensor& read = found->second.read;
  if (!read.tensor) throw DataError(read.refusal);
  return &*read.tensor;
}

void Checkpoint::fetch(std::span<const std::byte> bytes) const {
  for (const MappedFile& file : files_)
    file.fetch(bytes);
}

void Checkpoint::release(const StoredTensor& tensor) const {
  for (const MappedFile& file : files_)
    file.release(tensor.bytes);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_)
    names.push_back(name);
  return names;
}

}  // namespace limn
