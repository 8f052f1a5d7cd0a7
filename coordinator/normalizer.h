// What a tokenizer does to its text first: rewrite it.
#pragma once

#include <string>
#include <variant>
#include <vector>

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

  using Step = std::variant<Prepend, Replace, NormalForm>;

  void add_steps(const CheckedJson& normalizer, int depth);

  static void apply(const Prepend& prepend, PiecedText& text);
  static void apply(const Replace& replace, PiecedText& text);
  static void apply(NormalForm form, PiecedText& text);

  std::vector<Step> steps_;
};

}  // namespace limn
