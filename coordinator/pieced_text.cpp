#include "coordinator/pieced_text.h"

#include <limits>
#include <utility>

#include "coordinator/code_points.h"
#include "storage/error.h"

namespace limn {

void AlignedText::append(std::string_view added, std::int32_t added_origin) {
  bytes.append(added);
  origin.resize(bytes.size(), added_origin);
}

void AlignedText::append(std::string_view added, std::span<const std::int32_t> added_origin) {
  bytes.append(added);
  origin.insert(origin.end(), added_origin.begin(), added_origin.end());
}

AlignedView AlignedView::part(ByteRange range) const {
  const auto begin = static_cast<std::size_t>(range.begin);
  const auto size = static_cast<std::size_t>(range.end - range.begin);
  return {bytes.substr(begin, size), origin.subspan(begin, size)};
}

void append_prefixed(std::string_view prefix, const AlignedView& text, AlignedText& result) {
  result.append(prefix, text.origin.front());
  result.append(text.bytes, text.origin);
}

void append_changed(
    std::span<const CharacterChange> changes, const AlignedView& text, AlignedText& result) {
  std::size_t next = 0;    // the byte where the source's next character begins
  std::size_t before = 0;  // the byte where the one before begins
  const auto take = [&] {
    check(next < text.bytes.size(), "more characters are taken than there are");
    before = std::exchange(next, next + code_point_size(text.bytes[next]));
  };
  for (const CharacterChange& changed : changes) {
    const bool is_inserted = changed.change > 0;
    if (!is_inserted) take();
    const std::int32_t origin = text.origin[before];
    for (std::int32_t i = changed.change; i < 0; ++i) {
      take();
    }
    append_code_point(result.bytes, changed.character);
    result.origin.resize(result.bytes.size(), origin);
  }
}

namespace {

// ICU and the positions of characters are limited to 32 bits.
void check_length(std::string_view text) {
  if (text.size() <= std::numeric_limits<std::int32_t>::max()) return;
  throw DataError(fmt::format("the text must be shorter than 2 GiB: {} bytes", text.size()));
}

}  // namespace

PiecedText::PiecedText(std::string_view text) {
  check_length(text);
  const std::vector<std::int64_t> offset = code_point_offsets(text);
  text_.bytes = text;
  text_.origin.resize(text.size());
  for (std::size_t character = 0; character + 1 < offset.size(); ++character) {
    for (std::int64_t byte = offset[character]; byte < offset[character + 1]; ++byte) {
      text_.origin[static_cast<std::size_t>(byte)] = static_cast<std::int32_t>(character);
    }
  }
  if (!text.empty()) pieces_.push_back({.range = {0, text_.size()}});
}

AlignedView PiecedText::view(const TextPiece& piece) const {
  return AlignedView{text_.bytes, text_.origin}.part(piece.range);
}

void PiecedText::rewrite(const Rewrite& rewrite) {
  AlignedText result;
  result.bytes.reserve(text_.bytes.size());
  result.origin.reserve(text_.bytes.size());
  std::vector<TextPiece> result_pieces;
  result_pieces.reserve(pieces_.size());
  for (const TextPiece& piece : pieces_) {
    const std::int64_t begin = result.size();
    const AlignedView before = view(piece);
    if (piece.token == TextPiece::kNoToken) {
      rewrite(before, result);
    } else {
      result.append(before.bytes, before.origin);
    }
    if (result.size() > begin) result_pieces.push_back({{begin, result.size()}, piece.token});
  }
  check_length(result.bytes);
  text_ = std::move(result);
  pieces_ = std::move(result_pieces);
}

void PiecedText::cut(const Cut& cut) {
  std::vector<TextPiece> result;
  std::vector<TextPiece> parts;
  for (const TextPiece& piece : pieces_) {
    if (piece.token != TextPiece::kNoToken) {
      result.push_back(piece);
      continue;
    }
    parts.clear();
    cut(view(piece), parts);
    for (const TextPiece& part : parts) {
      if (part.range.begin == part.range.end) continue;
      const std::int64_t begin = piece.range.begin;
      result.push_back({{begin + part.range.begin, begin + part.range.end}, part.token});
    }
  }
  pieces_ = std::move(result);
}

}  // namespace limn
