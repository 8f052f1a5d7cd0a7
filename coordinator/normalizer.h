// What a tokenizer does to its text first: rewrite it.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/character_map.h"
#include "coordinator/checked_json.h"
#include "coordinator/pieced_text.h"
#include "coordinator/text_pattern.h"
#include "coordinator/unicode_normal_form.h"

namespace limn {

// The entry "normalizer" of a tokenizer file. Threads: immutable.
class Normalizer {
 public:
  // Does nothing.
  Normalizer() = default;

  // Throws DataError when the kind, or one inside a Sequence, is not supported.
  explicit Normalizer(const CheckedJson& normalizer);

  // Rewrites every piece on its own.
  void normalize(PiecedText& text) const;

 private:
  struct Prepend {
    std::string text;
  };

  struct Replace {
    TextPattern pattern;
    std::string content;
  };

  struct Strip {
    bool is_left;
    bool is_right;
  };

  struct Lowercase {};

  // Puts spaces around what BERT takes for Chinese characters.
  struct SpaceIdeographs {};

  // Bytes become characters of the byte alphabet.
  struct ByteLevel {};

  // What becomes of each character on its own; nothing drops it.
  using CharacterRule = std::optional<char32_t> (*)(char32_t character);

  using Step = std::variant<
      Prepend,
      Replace,
      Strip,
      Lowercase,
      SpaceIdeographs,
      ByteLevel,
      NormalForm,
      CharacterRule,
      CharacterMap>;

  void add_steps(const CheckedJson& normalizer, int depth);
  void add_bert_steps(const CheckedJson& normalizer);

  static void apply(const Prepend& prepend, PiecedText& text);
  static void apply(const Replace& replace, PiecedText& text);
  static void apply(const Strip& strip, PiecedText& text);
  static void apply(const Lowercase& lowercase, PiecedText& text);
  static void apply(const SpaceIdeographs& space, PiecedText& text);
  static void apply(const ByteLevel& byte_level, PiecedText& text);
  static void apply(NormalForm form, PiecedText& text);
  static void apply(CharacterRule rule, PiecedText& text);
  static void apply(const CharacterMap& map, PiecedText& text);

  std::vector<Step> steps_;
};

}  // namespace limn
