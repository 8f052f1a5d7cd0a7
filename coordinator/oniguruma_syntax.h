// From one dialect of regular expressions to another.
#pragma once

#include <string>
#include <string_view>

namespace limn {

// `regex`, written for Oniguruma (its Ruby-like default syntax, UTF-8), for PCRE2 with PCRE2_UTF,
// PCRE2_UCP and PCRE2_MULTILINE. Equal spellings that differ in meaning are spelled out: \s is
// Unicode's White_Space, {1,3}+ repeats and is not possessive, (?m:) lets the dot match newlines,
// \p{Han} is the script without its extensions, and general categories have all characters of
// Unicode 16 whatever PCRE2 knows (scripts have those that PCRE2 knows). Throws DataError naming
// the first construct that is not known to mean the same in both.
std::string pcre2_from_oniguruma(std::string_view regex);

}  // namespace limn
