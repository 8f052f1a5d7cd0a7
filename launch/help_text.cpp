#include "launch/help_text.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "launch/job_keys.h"
#include "launch/visible_text.h"

namespace limn {

namespace {

constexpr std::string_view kProgramHelp =
    R"(limn explains what a large language model said: for every unit of an input it
measures how much the log-probability of the target falls when the model's
attention to that unit is suppressed.

Usage:
  limn run JOB.toml [--KEY VALUE]...   explain a dataset
  limn show RUN_DIR|FILE               look at what was computed
  limn status RUN_DIR                  look at how far a run is
  limn plan JOB.toml --sbatch FILE     write a script that submits it to Slurm
  limn merge OUT.h5 RUN_DIR|FILE...    put the results of shards together
  limn bench CONFIG                    measure how fast a model is here
  limn --version                       print the version

`limn COMMAND --help` tells more of each.
)";

constexpr std::string_view kRunHelp =
    R"(Explains a dataset as the job file says and writes RUN_DIR/relevance.h5.

Usage:
  limn run JOB.toml [--KEY VALUE]...
  mpirun -n RANKS limn run JOB.toml [--KEY VALUE]...

A run that was stopped or killed is continued by the same command. SIGUSR1, or a
file `stop` in the run directory, ends it after the batches that are being
computed, and so does the end of the Slurm job that it runs in; SIGTERM, SIGHUP
and Ctrl-C end it at once and keep what is complete; the same a second time, two
seconds later or more, does not wait for that either.

Flags:
  --fresh             begin anew; what an earlier start computed is kept in
                      RUN_DIR/earlier-NNN
  --extend            go on though the dataset has grown at its end
  --max-hours HOURS   stop in time to have used 0.99 of them
  --log-level LEVEL   trace, debug, info (default), warn or error
  --log-file PATH     append the log to this file, too
  --version           print the version
  -h, --help          print this text

Exit codes: 0 done, 64 wrong command line, 65 bad data or checkpoint,
70 internal error, 74 input or output failed, 75 stopped, 78 bad job file.

Keys of the job file, which is TOML. Each is also a flag, and then wins over the
file. Relative paths start from the current directory.
)";

constexpr std::string_view kShowHelp =
    R"(Shows the samples of a finished run, every unit shaded by its relevance, summed
over the target's tokens. Without colours a table of the units follows the text.

Usage:
  limn show RUN_DIR|FILE [--sample ID]... [--color WHEN] [--width COLUMNS]

Flags:
  --sample ID       show only this sample; may be given several times
  --color WHEN      always, never or auto (default): on a terminal, unless
                    NO_COLOR is set
  --width COLUMNS   columns to use, at least 40 (default: the terminal's)
  --version         print the version
  -h, --help        print this text
)";

constexpr std::string_view kStatusHelp =
    R"(Tells how far a run is, whether it computes, was stopped or is complete, and
which samples failed. It only reads, and may be asked at any time.

Usage:
  limn status RUN_DIR [--json] [--all] [--exit-code]

Flags:
  --json        print JSON; docs/status.md lists the keys
  --all         list all samples that failed, not the first ten
  --exit-code   end with 0 if the run is complete, 75 if it is to be continued
                by the same command, 1 if nothing is computed yet, 2 while it
                runs, else with the code of the error that ended its last start
  --version     print the version
  -h, --help    print this text
)";

constexpr std::string_view kBenchHelp =
    R"(Measures explanations on this machine with random weights: rows/s, useful FLOP/s
beside those of the matrix products alone, the time by part, seconds for an
explanation, memory. Needs the config of a model and no checkpoint.

Usage:
  limn bench CONFIG [FLAG VALUE]...
  mpirun -n RANKS limn bench CONFIG [FLAG VALUE]...
  mpirun -n RANKS limn bench --collectives [--device DEVICE] [--json FILE]

CONFIG is a config.json or a folder with one. With several groups each measures
the same at the same time. --collectives measures all-reduces over all ranks.

What is explained:
  --tokens N            tokens of a prompt (default: 1024)
  --targets N           target tokens (default: 16)
  --units N             perturbed tokens, 0: all of the prompt (default: 0)
  --samples N           so many of these (default: 1)
  --suppression WORD    log_additive (default), multiplicative, shifted or
                        shifted_full
  --factor NUMBER       of suppressed keys (default: 0)

How:
  --batch-tokens N      rows of one sweep (default: 16384)
  --compute WORD        auto (default), float32, bfloat16, bfloat16_delta or
                        fp8_delta
  --dtype WORD          of the weights: bfloat16 (default), float16 or float32
  --device WORD         auto (default), cpu or cuda
  --tensor-parallel N   ranks that hold one copy of the model (default: 1)

How much of it:
  --batches N           only so many sweeps, spread evenly over the sample, 0:
                        all (default: 0); the rest is extrapolated by cost
  --layers N            only the model's first layers, 0: all (default: 0)
  --repeat N            runs to take the median of (default: 3)

  --json FILE           write the figures into this file, too
  --version             print the version
  -h, --help            print this text
)";

constexpr std::string_view kPlanHelp =
    R"(Checks a job file and writes a script that submits the job to Slurm. Stopped,
preempted or moved by Slurm, the job goes on by itself where it was; cancelled,
it ends, and goes on when the script is submitted again. docs/slurm.md tells
more.

Usage:
  limn plan JOB.toml --sbatch FILE [FLAG VALUE]... [--KEY VALUE]...

  limn plan job.toml --sbatch job.sbatch --nodes 2 --gpus-per-node 4
  sbatch job.sbatch

  limn plan job.toml --sbatch job.sbatch --array 8 --gpus-per-node 1
  sbatch job.sbatch
  limn merge runs/squad/relevance.h5 runs/squad/shard-*

What Slurm is asked for:
  --sbatch FILE         the script to write
  --launcher WORD       srun (default) or mpirun
  --nodes N             nodes (default: 1), each task of an array's
  --ranks-per-node N    ranks on each (default: as --gpus-per-node, or as
                        parallel.tensor_parallel)
  --gpus-per-node N     GPUs on each (default: one a rank if parallel.device is
                        cuda, else none)
  --cpus-per-rank N     cores of each rank (default: what the cluster gives)
  --time TIME           longest time of a start, as Slurm writes it (default:
                        04:00:00); the run itself may take many
  --partition NAME, --account NAME, --job-name NAME
  --option OPTION       another option of sbatch, "--mem=64G"; may be given
                        several times

How it goes on:
  --warn SECONDS        finish the current part so long before the end, 0: no
                        warning (default: 180, or half of a shorter --time)
  --max-restarts N      starts after the first one (default: 20)
  --array N             N jobs at once, each explaining one shard of the dataset
                        into the folder shard-I of output.path

Keys of the job file are flags here as they are of `limn run`, and go into the
script.

  --version             print the version
  -h, --help            print this text
)";

constexpr std::string_view kMergeHelp =
    R"(Puts the results of all shards of a dataset (data.shard) together into one
relevance file, the samples in the dataset's order. The shards may be given in
any order. What does not belong together is refused.

Usage:
  limn merge OUT.h5 RUN_DIR|FILE...

  limn merge runs/squad/relevance.h5 runs/squad/shard-*

Flags:
  --version             print the version
  -h, --help            print this text
)";

// `text` in lines of at most 80 columns, each after `indent` spaces.
std::string paragraph(std::string_view text, std::size_t indent) {
  constexpr std::size_t kColumns = 80;
  std::string lines;
  std::string line;
  const auto end_line = [&] { lines += fmt::format("{:{}}{}\n", "", indent, line); };
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!line.empty() && indent + line.size() + 1 + word.size() > kColumns) {
      end_line();
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  end_line();
  return lines;
}

// Whether the placeholder leaves anything to be said about the values.
bool has_more_to_say(const KeyRule& rule) {
  if (const auto* word = std::get_if<WordRule>(&rule)) return word->words.size() > 1;
  return std::holds_alternative<NumberRule>(rule) || std::holds_alternative<IntegerRule>(rule) ||
         std::holds_alternative<DelimiterRule>(rule);
}

// The default, on one line.
std::string default_text(const JobKey& key) {
  const std::string value = visible_line(value_text(key.get(Job{})));
  return value.empty() ? "none" : value;
}

std::string key_help(const JobKey& key) {
  const std::string fallback =
      is_required(key) ? "required" : fmt::format("default: {}", default_text(key));
  std::string text = fmt::format("  --{} {}  [{}]\n", key.name, placeholder(key.rule), fallback);
  text += paragraph(key.meaning, 6);
  if (has_more_to_say(key.rule)) text += paragraph(expectation(key.rule), 6);
  return text;
}

}  // namespace

std::string program_help() {
  return std::string(kProgramHelp);
}

std::string run_help() {
  std::string text(kRunHelp);
  std::string_view table;
  for (const JobKey& key : job_keys()) {
    if (table_of(key.name) != table) {
      table = table_of(key.name);
      text += fmt::format("\n[{}]\n", table);
    }
    text += key_help(key);
  }
  return text;
}

std::string show_help() {
  return std::string(kShowHelp);
}

std::string status_help() {
  return std::string(kStatusHelp);
}

std::string bench_help() {
  return std::string(kBenchHelp);
}

std::string plan_help() {
  return std::string(kPlanHelp);
}

std::string merge_help() {
  return std::string(kMergeHelp);
}

}  // namespace limn
