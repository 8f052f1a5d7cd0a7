#include "coordinator/squad.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "coordinator/checked_json.h"
#include "coordinator/code_points.h"
#include "coordinator/text_segments.h"
#include "coordinator/white_space.h"
#include "storage/byte_stream.h"
#include "storage/error.h"
#include "storage/json_file.h"

namespace limn {

namespace {

using nlohmann::json;

json parse_file(const std::filesystem::path& path, const std::string& name) {
  std::string text = read_whole_file(path);
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    throw DataError(fmt::format(
        "{}: not JSON, as SQuAD's files are; check data.path and data.format: {}",
        name,
        complaint_of(error)));
  }
}

// Neither empty nor with a NUL, where HDF5 ends a string.
std::string id_of(const CheckedJson& question, std::string fallback) {
  const auto id = question.find("id");
  if (!id) return fallback;
  if (id->value().is_number_integer()) return id->value().dump();
  const std::string& text = id->string();
  if (text.empty() || text.find('\0') != std::string::npos) {
    id->refuse("must have a character, and none that is NUL");
  }
  return text;
}

// SQuAD 2.0 leaves questions without an answer on purpose.
std::optional<SquadAnswer> first_answer(const CheckedJson& question) {
  const auto impossible = question.find("is_impossible");
  const auto answers = question.find("answers");
  if ((impossible && impossible->boolean()) || !answers) return std::nullopt;
  const std::vector<CheckedJson> list = answers->elements();
  if (list.empty()) return std::nullopt;
  const CheckedJson text = list.front().at("text");
  if (without_trailing_white_space(text.string()).empty()) text.refuse("must not be empty");
  const CheckedJson begin = list.front().at("answer_start");
  if (begin.integer() < 0) begin.refuse("must not be negative");
  return SquadAnswer{text.string(), begin.integer()};
}

// "train.json: data[3].paragraphs[0].qas[2]".
std::string place(
    const std::string& file, std::size_t article, std::size_t paragraph, std::size_t question) {
  return fmt::format("{}: data[{}].paragraphs[{}].qas[{}]", file, article, paragraph, question);
}

}  // namespace

std::vector<SquadQuestion> read_squad(const std::filesystem::path& path, const std::string& name) {
  const json document = parse_file(path, name);
  std::vector<SquadQuestion> questions;
  const std::vector<CheckedJson> articles = CheckedJson(document, name).at("data").elements();
  for (std::size_t a = 0; a < articles.size(); ++a) {
    const auto title = articles[a].find("title");
    const std::vector<CheckedJson> paragraphs = articles[a].at("paragraphs").elements();
    for (std::size_t p = 0; p < paragraphs.size(); ++p) {
      const auto context =
          std::make_shared<const std::string>(paragraphs[p].at("context").string());
      const std::vector<CheckedJson> asked = paragraphs[p].at("qas").elements();
      for (std::size_t q = 0; q < asked.size(); ++q) {
        SquadQuestion& question = questions.emplace_back();
        question.where = place(name, a, p, q);
        question.id = question.where;
        question.context = context;
        try {
          question.id = id_of(asked[q], question.where);
          if (title) question.title = title->string();
          question.question = asked[q].at("question").string();
          question.answer = first_answer(asked[q]);
        } catch (const DataError& mistake) {
          question.mistake = mistake.what();
        }
      }
    }
  }
  return questions;
}

SquadTemplate::SquadTemplate(const DataOptions& options)
    : pieces_(parse(options.prompt_template)),
      evidence_(options.evidence) {}

// As in Python's str.format: {{ and }} are braces.
std::vector<SquadTemplate::Piece> SquadTemplate::parse(std::string_view text) {
  constexpr std::array<std::string_view, 3> kNames = {"{context}", "{question}", "{title}"};
  std::vector<Piece> pieces;
  std::string literal;
  while (!text.empty()) {
    if (text.starts_with("{{") || text.starts_with("}}")) {
      literal += text.front();
      text.remove_prefix(2);
      continue;
    }
    if (text.front() != '{' && text.front() != '}') {
      literal += text.front();
      text.remove_prefix(1);
      continue;
    }
    const auto* name = std::ranges::find_if(
        kNames, [&](std::string_view known) { return text.starts_with(known); });
    if (name == kNames.end()) {
      throw JobError(fmt::format(
          "data.template must have {{context}}, {{question}} and {{title}} as its only "
          "placeholders, "
          "and {{{{ and }}}} for braces: {}",
          text.substr(0, text.find('}', 1)).substr(0, 40)));
    }
    pieces.emplace_back(std::exchange(literal, {}));
    pieces.emplace_back(static_cast<Placeholder>(name - kNames.begin()));
    text.remove_prefix(name->size());
  }
  pieces.emplace_back(std::move(literal));
  if (std::ranges::find(pieces, Piece(Placeholder::Context)) == pieces.end()) {
    throw JobError("data.template must have {context}, where the answer stands");
  }
  return pieces;
}

const std::string& SquadTemplate::text_of(const Piece& piece, const SquadQuestion& question) {
  if (const auto* literal = std::get_if<std::string>(&piece)) return *literal;
  switch (std::get<Placeholder>(piece)) {
    case Placeholder::Context:
      return *question.context;
    case Placeholder::Question:
      return question.question;
    case Placeholder::Title:
      return question.title;
  }
  throw InternalError("a placeholder that is none");
}

namespace {

// The characters of the context that the answer is. Throws DataError when it does not stand there.
CharRange range_of_answer(const SquadQuestion& question) {
  const std::vector<std::int64_t> offsets = code_point_offsets(*question.context);
  const SquadAnswer& answer = *question.answer;
  const std::int64_t length = num_code_points(answer.text);
  const std::int64_t num_context = std::ssize(offsets) - 1;
  const bool fits = answer.begin <= num_context && length <= num_context - answer.begin;
  if (!fits ||
      question.context->compare(offsets[answer.begin], answer.text.size(), answer.text) != 0) {
    throw DataError(fmt::format(
        "{}: the answer must stand in the context from character answer_start on: {} at {}",
        question.where,
        answer.text,
        answer.begin));
  }
  return {
      static_cast<std::int32_t>(answer.begin), static_cast<std::int32_t>(answer.begin + length)};
}

// Of the context.
std::vector<CharRange> evidence_of(const SquadQuestion& question, EvidenceKind kind) {
  const CharRange answer = range_of_answer(question);
  switch (kind) {
    case EvidenceKind::None:
      return {};
    case EvidenceKind::Answer:
      return {answer};
    case EvidenceKind::Sentence:
      break;
  }
  std::vector<CharRange> sentences = segment_text(*question.context, UnitKind::Sentence);
  std::erase_if(sentences, [&](const CharRange& sentence) {
    return sentence.end <= answer.begin || answer.end <= sentence.begin;
  });
  return sentences;
}

bool ends_in_white_space(std::string_view text) {
  return without_trailing_white_space(text).size() < text.size();
}

}  // namespace

SquadPrompt SquadTemplate::prompt_of(const SquadQuestion& question) const {
  const std::vector<CharRange> evidence = evidence_of(question, evidence_);
  SquadPrompt result;
  std::int32_t num_written = 0;  // characters
  for (const Piece& piece : pieces_) {
    const std::string& text = text_of(piece, question);
    if (piece == Piece(Placeholder::Context)) {
      result.context.push_back({num_written, num_written + num_code_points(text)});
      for (const CharRange& range : evidence) {
        result.evidence.push_back({num_written + range.begin, num_written + range.end});
      }
    }
    result.prompt += text;
    num_written += num_code_points(text);
  }
  const std::string& answer = question.answer->text;
  result.target = ends_in_white_space(result.prompt) ? answer : " " + answer;
  return result;
}

}  // namespace limn
