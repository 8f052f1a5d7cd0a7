#include "coordinator/sentence_piece_model.h"

#include <dlfcn.h>

#include <cstddef>
#include <span>

#include <fmt/format.h>

#include "coordinator/sentence_piece_module.h"
#include "storage/error.h"
#include "storage/mapped_file.h"

namespace limn {

namespace {

// A sanitizer must see every call of malloc, which such a module would look up behind its back.
#ifdef LIMN_SANITIZED
constexpr int kOwnSymbolsFirst = 0;
#else
constexpr int kOwnSymbolsFirst = RTLD_DEEPBIND;
#endif

// Loads the module, which stays for good.
ReadSentencePieceModel load_module() {
  void* const module = ::dlopen(kSentencePieceModule, RTLD_NOW | RTLD_LOCAL | kOwnSymbolsFirst);
  void* const symbol = module == nullptr ? nullptr : ::dlsym(module, kReadSentencePieceModel);
  if (symbol == nullptr) {
    throw IoError(fmt::format(
        "{}: cannot be loaded; it belongs beside the program, install limn again: {}",
        kSentencePieceModule,
        ::dlerror()));  // NOLINT(concurrency-mt-unsafe): of this thread
  }
  return reinterpret_cast<ReadSentencePieceModel>(symbol);
}

}  // namespace

std::unique_ptr<const SentencePieceModel> load_sentence_piece_model(
    const std::filesystem::path& file) {
  static const ReadSentencePieceModel read = load_module();
  const MappedFile mapped(file);
  const std::span<const std::byte> bytes = mapped.bytes();
  std::string refusal;
  std::unique_ptr<const SentencePieceModel> model(
      read(reinterpret_cast<const char*>(bytes.data()), bytes.size(), refusal));
  if (!model) {
    throw DataError(
        fmt::format("{}: is no SentencePiece model; fetch it again: {}", file.string(), refusal));
  }
  return model;
}

}  // namespace limn
