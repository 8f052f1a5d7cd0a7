// The syntax of Jinja, as far as chat templates use it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace limn {

// Keeps the order of keys, as Python's dictionaries do.
using TemplateData = nlohmann::ordered_json;

struct TemplateExpression {
  enum class Kind {
    Literal,     // literal
    Name,        // name
    List,        // operands
    Dictionary,  // key, value, key, value, ...
    Attribute,   // operands[0].name
    Item,        // operands[0][operands[1]]
    Slice,   // operands[0][operands[1]:operands[2]:operands[3]], each of kind Absent if left out
    Call,    // operands[0](arguments)
    Filter,  // operands[0] | name(arguments)
    Test,    // operands[0] is name(arguments)
    Unary,   // name operands[0]
    Binary,  // operands[0] name operands[1]
    Comparison,   // operands[0] names[0] operands[1] names[1] operands[2] ...
    Conditional,  // operands[0] if operands[1] else operands[2]
    Absent
  };

  Kind kind = Kind::Absent;
  std::string name;
  TemplateData literal;
  std::vector<TemplateExpression> operands;  // of calls, filters and tests: then the arguments
  std::vector<std::string> names;            // of the last arguments, where they are given by name
};

struct TemplateStatement {
  enum class Kind {
    Text,        // name
    Output,      // expressions[0]
    If,          // expressions[0], body, otherwise
    For,         // names in expressions[0], of which expressions[1]; body, otherwise
    Set,         // names = expressions[0], or = body if there is no expression
    SetMember,   // names[0].names[1] = expressions[0]
    Macro,       // name(names), the last of them with the defaults `expressions`; body
    Generation,  // body
    Break,
    Continue
  };

  Kind kind = Kind::Text;
  std::string name;
  std::vector<std::string> names;
  std::vector<TemplateExpression> expressions;
  std::vector<TemplateStatement> body;
  std::vector<TemplateStatement> otherwise;
};

// Parses a template as transformers has Jinja read it: the first line end behind a block goes, and
// so does the white space before a block that is the first on its line. Throws DataError, which
// names the line, for what is no Jinja and for what limn does not know of it, and for what is not
// UTF-8.
std::vector<TemplateStatement> parse_template(std::string_view text);

}  // namespace limn
