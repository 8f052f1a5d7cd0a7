// Renders chat templates: what Jinja makes of them, or a refusal.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/template_syntax.h"

namespace limn {

// Renders a template with these variables, as transformers has Jinja do it. Filters, tests,
// functions and methods that limn does not know, and what Jinja would print as Python prints its
// objects, are refused by name: never is anything else rendered than Jinja would. `strftime_now` is
// not defined, for a run must not depend on the day it is done.
// Throws DataError for that, and for what the template itself refuses (raise_exception).
std::string render_template(
    const std::vector<TemplateStatement>& statements,
    const std::map<std::string, TemplateData>& variables);

}  // namespace limn
