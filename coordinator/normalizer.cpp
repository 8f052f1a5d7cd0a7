#include "coordinator/normalizer.h"

#include <optional>
#include <string_view>
#include <utility>

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
    steps_.emplace_back(std::in_place_type<Prepend>, prepend.string());
  } else if (type.string() == "Replace") {
    normalizer.allow_keys({"type", "pattern", "content"});
    TextPattern pattern = parse_pattern(normalizer.at("pattern"));
    if (pattern.matches_empty()) normalizer.at("pattern").refuse("must not match nothing at all");
    const std::string& content = normalizer.at("content").string();
    steps_.emplace_back(std::in_place_type<Replace>, std::move(pattern), content);
  } else if (const std::optional<NormalForm> form = normal_form(type.string())) {
    normalizer.allow_keys({"type"});
    steps_.push_back(*form);
  } else {
    type.refuse("is not supported");
  }
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

void Normalizer::apply(NormalForm form, PiecedText& text) {
  text.rewrite([&](const AlignedView& piece, AlignedText& result) {
    append_normalized(form, piece, result);
  });
}

}  // namespace limn
