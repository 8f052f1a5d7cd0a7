// A tokenizer.model of SentencePiece's, read by SentencePiece's own library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

// A piece of a text that was encoded.
struct SentencePiece {
  std::int32_t id = 0;
  std::int64_t byte_begin = 0;  // of the text, in UTF-8
  std::int64_t byte_end = 0;
};

// Every function is virtual, for the library is not linked but loaded: see
// load_sentence_piece_model(). Ids are in [0, num_pieces()). Threads: immutable.
class SentencePieceModel {
 public:
  virtual ~SentencePieceModel() = default;

  virtual std::int64_t num_pieces() const = 0;

  // Of the tokens at a text's begin and end; -1: there is none.
  virtual std::int32_t bos_id() const = 0;
  virtual std::int32_t eos_id() const = 0;

  // The id of a piece, or that of the unknown one.
  virtual std::int32_t id_of(std::string_view piece) const = 0;

  virtual std::string piece(std::int32_t id) const = 0;

  // Such as <s>.
  virtual bool is_control(std::int32_t id) const = 0;

  // A piece that stands for one byte.
  virtual bool is_byte(std::int32_t id) const = 0;

  virtual std::vector<SentencePiece> encode(std::string_view text) const = 0;

  // What a single piece is decoded to.
  virtual std::string decode(std::int32_t id) const = 0;
};

// Throws DataError naming the file when it is no such model, IoError when it cannot be read or the
// library cannot be loaded.
//
// libsentencepiece has global variables of the same names as PyTorch's libc10 (FLAGS_minloglevel)
// and of other types: linked beside it, it writes its own over those of libc10 before main()
// begins, and what lies behind them, too. So it is linked to a module, liblimn_sentence_piece.so,
// and that is loaded here in a way that both are looked up in themselves first.
std::unique_ptr<const SentencePieceModel> load_sentence_piece_model(
    const std::filesystem::path& file);

}  // namespace limn
