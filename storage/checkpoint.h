// The tensors of a Hugging Face checkpoint folder, mapped and bound-checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/mapped_file.h"
#include "storage/stored_tensor.h"

namespace limn {

// A file of tensors.
struct CheckpointFile {
  std::string name;  // below the folder
  std::int64_t bytes = 0;
};

// docs/checkpoints.md says which files are read and what is refused. Threads: immutable.
class Checkpoint {
 public:
  // Takes the first that is there of model.safetensors, model.safetensors.index.json,
  // pytorch_model.bin and pytorch_model.bin.index.json, maps it or all files that the index names,
  // and checks their headers or pickles. The tensors' bytes are not read, but for those that
  // pytorch_model.bin has in another order than row-major: they are copied. Throws IoError when the
  // folder or a file is missing, DataError when one is damaged, truncated or wants to run code.
  explicit Checkpoint(const std::filesystem::path& folder);

  // Null when there is no tensor of that name. Throws DataError when limn cannot hold it as a
  // StoredTensor, mostly for its element type: such a tensor harms nobody who does not ask for it.
  const StoredTensor* find(std::string_view name) const;

  // Reads bytes of a tensor into memory. Throws IoError when their file has become too short or can
  // no longer be read; who looks at them without this is ended by the system then.
  void fetch(std::span<const std::byte> bytes) const;

  // Gives the memory of a tensor's mapped bytes back to the system; who reads them again gets them
  // from the file again. Keeps a rank's memory at what it copied while it reads a large checkpoint.
  void release(const StoredTensor& tensor) const;

  // All names, sorted.
  std::vector<std::string> names() const;

  // Those that were read, in the order of their names.
  const std::vector<CheckpointFile>& files() const { return file_list_; }

  const std::filesystem::path& folder() const { return folder_; }

 private:
  struct Entry {
    std::string file;
    FileTensor read;
  };

  void add(const std::string& file, std::vector<FileTensor> tensors);
  void check_is_in(
      const std::string& name, const std::string& file, const std::string& index) const;

  std::filesystem::path folder_;
  std::vector<MappedFile> files_;
  std::vector<CheckpointFile> file_list_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace limn
