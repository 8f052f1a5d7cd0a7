#include "coordinator/pre_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "coordinator/byte_alphabet.h"
#include "coordinator/character_classes.h"
#include "coordinator/code_points.h"
#include "coordinator/tokenizer_json.h"

namespace limn {

namespace {

// Numbers as of Unicode 17, which is what Python's `tokenizers` takes for them here.
constexpr std::string_view kNumber = R"([\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}])";

// GPT-2's words.
constexpr std::string_view kByteLevelWords =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A match joins what stands before it in `ranges`, unless that is a match, too. The ranges may run
// backwards.
std::vector<ByteRange> merge_with_neighbour(const std::vector<PatternRange>& ranges) {
  std::vector<ByteRange> parts;
  bool is_after_match = false;
  for (const PatternRange& range : ranges) {
    if (range.is_match && !is_after_match && !parts.empty()) {
      parts.back().begin = std::min(parts.back().begin, range.range.begin);
      parts.back().end = std::max(parts.back().end, range.range.end);
    } else {
      parts.push_back(range.range);
    }
    is_after_match = range.is_match;
  }
  return parts;
}

// Matches next to each other become one part.
std::vector<ByteRange> merge_equals(const std::vector<PatternRange>& ranges) {
  std::vector<ByteRange> parts;
  bool is_after_match = false;
  for (const PatternRange& range : ranges) {
    if (range.is_match == is_after_match && !parts.empty()) {
      parts.back().end = range.range.end;
    } else {
      parts.push_back(range.range);
    }
    is_after_match = range.is_match;
  }
  return parts;
}

std::vector<ByteRange> place_matches(std::vector<PatternRange> ranges, MatchPlacement placement) {
  switch (placement) {
    case MatchPlacement::Isolated:
      break;
    case MatchPlacement::Removed:
      std::erase_if(ranges, [](const PatternRange& range) { return range.is_match; });
      break;
    case MatchPlacement::MergedWithPrevious:
      return merge_with_neighbour(ranges);
    case MatchPlacement::MergedWithNext: {
      std::reverse(ranges.begin(), ranges.end());
      std::vector<ByteRange> parts = merge_with_neighbour(ranges);
      std::reverse(parts.begin(), parts.end());
      return parts;
    }
    case MatchPlacement::Contiguous:
      return merge_equals(ranges);
  }
  std::vector<ByteRange> parts;
  for (const PatternRange& range : ranges) {
    parts.push_back(range.range);
  }
  return parts;
}

void append_parts(const std::vector<ByteRange>& ranges, std::vector<TextPiece>& parts) {
  for (const ByteRange& range : ranges) {
    parts.push_back({.range = range});
  }
}

// Each character that matches, and what lies between two; together they cover `text`.
std::vector<PatternRange> find_characters(bool (*matches)(char32_t), std::string_view text) {
  std::vector<PatternRange> ranges;
  for (std::size_t i = 0; i < text.size();) {
    const auto begin = static_cast<std::int64_t>(i);
    const bool is_match = matches(next_code_point(text, i));
    const auto end = static_cast<std::int64_t>(i);
    if (!is_match && !ranges.empty() && !ranges.back().is_match) {
      ranges.back().range.end = end;
    } else {
      ranges.push_back({{begin, end}, is_match});
    }
  }
  return ranges;
}

enum class RunKind { Space, Word, Other };

RunKind run_kind(char32_t character) {
  if (is_word_character(character)) return RunKind::Word;
  return is_unicode_space(character) ? RunKind::Space : RunKind::Other;
}

MatchPlacement parse_placement(const CheckedJson& behavior) {
  const std::string& name = behavior.string();
  if (name == "Isolated") return MatchPlacement::Isolated;
  if (name == "Removed") return MatchPlacement::Removed;
  if (name == "MergedWithPrevious") return MatchPlacement::MergedWithPrevious;
  if (name == "MergedWithNext") return MatchPlacement::MergedWithNext;
  if (name == "Contiguous") return MatchPlacement::Contiguous;
  behavior.refuse("is not supported");
}

}  // namespace

PreTokenizer::PreTokenizer(const CheckedJson& pre_tokenizer) {
  add_steps(pre_tokenizer, 0);
}

void PreTokenizer::add_steps(const CheckedJson& pre_tokenizer, int depth) {
  const CheckedJson type = pre_tokenizer.at("type");
  if (type.string() == "Sequence") {
    pre_tokenizer.allow_keys({"type", "pretokenizers"});
    for (const CheckedJson& inner : parse_sequence(pre_tokenizer.at("pretokenizers"), depth)) {
      add_steps(inner, depth + 1);
    }
  } else if (type.string() == "ByteLevel") {
    steps_.push_back(parse_byte_level(pre_tokenizer));
  } else if (type.string() == "Split") {
    steps_.push_back(parse_split(pre_tokenizer));
  } else if (type.string() == "Digits") {
    steps_.push_back(parse_digits(pre_tokenizer));
  } else if (type.string() == "Metaspace") {
    steps_.push_back(parse_metaspace(pre_tokenizer));
  } else if (type.string() == "CharDelimiterSplit") {
    steps_.push_back(parse_delimiter(pre_tokenizer));
  } else if (type.string() == "Whitespace") {
    pre_tokenizer.allow_keys({"type"});
    steps_.push_back(WordRuns{});
  } else if (type.string() == "WhitespaceSplit") {
    pre_tokenizer.allow_keys({"type"});
    steps_.push_back(CharacterSplit{is_unicode_space, MatchPlacement::Removed});
  } else if (type.string() == "Punctuation") {
    pre_tokenizer.allow_keys({"type", "behavior"});
    const std::optional<CheckedJson> behavior = pre_tokenizer.find("behavior");
    const MatchPlacement placement =
        behavior ? parse_placement(*behavior) : MatchPlacement::Isolated;
    steps_.push_back(CharacterSplit{is_punctuation, placement});
  } else if (type.string() == "BertPreTokenizer") {
    pre_tokenizer.allow_keys({"type"});
    steps_.push_back(CharacterSplit{is_unicode_space, MatchPlacement::Removed});
    steps_.push_back(CharacterSplit{is_punctuation, MatchPlacement::Isolated});
  } else {
    type.refuse("is not supported");
  }
}

PreTokenizer::ByteLevel PreTokenizer::parse_byte_level(const CheckedJson& pre_tokenizer) {
  // trim_offsets is the post-processor's.
  pre_tokenizer.allow_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  const std::optional<CheckedJson> use_regex = pre_tokenizer.find("use_regex");
  ByteLevel result = {pre_tokenizer.at("add_prefix_space").boolean(), std::nullopt};
  if (!use_regex || use_regex->boolean()) result.words = TextPattern::regex(kByteLevelWords);
  return result;
}

PreTokenizer::Split PreTokenizer::parse_split(const CheckedJson& pre_tokenizer) {
  pre_tokenizer.allow_keys({"type", "pattern", "behavior", "invert"});
  return {
      parse_pattern(pre_tokenizer.at("pattern")),
      parse_placement(pre_tokenizer.at("behavior")),
      pre_tokenizer.at("invert").boolean()};
}

PreTokenizer::Split PreTokenizer::parse_digits(const CheckedJson& pre_tokenizer) {
  pre_tokenizer.allow_keys({"type", "individual_digits"});
  const bool is_individual = pre_tokenizer.at("individual_digits").boolean();
  return {
      TextPattern::regex(kNumber),
      is_individual ? MatchPlacement::Isolated : MatchPlacement::Contiguous,
      /*inverts=*/false};
}

PreTokenizer::Split PreTokenizer::parse_delimiter(const CheckedJson& pre_tokenizer) {
  pre_tokenizer.allow_keys({"type", "delimiter"});
  const CheckedJson delimiter = pre_tokenizer.at("delimiter");
  if (num_code_points(delimiter.string()) != 1) delimiter.refuse("must be one character");
  return {TextPattern::literal(delimiter.string()), MatchPlacement::Removed, /*inverts=*/false};
}

PreTokenizer::Metaspace PreTokenizer::parse_metaspace(const CheckedJson& pre_tokenizer) {
  pre_tokenizer.allow_keys(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  const CheckedJson replacement = pre_tokenizer.at("replacement");
  if (num_code_points(replacement.string()) != 1) replacement.refuse("must be one character");

  PrependScheme scheme = PrependScheme::Always;
  if (const std::optional<CheckedJson> name = pre_tokenizer.find("prepend_scheme")) {
    if (name->string() == "first") {
      scheme = PrependScheme::First;
    } else if (name->string() == "never") {
      scheme = PrependScheme::Never;
    } else if (name->string() != "always") {
      name->refuse("is not supported");
    }
  }
  // The older spelling of "never".
  const std::optional<CheckedJson> adds_space = pre_tokenizer.find("add_prefix_space");
  if (adds_space && !adds_space->boolean() && scheme != PrependScheme::Never) {
    adds_space->refuse("does not agree with prepend_scheme");
  }
  const std::optional<CheckedJson> split = pre_tokenizer.find("split");
  Metaspace result = {TextPattern::literal(" "), replacement.string(), scheme, std::nullopt};
  if (!split || split->boolean()) {
    result.cut = Split{
        TextPattern::literal(replacement.string()),
        MatchPlacement::MergedWithNext,
        /*inverts=*/false};
  }
  return result;
}

void PreTokenizer::pre_tokenize(PiecedText& text) const {
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { apply(kind, text); }, step);
  }
}

void PreTokenizer::apply(const ByteLevel& byte_level, PiecedText& text) {
  if (byte_level.adds_prefix_space) {
    text.rewrite([](const AlignedView& piece, AlignedText& result) {
      append_prefixed(piece.bytes.starts_with(' ') ? "" : " ", piece, result);
    });
  }
  if (byte_level.words) {
    TextPattern::Matcher matcher(*byte_level.words);
    text.cut([&](const AlignedView& piece, std::vector<TextPiece>& parts) {
      for (const PatternRange& range : matcher.find_all(piece.bytes)) {
        parts.push_back({.range = range.range});
      }
    });
  }
  text.rewrite(append_byte_characters);
}

void PreTokenizer::apply(const Split& split, PiecedText& text) {
  TextPattern::Matcher matcher(split.pattern);
  text.cut([&](const AlignedView& piece, std::vector<TextPiece>& parts) {
    std::vector<PatternRange> ranges = matcher.find_all(piece.bytes);
    for (PatternRange& range : ranges) {
      range.is_match = range.is_match != split.inverts;
    }
    append_parts(place_matches(std::move(ranges), split.placement), parts);
  });
}

void PreTokenizer::apply(const CharacterSplit& split, PiecedText& text) {
  text.cut([&](const AlignedView& piece, std::vector<TextPiece>& parts) {
    append_parts(
        place_matches(find_characters(split.matches, piece.bytes), split.placement), parts);
  });
}

void PreTokenizer::apply(const WordRuns& /*runs*/, PiecedText& text) {
  text.cut([](const AlignedView& piece, std::vector<TextPiece>& parts) {
    RunKind before = RunKind::Space;
    for (std::size_t i = 0; i < piece.bytes.size();) {
      const auto begin = static_cast<std::int64_t>(i);
      const RunKind kind = run_kind(next_code_point(piece.bytes, i));
      const auto end = static_cast<std::int64_t>(i);
      if (kind != RunKind::Space) {
        if (kind == before) {
          parts.back().range.end = end;
        } else {
          parts.push_back({.range = {begin, end}});
        }
      }
      before = kind;
    }
  });
}

void PreTokenizer::apply(const Metaspace& metaspace, PiecedText& text) {
  TextPattern::Matcher matcher(metaspace.space);
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    append_replaced(matcher, metaspace.replacement, piece, result);
  });

  // "First" means the piece at the beginning of the original text.
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    const bool prepends =
        metaspace.prepend_scheme == PrependScheme::Always ||
        (metaspace.prepend_scheme == PrependScheme::First && piece.origin.front() == 0);
    const bool is_there = piece.bytes.starts_with(metaspace.replacement);
    append_prefixed(prepends && !is_there ? metaspace.replacement : "", piece, result);
  });

  if (metaspace.cut) apply(*metaspace.cut, text);
}

}  // namespace limn
