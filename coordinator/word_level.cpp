#include "coordinator/word_level.h"

namespace limn {

WordLevel::WordLevel(const CheckedJson& model)
    : vocabulary_(model.at("vocab")),
      unknown_(model.at("unk_token").string(), vocabulary_) {
  model.allow_keys({"type", "vocab", "unk_token"});
}

void WordLevel::encode(
    std::string_view word, Workspace& /*workspace*/, std::vector<WordToken>& tokens) const {
  const std::optional<std::int32_t> id = vocabulary_.find(word);
  tokens.push_back({id ? *id : unknown_.id_for(word), {0, static_cast<std::int64_t>(word.size())}});
}

}  // namespace limn
