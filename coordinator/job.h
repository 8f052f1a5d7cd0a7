// What a person asks for: the job, resolved and checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace limn {

// How a suppressed key's attention logit s changes; f is the key's factor, applied after scaling
// and before the causal mask.
enum class SuppressionKind {
  LogAdditive,     // s + log f; f = 0 hides the key
  Multiplicative,  // f s
  Shifted,         // m + f (s - m), m the row's minimum over visible keys
  ShiftedFull,     // the same with m over all keys, future ones too
};

struct Suppression {
  SuppressionKind kind = SuppressionKind::LogAdditive;
  double factor = 0.0;  // at least 0
  double similarity_threshold =
      0.0;                         // 0: off; else keys this similar to the unit are suppressed, too
  bool spare_first_token = false;  // position 0 is never suppressed

  bool operator==(const Suppression&) const = default;
};

enum class UnitKind {
  Token,
  Word,
  Sentence,
  Paragraph,  // between blank lines
  Line,
  Delimiter,  // what lies between the matches of explain.delimiter
  Auto,       // pieces of about equal size
  Given,      // by the record
};

// Which part of a prompt has units.
enum class UnitsOver { Prompt, Context };

// Where the weights of a model's layers are while it computes.
enum class WeightPlacement {
  Resident,  // in memory
  Streamed,  // in the checkpoint's files, but for the layer that computes and the next one
};

struct ModelOptions {
  std::filesystem::path path;
  std::string dtype = "auto";
  std::string compute = "auto";
  WeightPlacement placement = WeightPlacement::Resident;

  bool operator==(const ModelOptions&) const = default;
};

// What becomes of a record that cannot be read or explained.
enum class OnError {
  Fail,  // it ends the run before anything is computed
  Skip,  // it is a sample with status 2 and a message
};

// What of a question's context is the evidence of its answer.
enum class EvidenceKind { Answer, Sentence, None };

// One of `count` pieces of about equal size that a dataset is cut into, each of successive records.
struct DataShard {
  std::int64_t index = 0;  // of [0, count)
  std::int64_t count = 1;  // 1: the dataset is not cut

  bool operator==(const DataShard&) const = default;
};

struct DataOptions {
  std::filesystem::path path;  // of a file, or of a folder of files, or a pattern of files' paths
  std::string format = "jsonl";
  std::int64_t limit = 0;               // 0: all
  std::int64_t skip = 0;                // records before the first one
  std::vector<std::string> sample_ids;  // none: all
  DataShard shard;                      // of the records that the three above leave
  OnError on_error = OnError::Fail;
  std::string prompt_template =  // of SQuAD's questions
      "{context}\nQuestion: {question}\nAnswer:";
  EvidenceKind evidence = EvidenceKind::Answer;  // of SQuAD's questions

  bool operator==(const DataOptions&) const = default;
};

struct ExplainOptions {
  Suppression suppression;
  UnitKind units = UnitKind::Sentence;
  std::int64_t num_pieces = 1;  // with UnitKind::Auto: about so many
  std::string delimiter;        // with UnitKind::Delimiter: a string, or /a regular expression/
  UnitsOver units_over = UnitsOver::Prompt;
  bool include_target = false;  // every token of the target is a unit, too
  std::string target = "given";
  std::int64_t max_new_tokens = 32;

  bool operator==(const ExplainOptions&) const = default;
};

struct ParallelOptions {
  int tensor_parallel = 1;
  std::int64_t batch_tokens = 16384;  // rows of one sweep
  std::string device = "auto";
  double timeout_s = 600;  // of a collective

  bool operator==(const ParallelOptions&) const = default;
};

struct CheckpointOptions {
  double interval_s = 60;

  bool operator==(const CheckpointOptions&) const = default;
};

struct OutputOptions {
  std::filesystem::path path;

  bool operator==(const OutputOptions&) const = default;
};

struct Job {
  ModelOptions model;
  DataOptions data;
  ExplainOptions explain;
  ParallelOptions parallel;
  CheckpointOptions checkpoint;
  OutputOptions output;

  bool operator==(const Job&) const = default;
};

// Whether the model itself gives the targets, not the dataset.
inline bool generates_targets(const Job& job) {
  return job.explain.target == "generate";
}

}  // namespace limn
