// A checkpoint's chat template: conversations to prompts.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "coordinator/template_syntax.h"
#include "storage/sample_record.h"

namespace limn {

// A range of the characters of a message's content.
struct MessageRange {
  std::size_t message = 0;
  CharRange chars;
};

// What a record has instead of a prompt.
struct Chat {
  TemplateData messages;  // a list of objects with a role and, but for calls of tools, a content
  TemplateData tools;     // a list, or null
  TemplateData variables = TemplateData::object();  // further ones for the template
};

// What a record has instead of a prompt, with its ranges, which are of messages.
struct ChatRecord {
  Chat chat;
  std::optional<std::vector<MessageRange>> units;
  std::vector<MessageRange> context;
  std::vector<MessageRange> evidence;
};

// Renders conversations as transformers' apply_chat_template does, with a generation prompt.
// Threads: immutable.
class ChatTemplate {
 public:
  // Loads the template that transformers would take: chat_template.jinja, else chat_template of
  // tokenizer_config.json; of several that of the name "default". Nothing if there is none. The
  // special tokens, which templates know by name, come from tokenizer_config.json and
  // special_tokens_map.json. A file that is damaged, or no template that limn knows, is no mistake
  // until a conversation is to be rendered. Throws IoError.
  static std::unique_ptr<const ChatTemplate> load(const std::filesystem::path& folder);

  // Throws DataError as render_template() does, and for a template that could not be loaded.
  std::string render(const Chat& chat) const;

  // Where these ranges of messages are in `prompt`, which is render(chat). Throws DataError when
  // a message's content is not repeated there as it is, but for white space at its ends, or a range
  // lies beyond it.
  std::vector<CharRange> locate(
      const Chat& chat, const std::string& prompt, const std::vector<MessageRange>& ranges) const;

  // Equal for equal templates and special tokens.
  std::string fingerprint() const;

 private:
  ChatTemplate() = default;
  void parse(const std::filesystem::path& source);

  std::optional<std::string> problem_;  // of loading
  std::string text_;
  std::vector<TemplateStatement> statements_;
  std::map<std::string, std::string> special_tokens_;  // "bos_token" -> "<s>"
};

}  // namespace limn
