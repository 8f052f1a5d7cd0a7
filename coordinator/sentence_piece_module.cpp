#include "coordinator/sentence_piece_module.h"

#include <sentencepiece_processor.h>

#include <memory>
#include <utility>

namespace limn {

namespace {

class LibraryModel : public SentencePieceModel {
 public:
  // Takes the processor's status as it comes: see refusal().
  LibraryModel(const char* bytes, std::size_t num_bytes)
      : status_(processor_.LoadFromSerializedProto({bytes, num_bytes})) {}

  // Why there is no model; empty if there is one.
  std::string refusal() const { return status_.ok() ? "" : status_.ToString(); }

  std::int64_t num_pieces() const override { return processor_.GetPieceSize(); }

  std::int32_t bos_id() const override { return processor_.bos_id(); }

  std::int32_t eos_id() const override { return processor_.eos_id(); }

  std::int32_t id_of(std::string_view piece) const override { return processor_.PieceToId(piece); }

  std::string piece(std::int32_t id) const override { return processor_.IdToPiece(id); }

  bool is_control(std::int32_t id) const override { return processor_.IsControl(id); }

  bool is_byte(std::int32_t id) const override { return processor_.IsByte(id); }

  std::vector<SentencePiece> encode(std::string_view text) const override {
    std::vector<SentencePiece> pieces;
    const auto encoded = processor_.EncodeAsImmutableProto(text);
    for (const auto& piece : encoded.pieces())
      pieces.push_back({static_cast<std::int32_t>(piece.id()), piece.begin(), piece.end()});
    return pieces;
  }

  std::string decode(std::int32_t id) const override { return processor_.DecodeIds({id}); }

 private:
  sentencepiece::SentencePieceProcessor processor_;
  sentencepiece::util::Status status_;
};

}  // namespace

extern "C" SentencePieceModel* limn_read_sentence_piece_model(
    const char* bytes, std::size_t num_bytes, std::string& refusal) {
  auto model = std::make_unique<LibraryModel>(bytes, num_bytes);
  refusal = model->refusal();
  return refusal.empty() ? model.release() : nullptr;
}

}  // namespace limn
