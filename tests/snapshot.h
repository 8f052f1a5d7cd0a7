// Snapshots: limn's own text as it was when somebody looked at it and found it good.
#pragma once

#include <string>
#include <string_view>

namespace limn::test {

// Expects `text` to equal tests/data/snapshots/NAME. A test program run with --snapshots=update
// rewrites the snapshot instead; look at the difference before you commit it.
void expect_snapshot(std::string_view name, const std::string& text);

}  // namespace limn::test
