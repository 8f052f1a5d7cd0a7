#include "launch/show_command.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "launch/page_writer.h"
#include "launch/relevance_colors.h"
#include "launch/result_path.h"
#include "launch/sample_page.h"
#include "launch/visible_text.h"
#include "storage/error.h"
#include "storage/nearest_name.h"
#include "storage/relevance_file.h"

namespace limn {

namespace {

// Longer lines are hard to read.
constexpr std::int64_t kMostColumns = 100;
constexpr std::int64_t kFewestColumns = 40;

// How to write.
struct Sheet {
  ColorDepth depth = ColorDepth::None;
  std::int64_t columns = 80;
};

Sheet sheet_for(const ShowOptions& options, const Terminal& terminal) {
  const bool in_colors = options.color == ColorChoice::Always ||
                         (options.color == ColorChoice::Auto && terminal.wants_colors);
  return {
      .depth = in_colors ? terminal.depth : ColorDepth::None,
      .columns =
          options.columns.value_or(std::clamp(terminal.columns, kFewestColumns, kMostColumns))};
}

// Whether `id` is that of an alternative target ("paris#1") of the record `record`.
bool is_alternative(std::string_view id, std::string_view record) {
  if (!id.starts_with(record)) return false;
  const std::string_view rest = id.substr(record.size());
  return rest.size() > 1 && rest.front() == '#' &&
         rest.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

// The positions of the samples of these ids, or of all, in the file. Throws UsageError naming every
// id that is not there. The id of a record with alternative targets stands for all of them.
std::vector<std::int64_t> selected_samples(
    std::span<const std::string> ids_in_file,
    std::span<const std::string> wanted_ids,
    std::string_view file) {
  std::vector<std::int64_t> samples;
  std::vector<std::string> mistakes;
  for (const std::string& id : wanted_ids) {
    const auto found = std::find(ids_in_file.begin(), ids_in_file.end(), id);
    if (found != ids_in_file.end()) {
      samples.push_back(found - ids_in_file.begin());
      continue;
    }
    const std::size_t num_before = samples.size();
    for (std::size_t i = 0; i < ids_in_file.size(); ++i) {
      if (is_alternative(ids_in_file[i], id)) samples.push_back(static_cast<std::int64_t>(i));
    }
    if (samples.size() > num_before) continue;
    const std::vector<std::string_view> candidates(ids_in_file.begin(), ids_in_file.end());
    const std::optional<std::string_view> nearest = nearest_name(id, candidates);
    const std::string hint =
        nearest ? fmt::format(", did you mean {}", visible_line(*nearest)) : "";
    mistakes.push_back(fmt::format("{}: no sample of this id{}: {}", file, hint, visible_line(id)));
  }
  if (!mistakes.empty()) throw UsageError(fmt::format("{}", fmt::join(mistakes, "\n")));
  return samples;
}

std::vector<std::int64_t> all_samples(std::int64_t num_samples) {
  std::vector<std::int64_t> samples(static_cast<std::size_t>(num_samples));
  std::iota(samples.begin(), samples.end(), 0);
  return samples;
}

// `text` as the sheet shows it: with the escape sequence before and kPlain after it, or alone.
std::string styled(std::string_view text, std::string_view style, const Sheet& sheet) {
  if (sheet.depth == ColorDepth::None) return std::string(text);
  return fmt::format("{}{}{}", style, text, kPlain);
}

std::string counted(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string log_prob_text(double log_prob) {
  return std::isnan(log_prob) ? "not measured" : fmt::format("{:.3f}", log_prob);
}

// The sample's id, and what is to be said of it: on the same line if it fits.
void write_heading(
    std::string_view id, std::string_view facts, const Sheet& sheet, std::ostream& out) {
  const std::string shown_id = visible_line(id);
  out << styled(shown_id, kBold, sheet);
  if (display_columns(shown_id) + 2 + display_columns(facts) <= sheet.columns) {
    out << "  " << styled(facts, kDim, sheet) << '\n';
    return;
  }
  const std::vector<VisibleCharacter> text = visible_characters(facts);
  for (const Line& line : break_lines(text, sheet.columns))
    out << '\n' << styled(text_of_line(text, line), kDim, sheet);
  out << '\n';
}

void write_relevance(const SampleRecord& sample, const Sheet& sheet, std::ostream& out) {
  const SamplePage page = page_of(sample);
  const std::string facts = fmt::format(
      "{}, {}, log p(target) {}",
      counted(sample.units.size(), "unit"),
      counted(sample.targets.size(), "target token"),
      log_prob_text(page.target_log_prob));
  write_heading(sample.id, facts, sheet, out);
  if (sheet.depth == ColorDepth::None) {
    write_table(page, sheet.columns, out);
  } else {
    write_shaded(page, sheet.depth, sheet.columns, out);
  }
}

void write_sample(const SampleRecord& sample, const Sheet& sheet, std::ostream& out) {
  const auto write_message = [&](std::string_view what_happened) {
    write_heading(
        sample.id, fmt::format("{}: {}", what_happened, visible_line(sample.message)), sheet, out);
  };
  switch (sample.status) {
    case SampleStatus::Ok:
      return write_relevance(sample, sheet, out);
    case SampleStatus::Failed:
      return write_message("failed");
    case SampleStatus::Skipped:
      return write_message("skipped");
  }
}

}  // namespace

void show(const ShowOptions& options, const Terminal& terminal, std::ostream& out) {
  const std::filesystem::path path = find_result(options.path);
  const RelevanceReader reader(path);
  const std::vector<std::int64_t> samples =
      options.sample_ids.empty()
          ? all_samples(reader.num_samples())
          : selected_samples(reader.sample_ids(), options.sample_ids, path.string());
  const Sheet sheet = sheet_for(options, terminal);
  bool is_first = true;
  std::int64_t num_skipped = 0;
  for (const std::int64_t index : samples) {
    if (!is_first) out << '\n';
    is_first = false;
    const SampleRecord sample = reader.read(index);
    if (sample.status == SampleStatus::Skipped) ++num_skipped;
    write_sample(sample, sheet, out);
  }
  if (num_skipped > 0) out << fmt::format("\nskipped: {} of {}\n", num_skipped, samples.size());
}

}  // namespace limn
