// One sample as a relevance file stores it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace limn {

enum class SampleStatus : std::uint8_t { Ok = 0, Failed = 1, Skipped = 2 };

// Half-open range of characters (Unicode code points, as Python counts them); -1, -1: none.
struct CharRange {
  std::int32_t begin = -1;
  std::int32_t end = -1;

  bool operator==(const CharRange&) const = default;
};

// Half-open box of an image in pixels; all -1: none.
struct PixelBox {
  std::int32_t x0 = -1;
  std::int32_t y0 = -1;
  std::int32_t x1 = -1;
  std::int32_t y1 = -1;

  bool operator==(const PixelBox&) const = default;
};

// A token of the sequence fed to the model, and the characters of SampleRecord::text that it
// covers.
struct TokenRecord {
  std::int32_t id = 0;
  CharRange chars;  // none for special and image tokens

  bool operator==(const TokenRecord&) const = default;
};

// What gets a relevance: some token positions, and what they cover.
struct UnitRecord {
  CharRange chars;                   // none for units given as token positions only
  PixelBox box;                      // none for text
  std::vector<std::int32_t> tokens;  // positions in SampleRecord::tokens, ascending, unique

  bool operator==(const UnitRecord&) const = default;
};

// A target token. Its log-probability is read at row position - 1.
struct TargetRecord {
  std::int32_t position = 0;  // in SampleRecord::tokens
  std::int32_t token = 0;
  float log_prob = 0;  // of the base; NaN: not measured (yet)
};

// The ground truth, if the dataset gives one: characters or a box.
struct EvidenceRecord {
  CharRange chars;
  PixelBox box;

  bool operator==(const EvidenceRecord&) const = default;
};

struct SampleRecord {
  std::string id;
  SampleStatus status = SampleStatus::Ok;
  std::string message;  // why the status is not Ok
  std::string text;     // UTF-8: the prompt followed by the target
  std::vector<TokenRecord> tokens;
  std::vector<UnitRecord> units;
  std::vector<TargetRecord> targets;
  std::vector<float> delta;  // [units, targets], row-major; NaN: not measured (yet)
  std::vector<EvidenceRecord> evidence;
};

}  // namespace limn
