// What a tokenizer does to its text before the model: cut it into words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/checked_json.h"
#include "coordinator/pieced_text.h"
#include "coordinator/text_pattern.h"

namespace limn {

// Where the text of a match goes when a text is cut at the matches of a pattern.
enum class MatchPlacement { Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous };

// The entry "pre_tokenizer" of a tokenizer file. Threads: immutable.
class PreTokenizer {
 public:
  // Does nothing.
  PreTokenizer() = default;

  // Throws DataError when the kind, or one inside a Sequence, is not supported.
  explicit PreTokenizer(const CheckedJson& pre_tokenizer);

  // Cuts, and where the kind asks for it rewrites, every piece on its own.
  void pre_tokenize(PiecedText& text) const;

 private:
  // Turns bytes into the characters of the byte alphabet, after cutting at `words`.
  struct ByteLevel {
    bool adds_prefix_space;
    std::optional<TextPattern> words;
  };

  struct Split {
    TextPattern pattern;
    MatchPlacement placement;
    bool inverts;  // what lies between matches counts as the matches
  };

  // Cuts at characters of a kind.
  struct CharacterSplit {
    bool (*matches)(char32_t character);
    MatchPlacement placement;
  };

  // Leaves runs of word characters and runs of others, without the white space between them.
  struct WordRuns {};

  enum class PrependScheme { First, Never, Always };

  // Replaces spaces by a visible character, prepends one, cuts before each.
  struct Metaspace {
    TextPattern space;
    std::string replacement;
    PrependScheme prepend_scheme;
    std::optional<Split> cut;
  };

  using Step = std::variant<ByteLevel, Split, CharacterSplit, WordRuns, Metaspace>;

  void add_steps(const CheckedJson& pre_tokenizer, int depth);
  static ByteLevel parse_byte_level(const CheckedJson& pre_tokenizer);
  static Split parse_split(const CheckedJson& pre_tokenizer);
  static Split parse_digits(const CheckedJson& pre_tokenizer);
  static Split parse_delimiter(const CheckedJson& pre_tokenizer);
  static Metaspace parse_metaspace(const CheckedJson& pre_tokenizer);

  static void apply(const ByteLevel& byte_level, PiecedText& text);
  static void apply(const Split& split, PiecedText& text);
  static void apply(const CharacterSplit& split, PiecedText& text);
  static void apply(const WordRuns& runs, PiecedText& text);
  static void apply(const Metaspace& metaspace, PiecedText& text);

  std::vector<Step> steps_;
};

}  // namespace limn
