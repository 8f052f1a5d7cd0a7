// Kinds of characters, as the parts of a tokenizer file mean them.
#pragma once

namespace limn {

// Unicode's White_Space.
bool is_unicode_space(char32_t character);

// UTS #18's \w.
bool is_word_character(char32_t character);

// ASCII's punctuation and symbols, and the general categories P*.
bool is_punctuation(char32_t character);

// What BERT's normalizer drops: the general categories Cc, Cf and Co, but for tab and line ends.
bool is_bert_control(char32_t character);

// BERT's Chinese characters: most ideographs of Unicode 8.
bool is_bert_ideograph(char32_t character);

// The general category Mn.
bool is_nonspacing_mark(char32_t character);

// The general categories M*.
bool is_combining_mark(char32_t character);

// The full lower case of Unicode, but for U+0130, which becomes two characters there.
char32_t lower_case(char32_t character);

}  // namespace limn
