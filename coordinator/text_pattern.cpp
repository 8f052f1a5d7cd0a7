#define PCRE2_CODE_UNIT_WIDTH 8

#include "coordinator/text_pattern.h"

#include <array>
#include <utility>

#include <fmt/format.h>
#include <pcre2.h>
#include <unicode/utf8.h>

#include "coordinator/oniguruma_syntax.h"
#include "storage/error.h"

namespace limn {

namespace {

template <auto Free>
struct Freed {
  template <typename Handle>
  void operator()(Handle* handle) const {
    Free(handle);
  }
};

using CompileContext = std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>>;
using CompiledCode = std::unique_ptr<pcre2_code, Freed<pcre2_code_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>>;

std::string pcre2_message(int error) {
  std::array<PCRE2_UCHAR, 256> message = {};
  pcre2_get_error_message(error, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

CompiledCode compile(std::string_view pattern, std::uint32_t options) {
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  CompiledCode code(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()),
      pattern.size(),
      PCRE2_UTF | options,
      &error,
      &error_offset,
      context.get()));
  if (!code) {
    throw DataError(fmt::format(
        "the regular expression does not compile, {}: {}", pcre2_message(error), pattern));
  }
  // Without a compiler for this processor PCRE2 interprets: slower, the same matches.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

}  // namespace

struct TextPattern::Code {
  CompiledCode compiled;
  std::string text;  // for messages
};

struct TextPattern::Matcher::Workspace {
  explicit Workspace(const TextPattern::Code& pattern) : code(pattern) {}

  const TextPattern::Code& code;
  MatchContext context{pcre2_match_context_create(nullptr)};
  MatchData data{pcre2_match_data_create(1, nullptr)};
  JitStack stack;  // made when the machine's stack does not suffice
  std::vector<PatternRange> ranges;

  // The first match at or after `begin`; false if there is none.
  bool match(std::string_view text, std::int64_t begin);
  int try_match(std::string_view text, std::int64_t begin);
};

TextPattern TextPattern::literal(std::string_view text) {
  check(!text.empty(), "a literal pattern must not be empty");
  return TextPattern(std::make_unique<Code>(Code{compile(text, PCRE2_LITERAL), std::string(text)}));
}

TextPattern TextPattern::regex(std::string_view regex) {
  const std::uint32_t options = PCRE2_UCP | PCRE2_MULTILINE;
  return TextPattern(std::make_unique<Code>(
      Code{compile(pcre2_from_oniguruma(regex), options), std::string(regex)}));
}

TextPattern::TextPattern(std::unique_ptr<const Code> code) : code_(std::move(code)) {}

TextPattern::~TextPattern() = default;
TextPattern::TextPattern(TextPattern&&) noexcept = default;
TextPattern& TextPattern::operator=(TextPattern&&) noexcept = default;

bool TextPattern::matches_empty() const {
  std::uint32_t result = 0;
  pcre2_pattern_info(code_->compiled.get(), PCRE2_INFO_MATCHEMPTY, &result);
  return result != 0;
}

TextPattern::Matcher::Matcher(const TextPattern& pattern)
    : workspace_(std::make_unique<Workspace>(*pattern.code_)) {}

TextPattern::Matcher::~Matcher() = default;
TextPattern::Matcher::Matcher(Matcher&&) noexcept = default;
TextPattern::Matcher& TextPattern::Matcher::operator=(Matcher&&) noexcept = default;

int TextPattern::Matcher::Workspace::try_match(std::string_view text, std::int64_t begin) {
  return pcre2_match(
      code.compiled.get(),
      reinterpret_cast<PCRE2_SPTR>(text.data()),
      text.size(),
      static_cast<PCRE2_SIZE>(begin),
      PCRE2_NO_UTF_CHECK,
      data.get(),
      context.get());
}

bool TextPattern::Matcher::Workspace::match(std::string_view text, std::int64_t begin) {
  constexpr std::size_t kSmallestStack = 1 << 16;
  constexpr std::size_t kLargestStack = 1 << 28;
  int result = try_match(text, begin);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && !stack) {
    stack.reset(pcre2_jit_stack_create(kSmallestStack, kLargestStack, nullptr));
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    result = try_match(text, begin);
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    throw DataError(fmt::format(
        "the text is too hard for the regular expression, {}: {}",
        pcre2_message(result),
        code.text));
  }
  return true;
}

const std::vector<PatternRange>& TextPattern::Matcher::find_all(std::string_view text) {
  std::vector<PatternRange>& ranges = workspace_->ranges;
  ranges.clear();
  const auto size = static_cast<std::int64_t>(text.size());
  std::int64_t covered = 0;   // by ranges
  std::int64_t position = 0;  // where the next match may begin
  while (position <= size && workspace_->match(text, position)) {
    const PCRE2_SIZE* const match = pcre2_get_ovector_pointer(workspace_->data.get());
    const ByteRange range = {
        static_cast<std::int64_t>(match[0]), static_cast<std::int64_t>(match[1])};
    const bool is_empty = range.begin == range.end;
    // An empty match right behind another one is passed over, as Oniguruma's iteration does.
    if (is_empty && !ranges.empty() && range.end == covered) {
      if (position == size) break;
      U8_FWD_1(text.data(), position, size);
      continue;
    }
    if (covered < range.begin) ranges.push_back({{covered, range.begin}, false});
    ranges.push_back({range, true});
    covered = range.end;
    position = range.end;
  }
  if (covered < size) ranges.push_back({{covered, size}, false});
  return ranges;
}

void append_replaced(
    TextPattern::Matcher& matcher,
    std::string_view content,
    const AlignedView& text,
    AlignedText& result) {
  for (const PatternRange& range : matcher.find_all(text.bytes)) {
    const AlignedView part = text.part(range.range);
    if (range.is_match) {
      result.append(content, part.origin.back());
    } else {
      result.append(part.bytes, part.origin);
    }
  }
}

}  // namespace limn
