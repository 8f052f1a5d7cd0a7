// Regular expressions of tokenizer files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/pieced_text.h"

namespace limn {

// A part of a text: one match of a pattern, or what lies between two.
struct PatternRange {
  ByteRange range;
  bool is_match = false;
};

// A compiled pattern. Threads: immutable.
class TextPattern {
 public:
  // Matches `text` as it stands. Requires: `text` is not empty.
  static TextPattern literal(std::string_view text);

  // `regex` in the syntax of Oniguruma, which tokenizer files are written for. Throws DataError
  // saying what in it is wrong or is not supported.
  static TextPattern regex(std::string_view regex);

  ~TextPattern();
  TextPattern(TextPattern&&) noexcept;
  TextPattern& operator=(TextPattern&&) noexcept;

  // Whether it can match nothing at all.
  bool matches_empty() const;

  // What matching writes on, for one thread at a time. Borrows: the pattern.
  class Matcher {
   public:
    explicit Matcher(const TextPattern& pattern);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    Matcher& operator=(Matcher&&) noexcept;

    // All matches from left to right and what lies between them; together they cover `text`. The
    // result is valid until the next call. Requires: `text` is valid UTF-8. Throws DataError when
    // the pattern needs too many steps on it.
    const std::vector<PatternRange>& find_all(std::string_view text);

   private:
    struct Workspace;
    std::unique_ptr<Workspace> workspace_;
  };

 private:
  struct Code;
  explicit TextPattern(std::unique_ptr<const Code> code);
  std::unique_ptr<const Code> code_;
};

// Appends `text` to `result` with `content` in the place of every match, sharing the origin of the
// match's last character. Requires: the pattern does not match nothing at all.
void append_replaced(
    TextPattern::Matcher& matcher,
    std::string_view content,
    const AlignedView& text,
    AlignedText& result);

}  // namespace limn
