// What Unicode 15 and 16 added, for libraries that know Unicode 14 only.
#pragma once

#include <string>
#include <string_view>

namespace limn {

// The characters of a general category ("L", "Nd") that are not in Unicode 14 and are in Unicode
// 16, as members of a PCRE2 character class: "\x{1C89}-\x{1C8A}...". Python's `tokenizers` brings
// Unicode 16 along; PCRE2 comes with the system, and tokens must not depend on which one.
std::string newer_characters(std::string_view category);

// The general category of a character that is not in Unicode 14 and is in Unicode 16; empty for any
// other.
std::string_view newer_category(char32_t character);

}  // namespace limn
