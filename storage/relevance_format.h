// The constants of the relevance file; docs/relevance-file.md says what they mean. Private to
// storage.
#pragma once

#include <array>
#include <cstdint>

#include "storage/hdf5_column.h"

namespace limn {

inline constexpr const char* kRelevanceFormat = "limn.relevance";
inline constexpr std::int32_t kRelevanceFormatVersion = 1;

// The root attribute that limn itself reads where it is there: all others again, as JSON.
inline constexpr const char* kHeaderAttribute = "header";

inline constexpr std::array kRelevanceGroups = {
    "samples", "text", "tokens", "units", "targets", "relevance", "evidence"};
inline constexpr const char* kPartGroup = "part";

inline constexpr const char* kSampleDimension = "sample";
inline constexpr const char* kSampleBoundDimension = "sample_bound";
inline constexpr const char* kUnitDimension = "units/unit";
inline constexpr const char* kUnitBoundDimension = "units/unit_bound";

// The second axis of every box.
inline constexpr const char* kCornerDimension = "corner";
inline constexpr std::array kCorners = {"x0", "y0", "x1", "y1"};

inline constexpr ColumnFormat kSampleId = {"samples/id", "sample", ElementType::Text};
inline constexpr ColumnFormat kSampleMessage = {"samples/message", "sample", ElementType::Text};

// Every dataset of numbers, in the order of kColumns.
enum class RelevanceColumn : std::size_t {
  SampleStatus,
  IdOffset,
  IdUtf8,
  MessageOffset,
  MessageUtf8,
  TextOffset,
  TextUtf8,
  TokenOffset,
  TokenId,
  TokenCharStart,
  TokenCharEnd,
  UnitOffset,
  UnitCharStart,
  UnitCharEnd,
  UnitBox,
  UnitTokenOffset,
  UnitToken,
  TargetOffset,
  TargetPosition,
  TargetToken,
  TargetLogProb,
  DeltaOffset,
  Delta,
  EvidenceOffset,
  EvidenceCharStart,
  EvidenceCharEnd,
  EvidenceBox,
};

inline constexpr std::array kRelevanceColumns = std::to_array<ColumnFormat>({
    {"samples/status", "sample", ElementType::Uint8},
    {"samples/id_offset", "sample_bound", ElementType::Int64},
    {"samples/id_utf8", "samples/id_byte", ElementType::Uint8},
    {"samples/message_offset", "sample_bound", ElementType::Int64},
    {"samples/message_utf8", "samples/message_byte", ElementType::Uint8},
    {"text/offset", "sample_bound", ElementType::Int64},
    {"text/utf8", "text/byte", ElementType::Uint8},
    {"tokens/offset", "sample_bound", ElementType::Int64},
    {"tokens/id", "tokens/token", ElementType::Int32},
    {"tokens/char_start", "tokens/token", ElementType::Int32},
    {"tokens/char_end", "tokens/token", ElementType::Int32},
    {"units/offset", "sample_bound", ElementType::Int64},
    {"units/char_start", "units/unit", ElementType::Int32},
    {"units/char_end", "units/unit", ElementType::Int32},
    {"units/box", "units/unit", ElementType::Int32, kCorners.size()},
    {"units/token_offset", "units/unit_bound", ElementType::Int64},
    {"units/token", "units/unit_token", ElementType::Int32},
    {"targets/offset", "sample_bound", ElementType::Int64},
    {"targets/position", "targets/target", ElementType::Int32},
    {"targets/token", "targets/target", ElementType::Int32},
    {"targets/log_prob", "targets/target", ElementType::Float32},
    {"relevance/offset", "sample_bound", ElementType::Int64},
    {"relevance/delta", "relevance/cell", ElementType::Float32},
    {"evidence/offset", "sample_bound", ElementType::Int64},
    {"evidence/char_start", "evidence/item", ElementType::Int32},
    {"evidence/char_end", "evidence/item", ElementType::Int32},
    {"evidence/box", "evidence/item", ElementType::Int32, kCorners.size()},
});
static_assert(
    kRelevanceColumns.size() == static_cast<std::size_t>(RelevanceColumn::EvidenceBox) + 1);

inline constexpr ColumnFormat kPartSampleIndex = {
    "part/sample_index", "sample", ElementType::Int64};
inline constexpr ColumnFormat kPartMeasuredUnits = {
    "part/measured_units", "sample", ElementType::Int32};
inline constexpr ColumnFormat kPartBatchId = {"part/batch_id", "part/batch", ElementType::Int64};
inline constexpr ColumnFormat kPartBatchContents = {
    "part/batch_contents", "part/batch", ElementType::Int64};

// Columns [first, last] that a file of another program may lack, and what it then has no link to.
struct OptionalColumns {
  RelevanceColumn first;
  RelevanceColumn last;
  const char* path;
};

inline constexpr std::array kOptionalColumns = std::to_array<OptionalColumns>({
    {RelevanceColumn::IdOffset, RelevanceColumn::IdUtf8, "samples/id_offset"},
    {RelevanceColumn::MessageOffset, RelevanceColumn::MessageUtf8, "samples/message_offset"},
    {RelevanceColumn::EvidenceOffset, RelevanceColumn::EvidenceBox, "evidence"},
});

// A column of offsets per sample and a column of the rows that they cut.
struct RaggedColumns {
  RelevanceColumn offset;
  RelevanceColumn rows;
};

inline constexpr std::array kRaggedColumns = std::to_array<RaggedColumns>({
    {RelevanceColumn::IdOffset, RelevanceColumn::IdUtf8},
    {RelevanceColumn::MessageOffset, RelevanceColumn::MessageUtf8},
    {RelevanceColumn::TextOffset, RelevanceColumn::TextUtf8},
    {RelevanceColumn::TokenOffset, RelevanceColumn::TokenId},
    {RelevanceColumn::UnitOffset, RelevanceColumn::UnitCharStart},
    {RelevanceColumn::TargetOffset, RelevanceColumn::TargetPosition},
    {RelevanceColumn::DeltaOffset, RelevanceColumn::Delta},
    {RelevanceColumn::EvidenceOffset, RelevanceColumn::EvidenceCharStart},
});

}  // namespace limn
