#include "coordinator/template_syntax.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "coordinator/code_points.h"
#include "coordinator/white_space.h"
#include "storage/error.h"

namespace limn {

namespace {

using Expression = TemplateExpression;
using Statement = TemplateStatement;

struct Token {
  enum class Kind { Name, String, Number, Operator, End };

  Kind kind = Kind::End;
  std::string text;
  std::size_t line = 0;
};

// What stands between two tags, or in one.
struct Section {
  enum class Kind { Text, Output, Block };

  Kind kind = Kind::Text;
  std::string text;
  std::vector<Token> tokens;
  std::size_t line = 0;
};

[[noreturn]] void refuse(std::size_t line, std::string_view problem, std::string_view what) {
  throw DataError(fmt::format("line {} of the chat template: {}: {}", line, problem, what));
}

// CR LF and CR are line ends, too, and the last one of a template is not a part of it.
std::string with_plain_line_ends(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      plain += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      plain += '\n';
    }
  }
  if (plain.ends_with('\n')) plain.pop_back();
  return plain;
}

bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Cuts a template into sections.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::vector<Section> sections() {
    while (position_ < text_.size()) {
      const std::size_t tag = next_tag();
      add_text(tag);
      if (tag == text_.size()) break;
      position_ = tag + 2;
      if (text_[tag + 1] == '#') {
        skip_comment();
      } else {
        add_tag(text_[tag + 1] == '{' ? Section::Kind::Output : Section::Kind::Block);
      }
    }
    return std::move(sections_);
  }

 private:
  std::size_t next_tag() const {
    std::size_t tag = position_;
    while ((tag = text_.find('{', tag)) != std::string_view::npos) {
      if (tag + 1 < text_.size() && std::string_view("{%#").find(text_[tag + 1]) < 3) return tag;
      ++tag;
    }
    return text_.size();
  }

  char at(std::size_t position) const { return position < text_.size() ? text_[position] : '\0'; }

  // Of the position. Counted on from the last one that was asked for, not from the start.
  std::size_t line() {
    for (; counted_ < std::min(position_, text_.size()); ++counted_) {
      if (text_[counted_] == '\n') ++line_;
    }
    return line_;
  }

  // The text up to `tag`, without the white space that the tag takes away.
  void add_text(std::size_t tag) {
    std::string_view text = text_.substr(position_, tag - position_);
    const char mark = at(tag + 2);
    if (mark == '-' && tag < text_.size()) {
      text = without_trailing_white_space(text);
    } else if (tag < text_.size() && mark != '+' && text_[tag + 1] != '{') {
      const std::size_t line_begin = text.rfind('\n') + 1;  // 0 if there is none
      const bool from_line_begin = line_begin > 0 || at_line_begin_;
      const std::string_view indent = text.substr(line_begin);
      if (from_line_begin && indent.find_first_not_of(" \t\v\f") == std::string_view::npos) {
        text = text.substr(0, line_begin);
      }
    }
    if (!text.empty()) sections_.push_back({Section::Kind::Text, std::string(text), {}, line()});
  }

  void skip_comment() {
    const std::size_t end = text_.find("#}", position_);
    if (end == std::string_view::npos) refuse(line(), "a comment without an end", "{#");
    const char mark = text_[end - 1];
    position_ = end + 2;
    end_tag(mark, /*is_output=*/false);
  }

  void add_tag(Section::Kind kind) {
    const std::string_view end = kind == Section::Kind::Output ? "}}" : "%}";
    Section section{kind, {}, {}, line()};
    if (at(position_) == '-' || at(position_) == '+') ++position_;
    int depth = 0;  // of brackets: {{ {"a": {}}} }} ends where they are closed
    while (true) {
      skip_white_space();
      if (position_ >= text_.size()) refuse(section.line, "a tag without an end", end);
      const bool is_marked = (at(position_) == '-' || at(position_) == '+') &&
                             text_.substr(position_ + 1).starts_with(end);
      if (depth == 0 && (is_marked || text_.substr(position_).starts_with(end))) {
        const char mark = is_marked ? at(position_) : '\0';
        position_ += is_marked ? 3 : 2;
        section.tokens.push_back({Token::Kind::End, std::string(end), line()});
        sections_.push_back(std::move(section));
        end_tag(mark, kind == Section::Kind::Output);
        return;
      }
      Token token = next_token();
      if (token.kind == Token::Kind::Operator) {
        if (std::string_view("([{").find(token.text) < 3) ++depth;
        if (std::string_view(")]}").find(token.text) < 3) --depth;
      }
      section.tokens.push_back(std::move(token));
    }
  }

  void end_tag(char mark, bool is_output) {
    at_line_begin_ = false;
    if (mark == '-') {
      skip_all_white_space();
    } else if (mark != '+' && !is_output && at(position_) == '\n') {
      ++position_;
      at_line_begin_ = true;
    }
  }

  void skip_white_space() {
    while (position_ < text_.size() && std::string_view(" \t\n\v\f").find(text_[position_]) < 5)
      ++position_;
  }

  // Beyond ASCII, too.
  void skip_all_white_space() {
    if (position_ >= text_.size()) return;
    position_ = text_.size() - without_leading_white_space(text_.substr(position_)).size();
  }

  Token next_token() {
    const char c = text_[position_];
    if (c == '\'' || c == '"') return string_token();
    const std::size_t begin = position_;
    if (begins_name(c)) {
      while (begins_name(at(position_)) || is_digit(at(position_)))
        ++position_;
      return {Token::Kind::Name, std::string(text_.substr(begin, position_ - begin)), line()};
    }
    if (is_digit(c)) {
      const auto skip_digits = [&] {
        while (is_digit(at(position_)) || at(position_) == '_')
          ++position_;
      };
      skip_digits();
      if (at(position_) == '.' && is_digit(at(position_ + 1))) {
        ++position_;
        skip_digits();
      }
      const bool has_sign = at(position_ + 1) == '-' || at(position_ + 1) == '+';
      const bool has_exponent = at(position_) == 'e' || at(position_) == 'E';
      if (has_exponent && is_digit(at(position_ + (has_sign ? 2 : 1)))) {
        position_ += has_sign ? 2 : 1;
        skip_digits();
      }
      std::string number(text_.substr(begin, position_ - begin));
      std::erase(number, '_');
      return {Token::Kind::Number, number, line()};
    }
    constexpr std::array<std::string_view, 24> kOperators = {
        "==", "!=", "<=", ">=", "//", "<", ">", "+", "-", "*", "/", "%",
        "~",  "(",  ")",  "[",  "]",  "{", "}", ",", ".", ":", "|", "="};
    for (const std::string_view known : kOperators) {
      if (!text_.substr(position_).starts_with(known)) continue;
      position_ += known.size();
      return {Token::Kind::Operator, std::string(known), line()};
    }
    refuse(line(), "a character that has no meaning here", std::string(1, c));
  }

  // With the escapes of Python's strings.
  Token string_token() {
    const std::size_t begin_line = line();
    const char quote = text_[position_++];
    Token token{Token::Kind::String, {}, begin_line};
    while (at(position_) != quote || position_ >= text_.size()) {
      if (position_ >= text_.size())
        refuse(begin_line, "a string without an end", token.text.substr(0, 40));
      const char c = text_[position_++];
      if (c == '\\') {
        add_escape(token.text);
      } else {
        token.text += c;
      }
    }
    ++position_;
    return token;
  }

  void add_escape(std::string& text) {
    constexpr std::string_view kLetters = "ntrbfva0\\'\"\n";
    const char c = at(position_++);
    const std::size_t hexadecimals = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (hexadecimals > 0) {
      const std::string_view digits = text_.substr(std::min(position_, text_.size()), hexadecimals);
      std::uint32_t code = 0;
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
      const bool is_character = code < 0x110000 && (code < 0xD800 || code > 0xDFFF);
      if (digits.size() < hexadecimals || end != digits.data() + digits.size() ||
          error != std::errc() || !is_character) {
        refuse(line(), "an escape that is none", digits);
      }
      append_code_point(text, code);
      position_ += hexadecimals;
    } else if (const std::size_t known = kLetters.find(c); known != std::string_view::npos) {
      constexpr std::string_view kMeanings("\n\t\r\b\f\v\a\0\\'\"", 11);
      if (known < kMeanings.size()) text += kMeanings[known];  // a line end means nothing
    } else {
      text += '\\';
      text += c;
    }
  }

  std::string_view text_;
  std::size_t position_ = 0;
  std::size_t counted_ = 0;
  std::size_t line_ = 1;
  bool at_line_begin_ = true;
  std::vector<Section> sections_;
};

constexpr int kMostNested = 200;  // brackets and operators: the stack has an end

// The expressions of one tag, by recursive descent: a function for each level of binding.
class ExpressionParser {
 public:
  explicit ExpressionParser(const Section& section) : tokens_(section.tokens) {}

  const Token& peek() const { return tokens_[next_]; }

  bool at_end() const { return peek().kind == Token::Kind::End; }

  bool is_operator(std::string_view text) const {
    return peek().kind == Token::Kind::Operator && peek().text == text;
  }

  bool is_name(std::string_view text) const {
    return peek().kind == Token::Kind::Name && peek().text == text;
  }

  bool take_operator(std::string_view text) { return is_operator(text) && (++next_, true); }

  bool take_name(std::string_view text) { return is_name(text) && (++next_, true); }

  void expect_operator(std::string_view text) {
    if (!take_operator(text)) refuse_here(fmt::format("expected {}", text));
  }

  void expect_end() const {
    if (!at_end()) refuse_here("expected the end of the tag");
  }

  std::string take_any_name() {
    if (peek().kind != Token::Kind::Name) refuse_here("expected a name");
    return tokens_[next_++].text;
  }

  [[noreturn]] void refuse_here(std::string_view problem) const {
    refuse(peek().line, problem, peek().text);
  }

  // A conditional expression, or without `with_condition` what may stand before its "if".
  Expression parse(bool with_condition = true) {
    if (++depth_ > kMostNested) refuse_here("expressions are nested too deeply");
    Expression value = parse_or();
    while (with_condition && take_name("if")) {
      Expression condition = parse_or();
      Expression otherwise;
      if (take_name("else")) otherwise = parse();
      value = make(
          Expression::Kind::Conditional,
          "",
          std::move(value),
          std::move(condition),
          std::move(otherwise));
    }
    --depth_;
    return value;
  }

  // One, or with commas in between a list of them: up to the closing bracket, or without one to the
  // tag's end.
  Expression parse_tuple(bool with_condition = true, std::string_view closing = {}) {
    Expression first = parse(with_condition);
    if (!is_operator(",")) return first;
    Expression list = make(Expression::Kind::List, "", std::move(first));
    const auto ends = [&] { return closing.empty() ? at_end() : is_operator(closing); };
    while (take_operator(",") && !ends())
      list.operands.push_back(parse(with_condition));
    return list;
  }

 private:
  template <typename... Operands>
  static Expression make(Expression::Kind kind, std::string name, Operands... operands) {
    Expression made;
    made.kind = kind;
    made.name = std::move(name);
    (made.operands.push_back(std::move(operands)), ...);
    return made;
  }

  static Expression literal(TemplateData value) {
    Expression made = make(Expression::Kind::Literal, "");
    made.literal = std::move(value);
    return made;
  }

  Expression parse_or() {
    Expression left = parse_and();
    while (take_name("or"))
      left = make(Expression::Kind::Binary, "or", std::move(left), parse_and());
    return left;
  }

  Expression parse_and() {
    Expression left = parse_not();
    while (take_name("and"))
      left = make(Expression::Kind::Binary, "and", std::move(left), parse_not());
    return left;
  }

  Expression parse_not() {
    if (!take_name("not")) return parse_comparison();
    if (++depth_ > kMostNested) refuse_here("expressions are nested too deeply");
    Expression negated = make(Expression::Kind::Unary, "not", parse_not());
    --depth_;
    return negated;
  }

  std::optional<std::string> take_comparison() {
    for (const char* known : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (take_operator(known)) return known;
    }
    if (take_name("in")) return "in";
    if (is_name("not") && tokens_[next_ + 1].text == "in") {
      next_ += 2;
      return "not in";
    }
    return std::nullopt;
  }

  Expression parse_comparison() {
    Expression left = parse_binary(0);
    Expression comparison = make(Expression::Kind::Comparison, "", Expression());
    while (auto known = take_comparison()) {
      comparison.names.push_back(*std::move(known));
      comparison.operands.push_back(parse_binary(0));
    }
    if (comparison.names.empty()) return left;
    comparison.operands.front() = std::move(left);
    return comparison;
  }

  // Arithmetic, from what binds least.
  Expression parse_binary(std::size_t level) {
    static constexpr std::array<std::array<std::string_view, 4>, 3> kLevels = {
        {{"+", "-", "", ""}, {"~", "", "", ""}, {"*", "/", "//", "%"}}};
    if (level == kLevels.size()) return parse_unary(/*with_filters=*/true);
    Expression left = parse_binary(level + 1);
    while (true) {
      const auto& operators = kLevels.at(level);
      const auto* const found = std::ranges::find_if(
          operators, [&](std::string_view text) { return !text.empty() && is_operator(text); });
      if (found == operators.end()) return left;
      ++next_;
      left = make(
          Expression::Kind::Binary, std::string(*found), std::move(left), parse_binary(level + 1));
    }
  }

  Expression parse_unary(bool with_filters) {
    if (++depth_ > kMostNested) refuse_here("expressions are nested too deeply");
    Expression value;
    if (is_operator("-") || is_operator("+")) {
      const std::string sign = tokens_[next_++].text;
      value = make(Expression::Kind::Unary, sign, parse_unary(false));
    } else {
      value = parse_primary();
    }
    value = parse_postfix(std::move(value));
    if (with_filters) value = parse_filters(std::move(value));
    --depth_;
    return value;
  }

  Expression parse_primary() {
    const Token token = tokens_[next_];
    if (token.kind == Token::Kind::End) refuse_here("expected a value");
    ++next_;
    if (token.kind == Token::Kind::String) {
      std::string text = token.text;
      while (peek().kind == Token::Kind::String)
        text += tokens_[next_++].text;
      return literal(text);
    }
    if (token.kind == Token::Kind::Number) return literal(number(token));
    if (token.kind == Token::Kind::Name) return name_or_constant(token.text);
    if (token.text == "(") {
      Expression inner = is_operator(")") ? make(Expression::Kind::List, "")
                                          : parse_tuple(/*with_condition=*/true, ")");
      expect_operator(")");
      return inner;
    }
    if (token.text == "[") {
      Expression list = make(Expression::Kind::List, "");
      list.operands = parse_list("]");
      return list;
    }
    if (token.text == "{") return parse_dictionary();
    --next_;
    refuse_here("expected a value");
  }

  static TemplateData number(const Token& token) {
    const char* const begin = token.text.data();
    const char* const end = begin + token.text.size();
    if (token.text.find_first_of(".eE") != std::string::npos) {
      double value = 0;
      std::from_chars(begin, end, value);
      return value;
    }
    std::int64_t value = 0;
    const auto [parsed_end, error] = std::from_chars(begin, end, value);
    if (error != std::errc() || parsed_end != end)
      refuse(token.line, "a number that is too large", token.text);
    return value;
  }

  static Expression name_or_constant(const std::string& name) {
    if (name == "true" || name == "True") return literal(true);
    if (name == "false" || name == "False") return literal(false);
    if (name == "none" || name == "None") return literal(nullptr);
    return make(Expression::Kind::Name, name);
  }

  // Behind the opening bracket; takes the closing one.
  std::vector<Expression> parse_list(std::string_view end) {
    std::vector<Expression> elements;
    while (!take_operator(end)) {
      elements.push_back(parse());
      if (!is_operator(end)) expect_operator(",");
    }
    return elements;
  }

  Expression parse_dictionary() {
    Expression dictionary = make(Expression::Kind::Dictionary, "");
    while (!take_operator("}")) {
      dictionary.operands.push_back(parse());
      expect_operator(":");
      dictionary.operands.push_back(parse());
      if (!is_operator("}")) expect_operator(",");
    }
    return dictionary;
  }

  Expression parse_postfix(Expression value) {
    while (true) {
      if (take_operator(".")) {
        if (peek().kind == Token::Kind::Number) {
          value =
              make(Expression::Kind::Item, "", std::move(value), literal(number(tokens_[next_])));
          ++next_;
        } else {
          value = make(Expression::Kind::Attribute, take_any_name(), std::move(value));
        }
      } else if (take_operator("[")) {
        value = parse_subscript(std::move(value));
      } else if (take_operator("(")) {
        value = make(Expression::Kind::Call, "", std::move(value));
        parse_arguments(value);
      } else {
        return value;
      }
    }
  }

  Expression parse_subscript(Expression value) {
    std::vector<Expression> parts(1);
    while (!is_operator("]")) {
      if (take_operator(":")) {
        parts.emplace_back();
      } else {
        parts.back() = parse();
        if (!is_operator(":") && !is_operator("]")) refuse_here("expected : or ]");
      }
    }
    expect_operator("]");
    if (parts.size() == 1 && parts[0].kind != Expression::Kind::Absent) {
      return make(Expression::Kind::Item, "", std::move(value), std::move(parts[0]));
    }
    if (parts.size() < 2 || parts.size() > 3) refuse_here("a subscript that is none, before");
    parts.resize(3);
    return make(
        Expression::Kind::Slice,
        "",
        std::move(value),
        std::move(parts[0]),
        std::move(parts[1]),
        std::move(parts[2]));
  }

  // Behind the opening bracket; takes the closing one.
  void parse_arguments(Expression& call) {
    while (!take_operator(")")) {
      const bool is_named = peek().kind == Token::Kind::Name && tokens_[next_ + 1].text == "=" &&
                            tokens_[next_ + 1].kind == Token::Kind::Operator;
      if (is_named) {
        call.names.push_back(take_any_name());
        expect_operator("=");
      } else if (!call.names.empty()) {
        refuse_here("an argument without a name behind one with a name");
      }
      call.operands.push_back(parse());
      if (!is_operator(")")) expect_operator(",");
    }
  }

  Expression parse_filters(Expression value) {
    while (true) {
      if (take_operator("|")) {
        value = make(Expression::Kind::Filter, take_any_name(), std::move(value));
        if (take_operator("(")) parse_arguments(value);
      } else if (take_name("is")) {
        value = parse_test(std::move(value));
      } else if (take_operator("(")) {
        value = make(Expression::Kind::Call, "", std::move(value));
        parse_arguments(value);
      } else {
        return value;
      }
    }
  }

  Expression parse_test(Expression value) {
    const bool is_negated = take_name("not");
    Expression test = make(Expression::Kind::Test, take_any_name(), std::move(value));
    if (take_operator("(")) {
      parse_arguments(test);
    } else if (begins_argument()) {
      test.operands.push_back(parse_postfix(parse_primary()));
    }
    return is_negated ? make(Expression::Kind::Unary, "not", std::move(test)) : test;
  }

  // Of a test: `x is divisibleby 3`, but `x is defined and ...`.
  bool begins_argument() const {
    if (peek().kind == Token::Kind::String || peek().kind == Token::Kind::Number) return true;
    if (peek().kind == Token::Kind::Operator) return peek().text == "[" || peek().text == "{";
    return peek().kind == Token::Kind::Name && !is_name("else") && !is_name("or") &&
           !is_name("and") && !is_name("is") && !is_name("if") && !is_name("in") && !is_name("not");
  }

  const std::vector<Token>& tokens_;
  std::size_t next_ = 0;
  int depth_ = 0;
};

// The statements of a template.
class StatementParser {
 public:
  explicit StatementParser(const std::vector<Section>& sections) : sections_(sections) {}

  std::vector<Statement> parse() { return parse_body({}); }

 private:
  // Up to a block that begins with one of `ends`, or to the template's end if there are none.
  // Leaves it to be taken.
  std::vector<Statement> parse_body(const std::vector<std::string_view>& ends) {
    if (++depth_ > kMostNested) refuse(line(), "blocks are nested too deeply", "");
    std::vector<Statement> statements;
    while (next_ < sections_.size()) {
      const Section& section = sections_[next_];
      if (section.kind == Section::Kind::Text) {
        statements.push_back({.kind = Statement::Kind::Text, .name = section.text});
        ++next_;
      } else if (section.kind == Section::Kind::Output) {
        ExpressionParser parser(section);
        statements.push_back(
            {.kind = Statement::Kind::Output, .expressions = {parser.parse_tuple()}});
        parser.expect_end();
        ++next_;
      } else {
        const std::string& keyword = section.tokens.front().text;
        if (std::ranges::find(ends, keyword) != ends.end()) break;
        ++next_;
        statements.push_back(parse_block(section, keyword));
      }
    }
    if (next_ == sections_.size() && !ends.empty())
      refuse(line(), "a block without an end; expected", ends.back());
    --depth_;
    return statements;
  }

  std::size_t line() const {
    return sections_.empty() ? 1 : sections_[std::min(next_, sections_.size() - 1)].line;
  }

  Statement parse_block(const Section& section, const std::string& keyword) {
    ExpressionParser parser(section);
    parser.take_any_name();
    if (keyword == "if") return parse_if(parser);
    if (keyword == "for") return parse_for(parser);
    if (keyword == "set") return parse_set(parser);
    if (keyword == "macro") return parse_macro(parser);
    Statement statement;
    if (keyword == "generation") {
      statement.kind = Statement::Kind::Generation;
      statement.body = parse_body({"endgeneration"});
      ++next_;
    } else if (keyword == "break" || keyword == "continue") {
      statement.kind = keyword == "break" ? Statement::Kind::Break : Statement::Kind::Continue;
    } else {
      refuse(section.line, "limn does not know this block", keyword);
    }
    parser.expect_end();
    return statement;
  }

  Statement parse_if(ExpressionParser& parser) {
    Statement statement{.kind = Statement::Kind::If, .expressions = {parser.parse_tuple()}};
    parser.expect_end();
    statement.body = parse_body({"elif", "else", "endif"});
    const Section& section = sections_[next_++];
    ExpressionParser rest(section);
    const std::string keyword = rest.take_any_name();
    if (keyword == "elif") {
      // A chain of them is no deeper than it looks.
      if (++depth_ > kMostNested) refuse(section.line, "blocks are nested too deeply", keyword);
      statement.otherwise.push_back(parse_if(rest));
      --depth_;
      return statement;
    }
    rest.expect_end();
    if (keyword == "else") {
      statement.otherwise = parse_body({"endif"});
      ++next_;
    }
    return statement;
  }

  Statement parse_for(ExpressionParser& parser) {
    Statement statement{.kind = Statement::Kind::For};
    const bool in_brackets = parser.take_operator("(");
    do {
      statement.names.push_back(parser.take_any_name());
    } while (parser.take_operator(","));
    if (in_brackets) parser.expect_operator(")");
    if (!parser.take_name("in")) parser.refuse_here("expected in");
    statement.expressions.push_back(parser.parse_tuple(/*with_condition=*/false));
    if (parser.take_name("if")) statement.expressions.push_back(parser.parse());
    if (parser.is_name("recursive")) parser.refuse_here("limn does not know this of a loop");
    parser.expect_end();
    statement.body = parse_body({"else", "endfor"});
    if (sections_[next_++].tokens.front().text == "else") {
      statement.otherwise = parse_body({"endfor"});
      ++next_;
    }
    return statement;
  }

  Statement parse_set(ExpressionParser& parser) {
    Statement statement{.kind = Statement::Kind::Set};
    statement.names.push_back(parser.take_any_name());
    if (parser.take_operator(".")) {
      statement.kind = Statement::Kind::SetMember;
      statement.names.push_back(parser.take_any_name());
    }
    while (statement.kind == Statement::Kind::Set && parser.take_operator(","))
      statement.names.push_back(parser.take_any_name());
    if (parser.take_operator("=")) {
      statement.expressions.push_back(parser.parse_tuple());
      parser.expect_end();
      return statement;
    }
    if (statement.names.size() > 1) parser.refuse_here("expected =");
    parser.expect_end();
    statement.body = parse_body({"endset"});
    ++next_;
    return statement;
  }

  Statement parse_macro(ExpressionParser& parser) {
    Statement statement{.kind = Statement::Kind::Macro, .name = parser.take_any_name()};
    parser.expect_operator("(");
    while (!parser.take_operator(")")) {
      statement.names.push_back(parser.take_any_name());
      if (parser.take_operator("=")) {
        statement.expressions.push_back(parser.parse());
      } else if (!statement.expressions.empty()) {
        parser.refuse_here("a parameter without a default behind one with a default");
      }
      if (!parser.is_operator(")")) parser.expect_operator(",");
    }
    parser.expect_end();
    statement.body = parse_body({"endmacro"});
    ++next_;
    return statement;
  }

  const std::vector<Section>& sections_;
  std::size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace

std::vector<TemplateStatement> parse_template(std::string_view text) {
  code_point_offsets(text);  // throws for what is not UTF-8
  const std::string plain = with_plain_line_ends(text);
  const std::vector<Section> sections = Lexer(plain).sections();
  return StatementParser(sections).parse();
}

}  // namespace limn
