// Renders chat templates for tests/python/compare_chat_templates.py: render_templates < LINES
//
// Reads {"template": ..., "variables": {...}} a line and writes {"text": ...} or {"error": ...} a
// line.
#include <exception>
#include <iostream>
#include <map>
#include <string>

#include "coordinator/template_renderer.h"

namespace {

nlohmann::json render(const std::string& line) {
  try {
    const limn::TemplateData request = limn::TemplateData::parse(line);
    std::map<std::string, limn::TemplateData> variables;
    for (const auto& [name, value] : request.at("variables").items())
      variables[name] = value;
    const auto statements = limn::parse_template(request.at("template").get<std::string>());
    return {{"text", limn::render_template(statements, variables)}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);)
    std::cout << render(line).dump() << '\n';
}
