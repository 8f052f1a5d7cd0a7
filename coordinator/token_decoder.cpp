#include "coordinator/token_decoder.h"

#include <charconv>
#include <cstddef>
#include <utility>

#include <fmt/format.h>
#include <unicode/utf8.h>

#include "coordinator/byte_alphabet.h"
#include "coordinator/code_points.h"
#include "coordinator/tokenizer_json.h"

namespace limn {

namespace {

// `bytes` with every byte that belongs to no character as <0xE2>.
std::string readable(std::string_view bytes) {
  std::string result;
  const auto size = static_cast<std::int64_t>(bytes.size());
  for (std::int64_t end = 0; end < size;) {
    const std::int64_t begin = end;
    UChar32 character = 0;
    U8_NEXT(bytes.data(), end, size, character);
    for (std::int64_t i = begin; i < end; ++i) {
      const char byte = bytes[static_cast<std::size_t>(i)];
      if (character >= 0) {
        result += byte;
      } else {
        result += fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte));
      }
    }
  }
  return result;
}

struct Respelling {
  std::string_view from;
  std::string_view to;
};

void respell(const Respelling& respelling, std::string& text) {
  for (std::size_t at = text.find(respelling.from); at != std::string::npos;
       at = text.find(respelling.from, at + respelling.to.size())) {
    text.replace(at, respelling.from.size(), respelling.to);
  }
}

}  // namespace

TokenDecoder::TokenDecoder(const CheckedJson& decoder) {
  add_steps(decoder, 0);
}

void TokenDecoder::add_steps(const CheckedJson& decoder, int depth) {
  const CheckedJson type = decoder.at("type");
  if (type.string() == "Sequence") {
    for (const CheckedJson& inner : parse_sequence(decoder.at("decoders"), depth)) {
      add_steps(inner, depth + 1);
    }
  } else if (type.string() == "ByteLevel") {
    steps_.push_back(ByteLevel{});
  } else if (type.string() == "ByteFallback") {
    steps_.push_back(ByteFallback{});
  } else if (type.string() == "Replace") {
    TextPattern pattern = parse_pattern(decoder.at("pattern"));
    if (pattern.matches_empty()) decoder.at("pattern").refuse("must not match nothing at all");
    steps_.push_back(Replace{std::move(pattern), decoder.at("content").string()});
  } else if (type.string() == "Metaspace") {
    const CheckedJson replacement = decoder.at("replacement");
    if (replacement.string().empty()) replacement.refuse("must not be empty");
    steps_.push_back(Replace{TextPattern::literal(replacement.string()), " "});
  } else if (type.string() == "WordPiece") {
    steps_.push_back(WordPiece{decoder.at("prefix").string(), decoder.at("cleanup").boolean()});
  } else if (type.string() == "BPEDecoder") {
    const CheckedJson suffix = decoder.at("suffix");
    if (suffix.string().empty()) suffix.refuse("must not be empty");
    steps_.push_back(Replace{TextPattern::literal(suffix.string()), " "});
  } else if (type.string() == "Strip") {
    const std::string& content = decoder.at("content").string();
    if (num_code_points(content) != 1) decoder.at("content").refuse("must be one character");
    const Strip strip{content, decoder.at("start").integer(), decoder.at("stop").integer()};
    if (!is_fused_) steps_.push_back(strip);
  } else if (type.string() == "Fuse") {
    is_fused_ = true;
  } else {
    type.refuse("is not supported");
  }
}

std::string TokenDecoder::decode(std::string_view token) const {
  std::string result(token);
  for (const Step& step : steps_) {
    result = std::visit([&](const auto& kind) { return apply(kind, std::move(result)); }, step);
  }
  return readable(result);
}

std::string TokenDecoder::apply(const ByteLevel&, std::string token) {
  return bytes_of_characters(token).value_or(token);
}

std::string TokenDecoder::apply(const ByteFallback&, std::string token) {
  const std::string_view text = token;
  if (text.size() != 6 || !text.starts_with("<0x") || !text.ends_with('>')) return token;
  const std::string_view digits = text.substr(3, 2);
  unsigned byte = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), byte, 16);
  if (error != std::errc() || end != digits.end()) return token;
  return std::string(1, static_cast<char>(byte));
}

std::string TokenDecoder::apply(const Replace& replace, std::string token) {
  TextPattern::Matcher matcher(replace.pattern);
  std::string result;
  for (const PatternRange& range : matcher.find_all(token)) {
    const auto begin = static_cast<std::size_t>(range.range.begin);
    const auto size = static_cast<std::size_t>(range.range.end - range.range.begin);
    result += range.is_match ? replace.content : token.substr(begin, size);
  }
  return result;
}

std::string TokenDecoder::apply(const WordPiece& word_piece, std::string token) {
  if (token.starts_with(word_piece.prefix)) {
    token.erase(0, word_piece.prefix.size());
  } else {
    token.insert(0, " ");
  }
  if (!word_piece.cleans_up) return token;
  constexpr Respelling kRespellings[] = {
      {" .", "."},
      {" ?", "?"},
      {" !", "!"},
      {" ,", ","},
      {" ' ", "'"},
      {" n't", "n't"},
      {" 'm", "'m"},
      {" do not", " don't"},
      {" 's", "'s"},
      {" 've", "'ve"},
      {" 're", "'re"},
  };
  for (const Respelling& respelling : kRespellings) {
    respell(respelling, token);
  }
  return token;
}

std::string TokenDecoder::apply(const Strip& strip, std::string token) {
  std::string_view kept = token;
  for (std::int64_t i = 0; i < strip.num_left && kept.starts_with(strip.character); ++i) {
    kept.remove_prefix(strip.character.size());
  }
  for (std::int64_t i = 0; i < strip.num_right && kept.ends_with(strip.character); ++i) {
    kept.remove_suffix(strip.character.size());
  }
  return std::string(kept);
}

}  // namespace limn
