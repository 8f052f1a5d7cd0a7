#include "worker/model_fingerprint.h"

#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "storage/fingerprint.h"

namespace limn {

std::string model_fingerprint(const Checkpoint& checkpoint) {
  Fingerprint fingerprint;
  for (const char* name : {"config.json", "tokenizer.json"}) {
    const std::filesystem::path file = checkpoint.folder() / name;
    fingerprint.add(std::filesystem::exists(file) ? file_fingerprint(file) : "none");
  }
  if (!std::filesystem::exists(checkpoint.folder() / "tokenizer.json")) {
    // What the tokenizer is read from instead.
    for (const char* name : {"tokenizer.model", "tokenizer_config.json"}) {
      const std::filesystem::path file = checkpoint.folder() / name;
      if (std::filesystem::exists(file)) fingerprint.add(file_fingerprint(file));
    }
  }
  for (const std::string& name : checkpoint.names()) {
    const StoredTensor* const tensor = checkpoint.find(name);
    fingerprint.add(fmt::format(
        "{} {} {}", name, static_cast<int>(tensor->dtype), fmt::join(tensor->shape, "x")));
  }
  return fingerprint.text();
}

std::string weights_fingerprint(const Checkpoint& checkpoint) {
  Fingerprint fingerprint;
  for (const CheckpointFile& file : checkpoint.files())
    fingerprint.add(fmt::format("{} {}", file.name, file.bytes));
  return fingerprint.text();
}

}  // namespace limn
