// A text on its way to tokens: rewritten, cut into pieces, and still knowing its original.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

// Half-open range of bytes.
struct ByteRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Bytes of UTF-8, and for each of them the character of the original text that it stands for: one
// character for a byte, never descending. (So do Python's `tokenizers` after any rewriting: what
// is inserted shares its character with a neighbour, what is merged keeps its first.)
struct AlignedText {
  std::string bytes;
  std::vector<std::int32_t> origin;  // as many as bytes

  std::int64_t size() const { return static_cast<std::int64_t>(bytes.size()); }

  void append(std::string_view added, std::int32_t added_origin);
  void append(std::string_view added, std::span<const std::int32_t> added_origin);
};

// A part of an AlignedText.
struct AlignedView {
  std::string_view bytes;
  std::span<const std::int32_t> origin;

  AlignedView part(ByteRange range) const;
};

// Appends `prefix` and `text` to `result`; the prefix shares the origin of the text's first
// character. Requires: `text` is not empty.
void append_prefixed(std::string_view prefix, const AlignedView& text, AlignedText& result);

// A character of a rewritten text, and how it came about: 0 when it takes the place of the next
// character of the source, -n when it takes that of one and n more, 1 when it is inserted.
struct CharacterChange {
  char32_t character = 0;
  std::int32_t change = 0;
};

// Appends the characters to `result`, each with the origin of the (first) character whose place it
// takes; an inserted one with that of the source's character before. Requires: `text` is not empty,
// and no more is taken than there is.
void append_changed(
    std::span<const CharacterChange> changes, const AlignedView& text, AlignedText& result);

// A piece that is an added token is done: nothing rewrites or cuts it any more.
struct TextPiece {
  static constexpr std::int32_t kNoToken = -1;

  ByteRange range;  // not empty
  std::int32_t token = kNoToken;
};

// Threads: one thread at a time.
class PiecedText {
 public:
  // `text` in one piece, or in none when it is empty. Throws DataError when it is not UTF-8, or too
  // long for character positions of 32 bits.
  explicit PiecedText(std::string_view text);

  const std::vector<TextPiece>& pieces() const { return pieces_; }

  AlignedView view(const TextPiece& piece) const;

  // Replaces every piece that is no token by what `rewrite` appends; by nothing if that is nothing.
  using Rewrite = std::function<void(const AlignedView& piece, AlignedText& result)>;
  void rewrite(const Rewrite& rewrite);

  // Replaces every piece that is no token by the parts that `cut` appends, their ranges counted
  // from the piece's begin. Empty parts are dropped.
  using Cut = std::function<void(const AlignedView& piece, std::vector<TextPiece>& parts)>;
  void cut(const Cut& cut);

 private:
  AlignedText text_;
  std::vector<TextPiece> pieces_;
};

}  // namespace limn
