#include "coordinator/normalizer.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "coordinator/byte_alphabet.h"
#include "coordinator/character_classes.h"
#include "coordinator/code_points.h"
#include "coordinator/tokenizer_json.h"

namespace limn {

namespace {

std::optional<NormalForm> normal_form(std::string_view type) {
  if (type == "NFC") return NormalForm::Nfc;
  if (type == "NFD") return NormalForm::Nfd;
  if (type == "NFKC") return NormalForm::Nfkc;
  if (type == "NFKD") return NormalForm::Nfkd;
  return std::nullopt;
}

std::optional<char32_t> clean_for_bert(char32_t character) {
  constexpr char32_t kReplacement = 0xFFFD;
  if (character == 0 || character == kReplacement || is_bert_control(character)) {
    return std::nullopt;
  }
  return is_unicode_space(character) ? U' ' : character;
}

std::optional<char32_t> drop_nonspacing_mark(char32_t character) {
  if (is_nonspacing_mark(character)) return std::nullopt;
  return character;
}

std::optional<char32_t> drop_mark(char32_t character) {
  if (is_combining_mark(character)) return std::nullopt;
  return character;
}

// SentencePiece's "nmt": most control characters go, what separates becomes a space.
std::optional<char32_t> clean_for_nmt(char32_t character) {
  const auto is_in = [&](char32_t first, char32_t last) {
    return first <= character && character <= last;
  };
  switch (character) {
    case U'\t':
    case U'\n':
    case U'\f':
    case U'\r':
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x2581:
    case 0xFEFF:
    case 0xFFFD:
      return U' ';
    case 0x7F:
    case 0x8F:
    case 0x9F:
      return std::nullopt;
    default:
      break;
  }
  if (is_in(0x200B, 0x200F)) return U' ';
  if (is_in(0x01, 0x1F)) return std::nullopt;
  return character;
}

// Writes a text whose characters come one by one from another.
template <typename Append>
void rewrite_characters(PiecedText& text, Append&& append_character) {
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    for (std::size_t i = 0; i < piece.bytes.size();) {
      const std::int32_t origin = piece.origin[i];
      const char32_t character = next_code_point(piece.bytes, i);
      append_character(character, result.bytes);
      result.origin.resize(result.bytes.size(), origin);
    }
  });
}

}  // namespace

Normalizer::Normalizer(const CheckedJson& normalizer) {
  add_steps(normalizer, 0);
}

void Normalizer::add_steps(const CheckedJson& normalizer, int depth) {
  const CheckedJson type = normalizer.at("type");
  if (type.string() == "Sequence") {
    normalizer.allow_keys({"type", "normalizers"});
    for (const CheckedJson& inner : parse_sequence(normalizer.at("normalizers"), depth)) {
      add_steps(inner, depth + 1);
    }
  } else if (type.string() == "Prepend") {
    normalizer.allow_keys({"type", "prepend"});
    const CheckedJson prepend = normalizer.at("prepend");
    if (prepend.string().empty()) prepend.refuse("must not be empty");
    steps_.emplace_back(Prepend{prepend.string()});
  } else if (type.string() == "Replace") {
    normalizer.allow_keys({"type", "pattern", "content"});
    TextPattern pattern = parse_pattern(normalizer.at("pattern"));
    if (pattern.matches_empty()) normalizer.at("pattern").refuse("must not match nothing at all");
    const std::string& content = normalizer.at("content").string();
    steps_.emplace_back(Replace{std::move(pattern), content});
  } else if (type.string() == "Strip") {
    normalizer.allow_keys({"type", "strip_left", "strip_right"});
    const bool is_left = normalizer.at("strip_left").boolean();
    const bool is_right = normalizer.at("strip_right").boolean();
    steps_.emplace_back(Strip{is_left, is_right});
  } else if (type.string() == "Lowercase") {
    normalizer.allow_keys({"type"});
    steps_.emplace_back(Lowercase{});
  } else if (type.string() == "StripAccents") {
    normalizer.allow_keys({"type"});
    steps_.emplace_back(CharacterRule{drop_mark});
  } else if (type.string() == "Nmt") {
    normalizer.allow_keys({"type"});
    steps_.emplace_back(CharacterRule{clean_for_nmt});
  } else if (type.string() == "ByteLevel") {
    normalizer.allow_keys({"type"});
    steps_.emplace_back(ByteLevel{});
  } else if (type.string() == "BertNormalizer") {
    add_bert_steps(normalizer);
  } else if (type.string() == "Precompiled") {
    normalizer.allow_keys({"type", "precompiled_charsmap"});
    const CheckedJson map = normalizer.at("precompiled_charsmap");
    steps_.emplace_back(std::in_place_type<CharacterMap>, map);
  } else if (const std::optional<NormalForm> form = normal_form(type.string())) {
    normalizer.allow_keys({"type"});
    steps_.push_back(*form);
  } else {
    type.refuse("is not supported");
  }
}

void Normalizer::add_bert_steps(const CheckedJson& normalizer) {
  normalizer.allow_keys(
      {"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
  const bool lowercases = normalizer.at("lowercase").boolean();
  const std::optional<CheckedJson> strips_accents = normalizer.find("strip_accents");
  if (normalizer.at("clean_text").boolean()) steps_.emplace_back(CharacterRule{clean_for_bert});
  if (normalizer.at("handle_chinese_chars").boolean()) steps_.emplace_back(SpaceIdeographs{});
  if (strips_accents ? strips_accents->boolean() : lowercases) {
    steps_.emplace_back(NormalForm::Nfd);
    steps_.emplace_back(CharacterRule{drop_nonspacing_mark});
  }
  if (lowercases) steps_.emplace_back(Lowercase{});
}

void Normalizer::normalize(PiecedText& text) const {
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { apply(kind, text); }, step);
  }
}

void Normalizer::apply(const Prepend& prepend, PiecedText& text) {
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    append_prefixed(prepend.text, piece, result);
  });
}

void Normalizer::apply(const Replace& replace, PiecedText& text) {
  TextPattern::Matcher matcher(replace.pattern);
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    append_replaced(matcher, replace.content, piece, result);
  });
}

void Normalizer::apply(const Strip& strip, PiecedText& text) {
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    std::size_t begin = 0;
    for (std::size_t end = 0; strip.is_left && end < piece.bytes.size(); begin = end) {
      if (!is_unicode_space(next_code_point(piece.bytes, end))) break;
    }
    std::size_t end = piece.bytes.size();
    for (std::size_t last = end; strip.is_right && last > begin; end = last) {
      if (!is_unicode_space(previous_code_point(piece.bytes, last))) break;
    }
    const AlignedView kept =
        piece.part({static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)});
    result.append(kept.bytes, kept.origin);
  });
}

void Normalizer::apply(const Lowercase& /*lowercase*/, PiecedText& text) {
  rewrite_characters(text, [](char32_t character, std::string& result) {
    constexpr char32_t kCapitalDottedI = 0x130;
    if (character == kCapitalDottedI) {
      result += "i\u0307";
    } else {
      append_code_point(result, lower_case(character));
    }
  });
}

void Normalizer::apply(const SpaceIdeographs& /*space*/, PiecedText& text) {
  rewrite_characters(text, [](char32_t character, std::string& result) {
    const bool is_spaced = is_bert_ideograph(character);
    if (is_spaced) result += ' ';
    append_code_point(result, character);
    if (is_spaced) result += ' ';
  });
}

void Normalizer::apply(const ByteLevel& /*byte_level*/, PiecedText& text) {
  text.rewrite(append_byte_characters);
}

void Normalizer::apply(NormalForm form, PiecedText& text) {
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    append_normalized(form, piece, result);
  });
}

void Normalizer::apply(CharacterRule rule, PiecedText& text) {
  rewrite_characters(text, [&](char32_t character, std::string& result) {
    if (const std::optional<char32_t> kept = rule(character)) append_code_point(result, *kept);
  });
}

void Normalizer::apply(const CharacterMap& map, PiecedText& text) {
  text.rewrite(
      [&](const AlignedView& piece, AlignedText& result) { map.append_mapped(piece, result); });
}

}  // namespace limn
