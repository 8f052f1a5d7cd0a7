#include "coordinator/unicode_normal_form.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "coordinator/code_points.h"
#include "storage/error.h"

namespace limn {

namespace {

// A character of the result and what it does to the source: 1 when it is inserted and takes none
// of the source's characters, -n when it takes one and n more.
struct Step {
  UChar32 character;
  std::uint8_t combining_class;
  std::int32_t change;
};

using Instance = const icu::Normalizer2* (*)(UErrorCode&);

const icu::Normalizer2& normalizer(Instance instance) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* const result = instance(error);
  check(U_SUCCESS(error), "ICU has no normalization data: {}", u_errorName(error));
  return *result;
}

const icu::Normalizer2& normalizer_of(NormalForm form) {
  switch (form) {
    case NormalForm::Nfc:
      return normalizer(icu::Normalizer2::getNFCInstance);
    case NormalForm::Nfd:
      return normalizer(icu::Normalizer2::getNFDInstance);
    case NormalForm::Nfkc:
      return normalizer(icu::Normalizer2::getNFKCInstance);
    case NormalForm::Nfkd:
      return normalizer(icu::Normalizer2::getNFKDInstance);
  }
  throw InternalError("no such normal form");
}

bool is_composed(NormalForm form) {
  return form == NormalForm::Nfc || form == NormalForm::Nfkc;
}

NormalForm decomposed_form(NormalForm form) {
  const bool is_canonical = form == NormalForm::Nfc || form == NormalForm::Nfd;
  return is_canonical ? NormalForm::Nfd : NormalForm::Nfkd;
}

// Python's `tokenizers` normalizes by Unicode 9.0. What came later it leaves as it is.
bool is_known(UChar32 character) {
  constexpr std::uint8_t kMajorVersion = 9;
  UVersionInfo age;
  u_charAge(character, age);
  return age[0] <= kMajorVersion;
}

// UAX #15: each character's full decomposition, marks in the order of their classes.
std::vector<Step> decompose(const icu::Normalizer2& decomposer, std::string_view text) {
  std::vector<Step> steps;
  steps.reserve(text.size());
  const auto add = [&](UChar32 character, std::int32_t change) {
    const bool has_class = is_known(character);
    steps.push_back(
        {character, has_class ? decomposer.getCombiningClass(character) : std::uint8_t{0}, change});
  };
  icu::UnicodeString parts;
  for (std::size_t i = 0; i < text.size();) {
    const auto character = static_cast<UChar32>(next_code_point(text, i));
    if (!is_known(character) || !decomposer.getDecomposition(character, parts)) {
      add(character, 0);
      continue;
    }
    for (std::int32_t j = 0; j < parts.length(); j = parts.moveIndex32(j, 1)) {
      add(parts.char32At(j), j == 0 ? 0 : 1);
    }
  }

  const auto is_starter = [](const Step& step) { return step.combining_class == 0; };
  for (auto begin = steps.begin(); begin != steps.end();) {
    begin = std::find_if_not(begin, steps.end(), is_starter);
    const auto end = std::find_if(begin, steps.end(), is_starter);
    std::stable_sort(begin, end, [](const Step& a, const Step& b) {
      return a.combining_class < b.combining_class;
    });
    begin = end;
  }
  return steps;
}

// UAX #15: each character that is not blocked from the last starter and composes with it, does.
std::vector<Step> compose(const icu::Normalizer2& composer, const std::vector<Step>& decomposed) {
  std::vector<Step> steps;
  steps.reserve(decomposed.size());
  std::optional<std::size_t> starter;
  std::uint8_t last_class = 0;  // of what stands between the starter and here; 0: nothing
  for (const Step& step : decomposed) {
    const bool is_blocked = last_class != 0 && last_class >= step.combining_class;
    if (starter && !is_blocked) {
      Step& composed = steps[*starter];
      const UChar32 pair = composer.composePair(composed.character, step.character);
      if (pair >= 0 && is_known(pair)) {
        composed.character = pair;
        composed.change += step.change - 1;
        continue;
      }
    }
    if (step.combining_class == 0) starter = steps.size();
    if (starter) last_class = step.combining_class;
    steps.push_back(step);
  }
  return steps;
}

}  // namespace

void append_normalized(NormalForm form, const AlignedView& text, AlignedText& result) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::StringPiece piece(text.bytes.data(), static_cast<std::int32_t>(text.bytes.size()));
  if (normalizer_of(form).isNormalizedUTF8(piece, error)) {
    result.append(text.bytes, text.origin);
    return;
  }

  std::vector<Step> steps = decompose(normalizer_of(decomposed_form(form)), text.bytes);
  if (is_composed(form)) steps = compose(normalizer_of(NormalForm::Nfc), steps);

  std::vector<CharacterChange> changes;
  changes.reserve(steps.size());
  for (const Step& step : steps) {
    changes.push_back({static_cast<char32_t>(step.character), step.change});
  }
  append_changed(changes, text, result);
}

}  // namespace limn
