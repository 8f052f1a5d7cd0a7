// SQuAD's JSON, versions 1.1 and 2.0: questions about paragraphs, answered by a span of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coordinator/job.h"
#include "storage/sample_record.h"

namespace limn {

struct SquadAnswer {
  std::string text;
  std::int64_t begin = 0;  // characters of the context
};

struct SquadQuestion {
  std::string id;  // the place in the file if it has none
  std::string title;
  std::shared_ptr<const std::string> context;  // shared by the questions of a paragraph
  std::string question;
  std::optional<SquadAnswer> answer;   // the first one; none: the question cannot be answered
  std::optional<std::string> mistake;  // what is wrong with the question; the rest means nothing
  std::string where;                   // "train.json: data[3].paragraphs[0].qas[2]"
};

// Reads a file whole; `name` stands for it in messages. What a question lacks is its `mistake`.
// Throws IoError, DataError when it is not SQuAD's JSON down to the paragraphs.
std::vector<SquadQuestion> read_squad(const std::filesystem::path& path, const std::string& name);

struct SquadPrompt {
  std::string prompt;
  std::string target;
  std::vector<CharRange> context;   // of the prompt: every place where the template has it
  std::vector<CharRange> evidence;  // of the prompt, ascending
};

// Makes prompts by data.template. Threads: immutable.
class SquadTemplate {
 public:
  // Throws JobError when data.template is none.
  explicit SquadTemplate(const DataOptions& options);

  // The target is the answer, behind a space unless the prompt ends in white space. The evidence is
  // what data.evidence says, in every place where the template has the context.
  // Requires: the question has an answer and no mistake. Throws DataError naming its place when the
  // answer does not stand in the context where it says.
  SquadPrompt prompt_of(const SquadQuestion& question) const;

 private:
  enum class Placeholder { Context, Question, Title };
  using Piece = std::variant<std::string, Placeholder>;

  static std::vector<Piece> parse(std::string_view text);
  static const std::string& text_of(const Piece& piece, const SquadQuestion& question);

  std::vector<Piece> pieces_;
  EvidenceKind evidence_;
};

}  // namespace limn
