// Datasets as they are on disk: JSON Lines or SQuAD's JSON, one record after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/job.h"
#include "coordinator/squad.h"
#include "storage/sample_record.h"

namespace limn {

struct ChatRecord;

// A record as it was found, not looked at yet.
struct DatasetEntry {
  std::int64_t index = 0;  // counts entries from 0
  std::string where;       // "squad.jsonl:7", for messages
  std::string default_id;
  std::variant<std::string, SquadQuestion> content;  // a line of JSON Lines, or a question

  std::size_t num_bytes() const;  // about
};

// One record of the dataset, its keys checked and typed, nothing tokenized.
struct DatasetRecord {
  std::int64_t index = 0;  // that of its entry
  std::string where;       // "squad.jsonl:7", for messages
  std::string id;
  // Exactly one of the first two, or a chat instead, and one of the four after them, or none where
  // TargetKeys::Optional.
  std::optional<std::string> prompt;
  std::optional<std::vector<std::int32_t>> input_ids;
  std::optional<std::string> target;
  std::optional<std::vector<std::int32_t>> target_ids;
  // Alternatives, at least one: target_alternatives.h makes records with a target of them.
  std::optional<std::vector<std::string>> targets;
  std::optional<std::vector<std::vector<std::int32_t>>> targets_ids;
  // At most one of these.
  std::optional<std::vector<CharRange>> units;  // characters of the prompt
  std::optional<std::vector<std::vector<std::int32_t>>>
      unit_tokens;                 // positions in prompt and target
  std::vector<CharRange> context;  // characters of the prompt
  std::vector<EvidenceRecord> evidence;
  // Its ranges take the place of units and evidence. Shared by copies of the record.
  std::shared_ptr<const ChatRecord> chat;
  bool prompt_is_rendered = false;  // of a chat: special tokens and white space are its own
  // Why nothing can be explained, though nothing is wrong; prompt and target are missing then.
  std::optional<std::string> skip_reason;
};

// Whether a record must say what its target is.
enum class TargetKeys { Required, Optional };

// Reads a dataset once, from its first record to its last, file by file, holding one line at a
// time, or a file of SQuAD's. The default id of a line is its number, behind "FILE:" where
// data.path is a folder or a pattern; that of a question its "id". Threads: one thread at a time,
// but for what is const: any thread.
class DatasetReader {
 public:
  // Requires: data.shard is the whole dataset; find_shard() says where another one lies.
  // Throws IoError when the first file is missing or cannot be read, JobError when data.format or
  // data.template is none.
  explicit DatasetReader(const DataOptions& options, TargetKeys target_keys = TargetKeys::Required);
  ~DatasetReader();
  DatasetReader(DatasetReader&&) noexcept;
  DatasetReader& operator=(DatasetReader&&) noexcept;

  // The next entry of those that data.skip and data.limit leave, nothing at the end. Empty lines
  // are passed over. Throws IoError and, for archives that are damaged and files that are not
  // SQuAD's, DataError; there are no more entries then.
  std::optional<DatasetEntry> next_entry();

  // What the entry says. Throws DataError naming file and line: not JSON, not UTF-8, a key that is
  // missing, unknown (with the nearest known one), contradictory or of a wrong type.
  DatasetRecord record_of(const DatasetEntry& entry) const;

  // The record's id; where record_of() throws its place, unless the id at least can be read.
  std::string id_of(const DatasetEntry& entry) const;

  // The record of the next entry. Throws what both throw; after a record that is wrong the next
  // call goes on with the one behind it.
  std::optional<DatasetRecord> next();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
