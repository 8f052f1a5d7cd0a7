#include "coordinator/template_renderer.h"

#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "coordinator/template_functions.h"
#include "coordinator/template_value.h"
#include "storage/error.h"

namespace limn {

namespace {

using Data = TemplateData;
using Value = TemplateValue;
using Members = TemplateMembers;
using Undefined = TemplateUndefined;
using Arguments = TemplateArguments;
using Expression = TemplateExpression;
using Statement = TemplateStatement;

// Variables by name, and where to look for those that are not there.
struct Scope {
  std::map<std::string, Value> variables;
  Scope* outer = nullptr;
};

// What a statement does to the loop around it.
enum class Flow { Next, Break, Continue };

class Renderer {
 public:
  explicit Renderer(const std::map<std::string, Data>& variables) {
    for (const auto& [name, data] : variables)
      globals_.variables.emplace(name, data);
  }

  std::string render(const std::vector<Statement>& statements) {
    std::string text;
    if (run(statements, globals_, text) != Flow::Next)
      refuse_to_render("break or continue stands in no loop");
    return text;
  }

 private:
  Flow run(const std::vector<Statement>& statements, Scope& scope, std::string& text) {
    constexpr std::size_t kMostBytes = 1U << 30U;
    for (const Statement& statement : statements) {
      const Flow flow = run(statement, scope, text);
      if (flow != Flow::Next) return flow;
      if (text.size() > kMostBytes) refuse_to_render("it renders more than a gigabyte");
    }
    return Flow::Next;
  }

  Flow run(const Statement& statement, Scope& scope, std::string& text) {
    switch (statement.kind) {
      case Statement::Kind::Text:
        text += statement.name;
        return Flow::Next;
      case Statement::Kind::Output:
        text += text_of(evaluate(statement.expressions[0], scope));
        return Flow::Next;
      case Statement::Kind::If:
        return run(
            is_true(evaluate(statement.expressions[0], scope)) ? statement.body
                                                               : statement.otherwise,
            scope,
            text);
      case Statement::Kind::For:
        return run_loop(statement, scope, text);
      case Statement::Kind::Set:
        set(statement, scope);
        return Flow::Next;
      case Statement::Kind::SetMember: {
        Members* const members = lookup(statement.names[0], scope).members();
        if (members == nullptr)
          refuse_to_render("{} is no namespace, so no member can be set", statement.names[0]);
        (*members)[statement.names[1]] = evaluate(statement.expressions[0], scope);
        return Flow::Next;
      }
      case Statement::Kind::Macro:
        scope.variables[statement.name] = Value(&statement);
        return Flow::Next;
      case Statement::Kind::Generation: {
        Scope inner{{}, &scope};
        return run(statement.body, inner, text);
      }
      case Statement::Kind::Break:
        return Flow::Break;
      case Statement::Kind::Continue:
        return Flow::Continue;
    }
    throw InternalError("a statement of a template that is none");
  }

  static void assign(const std::vector<std::string>& names, const Value& value, Scope& scope) {
    if (names.size() == 1) {
      scope.variables[names[0]] = value;
      return;
    }
    const std::vector<Value> elements = elements_of(value);
    if (elements.size() != names.size())
      refuse_to_render("{} values for {} names", elements.size(), names.size());
    for (std::size_t i = 0; i < names.size(); ++i)
      scope.variables[names[i]] = elements[i];
  }

  void set(const Statement& statement, Scope& scope) {
    if (!statement.expressions.empty())
      return assign(statement.names, evaluate(statement.expressions[0], scope), scope);
    Scope inner{{}, &scope};
    std::string text;
    run(statement.body, inner, text);
    scope.variables[statement.names[0]] = Value(Data(text));
  }

  Flow run_loop(const Statement& statement, Scope& scope, std::string& text) {
    std::vector<Value> elements = elements_of(evaluate(statement.expressions[0], scope));
    if (statement.expressions.size() > 1) {
      std::erase_if(elements, [&](const Value& element) {
        Scope inner{{}, &scope};
        assign(statement.names, element, inner);
        return !is_true(evaluate(statement.expressions[1], inner));
      });
    }
    if (elements.empty()) {
      Scope inner{{}, &scope};
      return run(statement.otherwise, inner, text);
    }
    for (std::size_t i = 0; i < elements.size(); ++i) {
      Scope inner{{}, &scope};
      inner.variables["loop"] = loop_variable(elements, i);
      assign(statement.names, elements[i], inner);
      if (run(statement.body, inner, text) == Flow::Break) break;
    }
    return Flow::Next;
  }

  static Value loop_variable(const std::vector<Value>& elements, std::size_t i) {
    auto loop = std::make_shared<Members>();
    const auto add = [&](const char* name, Data value) { loop->emplace(name, std::move(value)); };
    add("index", i + 1);
    add("index0", i);
    add("revindex", elements.size() - i);
    add("revindex0", elements.size() - i - 1);
    add("length", elements.size());
    add("first", i == 0);
    add("last", i + 1 == elements.size());
    if (i > 0) loop->emplace("previtem", elements[i - 1]);
    if (i + 1 < elements.size()) loop->emplace("nextitem", elements[i + 1]);
    return Value(std::move(loop));
  }

  static Value lookup(const std::string& name, const Scope& scope) {
    for (const Scope* looked = &scope; looked != nullptr; looked = looked->outer) {
      const auto found = looked->variables.find(name);
      if (found != looked->variables.end()) return found->second;
    }
    return Value(Undefined{name});
  }

  Value evaluate(const Expression& expression, Scope& scope) {
    const auto& operands = expression.operands;
    const auto operand = [&](std::size_t i) { return evaluate(operands[i], scope); };
    switch (expression.kind) {
      case Expression::Kind::Literal:
        return expression.literal;
      case Expression::Kind::Name:
        return lookup(expression.name, scope);
      case Expression::Kind::List: {
        Data list = Data::array();
        for (std::size_t i = 0; i < operands.size(); ++i)
          list.push_back(operand(i).data());
        return list;
      }
      case Expression::Kind::Dictionary: {
        Data dictionary = Data::object();
        for (std::size_t i = 0; i < operands.size(); i += 2)
          dictionary[string_of(operand(i), "a key of a dictionary")] = operand(i + 1).data();
        return dictionary;
      }
      case Expression::Kind::Attribute:
        return item_of(operand(0), Value(Data(expression.name)));
      case Expression::Kind::Item:
        return item_of(operand(0), operand(1));
      case Expression::Kind::Slice:
        return evaluate_slice(expression, scope);
      case Expression::Kind::Call:
        return call(expression, scope);
      case Expression::Kind::Filter: {
        Arguments arguments =
            arguments_of(expression, fmt::format("the filter {}", expression.name), scope);
        Value value = filter_result(expression.name, operand(0), arguments);
        arguments.expect_no_more();
        return value;
      }
      case Expression::Kind::Test: {
        Arguments arguments =
            arguments_of(expression, fmt::format("the test {}", expression.name), scope);
        const bool passes = test_holds(expression.name, operand(0), arguments);
        arguments.expect_no_more();
        return Data(passes);
      }
      case Expression::Kind::Unary:
        if (expression.name == "not") return Data(!is_true(operand(0)));
        return arithmetic(expression.name, Data(0), operand(0));
      case Expression::Kind::Binary:
        return evaluate_binary(expression, scope);
      case Expression::Kind::Comparison: {
        Value left = operand(0);
        for (std::size_t i = 0; i < expression.names.size(); ++i) {
          Value right = operand(i + 1);
          if (!compare(expression.names[i], left, right)) return Data(false);
          left = std::move(right);
        }
        return Data(true);
      }
      case Expression::Kind::Conditional:
        return operand(is_true(operand(1)) ? 0 : 2);
      case Expression::Kind::Absent:
        return Value(Undefined{"what stands behind an else that is not there"});
    }
    throw InternalError("an expression of a template that is none");
  }

  Value evaluate_binary(const Expression& expression, Scope& scope) {
    Value left = evaluate(expression.operands[0], scope);
    if (expression.name == "or" && is_true(left)) return left;
    if (expression.name == "and" && !is_true(left)) return left;
    Value right = evaluate(expression.operands[1], scope);
    if (expression.name == "or" || expression.name == "and") return right;
    if (expression.name == "~") return Data(text_of(left) + text_of(right));
    return arithmetic(expression.name, left, right);
  }

  Value evaluate_slice(const Expression& expression, Scope& scope) {
    const Value value = evaluate(expression.operands[0], scope);
    const auto bound = [&](std::size_t i) -> std::optional<std::int64_t> {
      if (expression.operands[i].kind == Expression::Kind::Absent) return std::nullopt;
      const Value evaluated = evaluate(expression.operands[i], scope);
      if (evaluated.data().is_null()) return std::nullopt;
      return integer_of(evaluated, "a bound of a slice");
    };
    return slice_of(value, bound(1), bound(2), bound(3).value_or(1));
  }

  Arguments arguments_of(const Expression& expression, std::string name, Scope& scope) {
    std::vector<Value> values;
    for (std::size_t i = 1; i < expression.operands.size(); ++i)
      values.push_back(evaluate(expression.operands[i], scope));
    return {std::move(name), std::move(values), expression.names};
  }

  Value call(const Expression& expression, Scope& scope) {
    const Expression& callee = expression.operands[0];
    Arguments arguments = arguments_of(expression, callee.name, scope);
    std::optional<Value> result;
    if (callee.kind == Expression::Kind::Attribute) {
      const Value object = evaluate(callee.operands[0], scope);
      result = method_result(object, callee.name, arguments);
      if (!result) {
        refuse_to_render(
            "limn does not know the method {} of a value of type {}",
            callee.name,
            type_name(object.data()));
      }
    } else if (callee.kind == Expression::Kind::Name) {
      if (const Statement* macro = lookup(callee.name, scope).macro())
        return call_macro(*macro, arguments);
      result = call_function(callee.name, arguments);
    } else {
      refuse_to_render("only functions and methods can be called");
    }
    arguments.expect_no_more();
    return *result;
  }

  Value call_function(const std::string& name, Arguments& arguments) {
    if (name == "raise_exception") {
      throw DataError(fmt::format(
          "the chat template refuses the messages: {}", text_of(arguments.get(0, "message"))));
    }
    if (name == "namespace") {
      auto members = std::make_shared<Members>();
      for (std::size_t i = 0; i < arguments.names().size(); ++i)
        (*members)[arguments.names()[i]] =
            *arguments.find(std::numeric_limits<std::size_t>::max(), arguments.names()[i]);
      return Value(std::move(members));
    }
    if (name == "dict") {
      Data dictionary = Data::object();
      for (const std::string& key : arguments.names())
        dictionary[key] = arguments.find(std::numeric_limits<std::size_t>::max(), key)->data();
      return dictionary;
    }
    if (name == "range") return range(arguments);
    if (name == "strftime_now")
      refuse_to_render("it asks for today's date, on which a run must not depend");
    refuse_to_render("limn does not know the function {}", name);
  }

  static Value range(Arguments& arguments) {
    constexpr std::size_t kMost = 1'000'000;
    const std::int64_t first = integer_of(arguments.get(0, "start"), "start");
    const bool has_end = arguments.num_positional() > 1;
    std::int64_t at = has_end ? first : 0;
    const std::int64_t end = has_end ? integer_of(arguments.get(1, "stop"), "stop") : first;
    const std::int64_t step = arguments.integer(2, "step", 1);
    if (step == 0) refuse_to_render("a range with the step 0");
    Data numbers = Data::array();
    for (; step > 0 ? at < end : at > end; at += step) {
      if (numbers.size() == kMost) refuse_to_render("a range of more than a million numbers");
      numbers.push_back(at);
    }
    return numbers;
  }

  // A macro sees the variables of the template, not those of the loop that calls it.
  Value call_macro(const Statement& macro, Arguments& arguments) {
    constexpr int kMostNested = 50;
    if (++num_calls_ > kMostNested) refuse_to_render("macros call each other too deeply");
    Scope inner{{}, &globals_};
    const std::size_t num_required = macro.names.size() - macro.expressions.size();
    for (std::size_t i = 0; i < macro.names.size(); ++i) {
      auto value = arguments.find(i, macro.names[i]);
      if (!value && i >= num_required) value = evaluate(macro.expressions[i - num_required], inner);
      inner.variables[macro.names[i]] = value ? *value : Value(Undefined{macro.names[i]});
    }
    arguments.expect_no_more();
    std::string text;
    run(macro.body, inner, text);
    --num_calls_;
    return Data(text);
  }

  Scope globals_;
  int num_calls_ = 0;
};

}  // namespace

std::string render_template(
    const std::vector<TemplateStatement>& statements,
    const std::map<std::string, TemplateData>& variables) {
  return Renderer(variables).render(statements);
}

}  // namespace limn
