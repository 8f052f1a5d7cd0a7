// Tells a person how far a run is.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "coordinator/progress.h"
#include "launch/terminal.h"

namespace limn {

// "1234/10570 samples, 56/480 batches, 12.3k rows/s, 4 min left". The rate and the time left are
// those of this start, and left out while nothing is known about them.
std::string progress_summary(const Progress& progress);

// The same behind a bar, in at most `columns` columns: where there is little room the bar goes
// first, then the end of the text. Requires: columns >= 3.
std::string progress_bar(const Progress& progress, std::int64_t columns);

// On a terminal one line that is drawn again in place; else lines of the log, few of them.
// Threads: one thread at a time.
class ProgressLine {
 public:
  // Borrows: `out`, which leads to `terminal`; unused unless that is a terminal.
  ProgressLine(const Terminal& terminal, std::ostream& out) : terminal_(terminal), out_(out) {}

  // Tells if it is time to: on a terminal 5 times a second, else after 10 seconds and then once a
  // minute, by the clock of `elapsed_s`. Call it often.
  void update(const Progress& progress);

  // Tells the last of it, and leaves the line.
  void finish(const Progress& progress);

 private:
  void tell(const Progress& progress);

  Terminal terminal_;
  std::ostream& out_;
  bool has_told_ = false;
  double told_at_s_ = 0;
};

}  // namespace limn
