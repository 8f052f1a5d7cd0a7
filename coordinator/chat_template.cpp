#include "coordinator/chat_template.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "coordinator/code_points.h"
#include "coordinator/template_renderer.h"
#include "coordinator/white_space.h"
#include "storage/byte_stream.h"
#include "storage/error.h"
#include "storage/fingerprint.h"
#include "storage/json_file.h"

namespace limn {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_if_there(const fs::path& path) {
  return fs::exists(path) ? read_json(path) : json::object();
}

// A string, or the object that stands for a token with its properties.
std::optional<std::string> token_text(const json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (!token.is_object()) return std::nullopt;
  const auto content = token.find("content");
  if (content == token.end() || !content->is_string()) return std::nullopt;
  return content->get<std::string>();
}

// Of several, as a list of names and templates, the default one.
std::optional<std::string> template_of(const json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return std::nullopt;
  for (const json& named : *found) {
    const bool is_default = named.is_object() && named.value("name", json()) == "default";
    if (is_default && named.contains("template") && named["template"].is_string()) {
      return named["template"].get<std::string>();
    }
  }
  return std::nullopt;
}

// Those of later files count.
std::map<std::string, std::string> special_tokens_of(const std::vector<json>& files) {
  constexpr std::array<const char*, 7> kNames = {
      "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  std::map<std::string, std::string> tokens;
  for (const json& file : files) {
    for (const char* name : kNames) {
      const auto found = file.is_object() ? file.find(name) : file.end();
      if (found == file.end()) continue;
      if (auto text = token_text(*found)) tokens[name] = *std::move(text);
    }
  }
  return tokens;
}

}  // namespace

std::unique_ptr<const ChatTemplate> ChatTemplate::load(const fs::path& folder) {
  const fs::path jinja_path = folder / "chat_template.jinja";
  const fs::path config_path = folder / "tokenizer_config.json";
  std::unique_ptr<ChatTemplate> loaded(new ChatTemplate());
  try {
    const json config = read_if_there(config_path);
    const json tokens = read_if_there(folder / "special_tokens_map.json");
    const bool has_file = fs::exists(jinja_path);
    const auto text = has_file ? std::optional(read_whole_file(jinja_path)) : template_of(config);
    if (!text) return nullptr;
    loaded->text_ = *text;
    loaded->special_tokens_ = special_tokens_of({config, tokens});
    loaded->parse(has_file ? jinja_path : config_path);
  } catch (const DataError& error) {
    loaded->problem_ = error.what();
  }
  return loaded;
}

void ChatTemplate::parse(const fs::path& source) {
  try {
    statements_ = parse_template(text_);
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", source.string(), error.what()));
  }
}

std::string ChatTemplate::render(const Chat& chat) const {
  if (problem_) throw DataError(*problem_);
  std::map<std::string, TemplateData> variables = {
      {"messages", chat.messages},
      {"tools", chat.tools},
      {"documents", nullptr},
      {"add_generation_prompt", true}};
  for (const auto& [name, text] : special_tokens_)
    variables[name] = text;
  for (const auto& [name, value] : chat.variables.items())
    variables[name] = value;
  return render_template(statements_, variables);
}

namespace {

// What of a message stands in a prompt, and where.
struct Repetition {
  std::int32_t prompt_begin = 0;   // characters
  std::int32_t content_begin = 0;  // characters of the content that do not stand there
  std::int32_t length = 0;
};

}  // namespace

std::vector<CharRange> ChatTemplate::locate(
    const Chat& chat, const std::string& prompt, const std::vector<MessageRange>& ranges) const {
  // No white space and nothing that a template looks for.
  constexpr std::string_view kMark = "\uE8A5\uF3C1\uE8A5";
  std::map<std::size_t, Repetition> repetitions;  // by message
  const auto find_message = [&](std::size_t message) {
    const std::string content = chat.messages[message]["content"].get<std::string>();
    Chat marked = chat;
    marked.messages[message]["content"] = std::string(kMark);
    const std::string marked_prompt = render(marked);
    const std::size_t place = marked_prompt.find(kMark);
    // Where the mark is the content is, if the template does the same with both.
    const std::string_view trimmed =
        without_trailing_white_space(without_leading_white_space(content));
    const std::string_view prefix = std::string_view(marked_prompt).substr(0, place);
    const bool is_there = place != std::string::npos && prompt.starts_with(prefix);
    const std::string_view rest = is_there ? std::string_view(prompt).substr(place) : "";
    const bool is_whole = is_there && rest.starts_with(content);
    if (!is_whole && !(is_there && rest.starts_with(trimmed))) {
      throw DataError(fmt::format(
          "the chat template does not repeat a message as it is, so its characters are not found; "
          "give no units or evidence of it: message {}",
          message));
    }
    const auto skipped = static_cast<std::size_t>(trimmed.data() - content.data());
    return Repetition{
        .prompt_begin = num_code_points(prefix),
        .content_begin = is_whole ? 0 : num_code_points(content.substr(0, skipped)),
        .length = num_code_points(is_whole ? std::string_view(content) : trimmed)};
  };

  std::vector<CharRange> located;
  for (const MessageRange& range : ranges) {
    auto found = repetitions.find(range.message);
    if (found == repetitions.end()) {
      found = repetitions.emplace(range.message, find_message(range.message)).first;
    }
    const Repetition& repetition = found->second;
    const CharRange inside{
        range.chars.begin - repetition.content_begin, range.chars.end - repetition.content_begin};
    if (inside.begin < 0 || inside.end > repetition.length) {
      throw DataError(fmt::format(
          "a range must lie within the characters of its message, those aside that the chat "
          "template trims: [{}, {}) of message {}",
          range.chars.begin,
          range.chars.end,
          range.message));
    }
    located.push_back(
        {inside.begin + repetition.prompt_begin, inside.end + repetition.prompt_begin});
  }
  return located;
}

std::string ChatTemplate::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.add(text_);
  for (const auto& [name, text] : special_tokens_) {
    fingerprint.add(name);
    fingerprint.add(text);
  }
  return fingerprint.text();
}

}  // namespace limn
