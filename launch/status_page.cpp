#include "launch/status_page.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "coordinator/progress.h"
#include "launch/progress_line.h"
#include "launch/quantity_text.h"
#include "launch/relevance_colors.h"
#include "launch/visible_text.h"
#include "storage/error.h"

namespace limn {

namespace {

// Longer lines are hard to read.
constexpr std::int64_t kMostColumns = 100;
constexpr std::int64_t kFewestColumns = 40;

constexpr std::int64_t kLabelColumns = 13;

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kCyan = "\x1b[36m";

std::string_view color_of(RunState state) {
  switch (state) {
    case RunState::Complete:
      return kGreen;
    case RunState::Running:
      return kCyan;
    case RunState::Failed:
      return kRed;
    case RunState::NotStarted:
    case RunState::Stopped:
      return kYellow;
  }
  throw InternalError("a state that there is not");
}

std::string_view words_of(RunState state) {
  switch (state) {
    case RunState::Complete:
      return "complete";
    case RunState::Running:
      return "running";
    case RunState::Failed:
      return "failed";
    case RunState::NotStarted:
      return "nothing is computed yet";
    case RunState::Stopped:
      return "stopped, resumable";
  }
  throw InternalError("a state that there is not");
}

// "2026-03-01 12:00:00 UTC".
std::string time_text(SystemTime time) {
  const std::string text = utc_text(time);
  return fmt::format("{} {} UTC", text.substr(0, 10), text.substr(11, 8));
}

std::string ago_text(SystemTime time, SystemTime now) {
  const double seconds = std::chrono::duration<double>(now - time).count();
  return fmt::format("{} ago", duration_text(std::max(0.0, seconds)));
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string joined(const std::vector<std::string>& facts) {
  return fmt::format("{}", fmt::join(facts, ", "));
}

// Rows of a label and what is to be said, broken to the sheet's width.
class Sheet {
 public:
  Sheet(const Terminal& terminal, std::ostream& out)
      : in_colors_(terminal.wants_colors),
        columns_(std::clamp(terminal.columns, kFewestColumns, kMostColumns)),
        out_(out) {}

  std::int64_t columns() const { return columns_; }

  std::string styled(std::string_view text, std::string_view style) const {
    if (!in_colors_) return std::string(text);
    return fmt::format("{}{}{}", style, text, kPlain);
  }

  void heading(std::string_view path, RunState state) {
    out_ << styled(visible_line(path), kBold) << ": " << styled(words_of(state), color_of(state))
         << '\n';
  }

  // Unless there is nothing to say.
  void row(std::string_view label, const std::vector<std::string>& facts) {
    if (!facts.empty()) row(label, joined(facts));
  }

  void row(std::string_view label, std::string_view text) {
    std::string shown_label = styled(fmt::format("  {:<{}}", label, kLabelColumns - 2), kDim);
    const std::vector<VisibleCharacter> characters = visible_characters(visible_line(text));
    for (const Line& line : break_lines(characters, columns_ - kLabelColumns)) {
      out_ << shown_label << text_of_line(characters, line) << '\n';
      shown_label.assign(kLabelColumns, ' ');
    }
  }

  // One that is as wide as it may be already.
  void whole_row(std::string_view label, std::string_view text) {
    out_ << styled(fmt::format("  {:<{}}", label, kLabelColumns - 2), kDim) << text << '\n';
  }

  std::ostream& out() { return out_; }

 private:
  bool in_colors_;
  std::int64_t columns_;
  std::ostream& out_;
};

void write_progress(const RunStatus& status, Sheet& sheet) {
  if (!status.num_samples) {
    sheet.row(
        "progress",
        {fmt::format("samples done: {} (of how many is not known)", status.samples_done),
         fmt::format("batches done: {}", status.batches_done.value_or(0))});
    return;
  }
  const bool knows_batches = status.batches_done && status.history.num_batches;
  const Progress progress{
      .samples_done = status.samples_done,
      .samples_total = *status.num_samples,
      .batches_done = knows_batches ? *status.batches_done : 0,
      .batches_total = knows_batches ? *status.history.num_batches : 0};
  constexpr std::int64_t kPercentColumns = 7;
  const std::string summary = progress_summary(progress);
  const std::int64_t columns = sheet.columns() - kLabelColumns;
  if (std::ssize(summary) + kPercentColumns > columns) return sheet.row("progress", summary);
  sheet.whole_row("progress", progress_bar(progress, columns));
}

void write_samples(const RunStatus& status, Sheet& sheet) {
  std::vector<std::string> facts;
  if (status.samples_failed > 0) facts.push_back(fmt::format("{} failed", status.samples_failed));
  if (status.samples_skipped > 0)
    facts.push_back(fmt::format("{} skipped", status.samples_skipped));
  sheet.row("samples", facts);
  const bool is_explaining = !status.prompts_answered || status.num_parts > 0;
  if (!is_explaining) {
    sheet.row(
        "targets",
        fmt::format("{} answered by the model", counted(*status.prompts_answered, "prompt")));
  }
}

void write_rate(const RunStatus& status, Sheet& sheet) {
  std::vector<std::string> facts;
  if (status.rows_per_second) facts.push_back(rate_text(*status.rows_per_second));
  if (status.time_left_s)
    facts.push_back(fmt::format("{} left", duration_text(*status.time_left_s)));
  sheet.row("rate", facts);
}

void write_disk(const RunStatus& status, SystemTime now, Sheet& sheet) {
  if (status.num_parts > 0) {
    sheet.row(
        "parts",
        fmt::format(
            "{}, {}; the last sealed {}",
            status.num_parts,
            bytes_text(status.part_bytes),
            ago_text(*status.last_sealed, now)));
  }
  if (!status.unreadable_parts.empty()) {
    sheet.row(
        "unreadable",
        fmt::format(
            "{}; what they hold counts as not done", fmt::join(status.unreadable_parts, ", ")));
  }
  if (status.bytes > 0) sheet.row("disk", bytes_text(status.bytes));
}

void write_owner(const RunStatus& status, SystemTime now, Sheet& sheet) {
  if (!status.owner) return;
  std::string text = describe(*status.owner);
  const auto& start = status.history.last_start;
  if (start)
    text += fmt::format(
        " ({})",
        duration_text(std::max(0.0, std::chrono::duration<double>(now - start->time).count())));
  sheet.row("owner", text);
  if (status.history.stop_asked_by)
    sheet.row("stopping", fmt::format("asked to stop by {}", *status.history.stop_asked_by));
}

void write_starts(const RunHistory& history, SystemTime now, Sheet& sheet) {
  if (!history.last_start) return;
  const RunStart& start = *history.last_start;
  std::string text = fmt::format(
      "{}; the last one {} ({}) on {}: limn {}, {}",
      history.num_starts,
      time_text(start.time),
      ago_text(start.time, now),
      start.host,
      start.version,
      counted(start.ranks, "rank"));
  if (start.ranks > 1)
    text += fmt::format(" ({} x {})", counted(start.groups, "group"), start.tensor_parallel);
  if (!start.slurm_job_id.empty()) text += fmt::format(", Slurm job {}", start.slurm_job_id);
  sheet.row("starts", text);
}

void write_end(const RunStatus& status, Sheet& sheet) {
  const RunHistory& history = status.history;
  if (status.owner || !history.last_start) return;
  if (!history.last_end) {
    sheet.row("end", "without a word: the last start was killed");
    return;
  }
  const RunEnd& end = *history.last_end;
  std::string text = fmt::format("{}: exit code {}", time_text(end.time), end.exit_code);
  if (history.stop_asked_by) text += fmt::format(", asked to stop by {}", *history.stop_asked_by);
  sheet.row("end", text);
  if (!end.message.empty()) sheet.row("error", end.message);
}

void write_time(const RunHistory& history, Sheet& sheet) {
  if (history.num_starts == 0) return;
  std::vector<std::string> facts = {fmt::format("{} at work", duration_text(history.at_work_s))};
  const auto add = [&](std::string_view what, double seconds) {
    if (seconds >= 0.5) facts.push_back(fmt::format("{} {}", what, duration_text(seconds)));
  };
  add("reading the dataset", history.reading_s);
  add("loading the model", history.loading_s);
  add("sealing parts", history.sealing_s);
  add("merging", history.merging_s);
  sheet.row("time", facts);
}

void write_failures(const RunStatus& status, std::size_t most, Sheet& sheet) {
  if (status.failures.empty()) return;
  sheet.out() << "\nfailed:\n";
  const std::size_t shown = std::min(most, status.failures.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const SampleFailure& failure = status.failures[i];
    sheet.out() << "  "
                << shortened_line(
                       fmt::format("{}: {}", failure.id, failure.message), sheet.columns() - 2)
                << '\n';
  }
  if (shown < status.failures.size()) {
    sheet.out() << fmt::format("  and {} more; --all shows them\n", status.failures.size() - shown);
  }
}

}  // namespace

void write_status_page(
    const RunStatus& status,
    const StatusPageOptions& options,
    const Terminal& terminal,
    std::ostream& out) {
  Sheet sheet(terminal, out);
  sheet.heading(status.path.string(), status.state);
  const bool has_nothing = status.state == RunState::NotStarted && !status.history.last_start;
  if (!has_nothing) write_progress(status, sheet);
  write_samples(status, sheet);
  write_rate(status, sheet);
  write_owner(status, options.now, sheet);
  write_disk(status, options.now, sheet);
  write_starts(status.history, options.now, sheet);
  write_end(status, sheet);
  write_time(status.history, sheet);
  write_failures(status, options.most_failures, sheet);
}

}  // namespace limn
