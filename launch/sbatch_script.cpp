#include "launch/sbatch_script.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include <fmt/format.h>

namespace limn {

namespace {

// The lines that sbatch reads.
std::string directives(const SbatchScript& script) {
  std::string text;
  const auto add = [&](std::string_view option) { text += fmt::format("#SBATCH {}\n", option); };
  add(fmt::format("--job-name={}", script.name));
  add(fmt::format("--nodes={} --ntasks-per-node={}", script.nodes, script.ranks_per_node));
  if (script.cpus_per_rank) add(fmt::format("--cpus-per-task={}", *script.cpus_per_rank));
  if (script.gpus_per_node > 0) add(fmt::format("--gpus-per-node={}", script.gpus_per_node));
  add(fmt::format("--time={}", script.time));
  if (script.partition) add(fmt::format("--partition={}", *script.partition));
  if (script.account) add(fmt::format("--account={}", *script.account));
  // To the ranks (not B:), which then finish the part that they are at.
  if (script.warning_s > 0) add(fmt::format("--signal=USR1@{}", script.warning_s));
  add("--requeue --open-mode=append");
  if (script.array) {
    add(fmt::format("--array=0-{}", *script.array - 1));
    add("--output=limn-%A_%a.log");
  } else {
    add("--output=limn-%j.log");
  }
  for (const std::string& option : script.options)
    add(option);
  return text;
}

std::string setting(std::string_view name, std::string_view value) {
  return fmt::format("{}={}\n", name, value);
}

// The variables and the command.
std::string settings(const SbatchScript& script) {
  const std::string run = shell_quoted(script.run.string());
  std::string text = setting("limn", shell_quoted(script.limn.string()));
  text += setting("run", script.array ? run + "/shard-$SLURM_ARRAY_TASK_ID" : run);
  text += setting("max_restarts", std::to_string(script.max_restarts));
  text += fmt::format("command=(\"$limn\" run {}", shell_quoted(script.job.string()));
  for (const std::string& flag : script.flags)
    text += " " + shell_quoted(flag);
  if (script.array) {
    text += fmt::format(
        "\n  --data.shard \"$SLURM_ARRAY_TASK_ID/{}\" --output.path \"$run\"", *script.array);
  }
  text += ")\n";
  text += fmt::format("cd {} || exit 74\n", shell_quoted(script.folder.string()));
  return text;
}

std::string launch(const SbatchScript& script) {
  if (script.launcher == Launcher::Mpirun) {
    return fmt::format(
        "# Ranks that are told to end get so many seconds to keep what is complete, not one; "
        "mpirun\n"
        "# itself may then take twice as long.\n"
        "export OMPI_MCA_odls_base_sigkill_timeout="
        "${{OMPI_MCA_odls_base_sigkill_timeout:-10}}\n"
        "{} --bind-to none \"${{command[@]}}\" &\n",
        shell_quoted(script.mpirun.string()));
  }
  const std::string cpus =
      script.cpus_per_rank ? fmt::format(" --cpus-per-task={}", *script.cpus_per_rank) : "";
  return fmt::format("srun --mpi=pmix --kill-on-bad-exit=1{} \"${{command[@]}}\" &\n", cpus);
}

constexpr std::string_view kBeforeLaunch = R"bash(
# The id of an array's last task alone would mean all of them.
job=$SLURM_JOB_ID
[ -z "${SLURM_ARRAY_JOB_ID:-}" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

say() { printf '[%s] [sbatch] %s\n' "$(date '+%F %T')" "$*" >&2; }

# Slurm says by itself when it will end the job since 23.02.
if [ -z "${SLURM_JOB_START_TIME:-}" ]; then
  job_end=$(SLURM_TIME_FORMAT=%s timeout 10 squeue -h -j "$job" -o %e 2>/dev/null)
  case $job_end in '' | *[!0-9]*) ;; *) export SLURM_JOB_END_TIME=$job_end ;; esac
fi

is_complete() { [ -e "$run/relevance.h5" ]; }

# Another text after every start that got something onto the disk.
kept() { ls -l "$run/parts" "$run/targets.jsonl" 2>/dev/null; }
kept_before=$(kept)
is_fruitful() { [ "$(kept)" != "$kept_before" ]; }

# A person made the file `stop` in the run directory, which is gone by now; only the log tells.
log_bytes=$(stat -c %s "$run/limn.log" 2>/dev/null || echo 0)
is_stopped_by_person() {
  tail -c "+$((log_bytes + 1))" "$run/limn.log" 2>/dev/null | grep -q 'asked to stop by the file'
}

# What Slurm has in mind: "RUNNING None", "COMPLETING TimeLimit", ...
intention() { squeue -h -j "$job" -o '%T %r' 2>/dev/null; }

# By a job of higher priority, and still in the time of grace.
is_preempted() { scontrol show job "$job" -o 2>/dev/null | grep -q ' PreemptTime=[0-9]'; }

is_requeued=no
requeue() {
  if [ "$is_requeued" = yes ]; then
    return
  elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$max_restarts" ]; then
    say "restarted $max_restarts times, no more; what is done is kept, submit the script to go on"
  elif scontrol requeue "$job"; then
    is_requeued=yes
    say "stopped; it goes on when Slurm starts the job again"
  else
    say "Slurm does not start the job again; what is done is kept, submit the script to go on"
  fi
}

# Slurm ends the job. Past its limit it would not come back by itself, and there may be no time to
# wait for all ranks: this script is killed as they are.
is_ended=no
end() {
  is_ended=yes
  case $(intention) in *TimeLimit) if is_fruitful; then requeue; fi ;; esac
}
trap end TERM
trap : USR1 # it is for the ranks, but does no harm here

)bash";

// In the background, for bash handles a signal only between two commands, and while it waits.
constexpr std::string_view kAfterLaunch = R"bash(launcher=$!
wait "$launcher"
rc=$?
while [ $rc -gt 128 ] && kill -0 "$launcher" 2>/dev/null; do # a signal ended the waiting only
  wait "$launcher"
  rc=$?
done

if is_fruitful || is_complete; then rm -f "$run/.fruitless"; fi

case $rc in
  64 | 65 | 78) exit $rc ;; # a mistake: another start would not mend it
  75)                       # stopped and resumable
    if is_stopped_by_person; then
      say "stopped by the file \`stop\`; submit the script to go on"
      exit $rc
    fi
    ;;
  *)                        # done, a rank killed or hanging, a disk that refused, the launcher's own
    if is_complete; then exit 0; fi
    [ $rc -ne 0 ] || rc=1
    if ! is_fruitful && ! is_preempted; then
      if [ -e "$run/.fruitless" ]; then
        say "two starts in a row got nothing done, it is not tried again: exit code $rc"
        rm -f "$run/.fruitless"
        exit $rc
      fi
      mkdir -p "$run" && : >"$run/.fruitless"
    fi
    ;;
esac

# A cancelled job must not come back; what Slurm moves elsewhere it starts again by itself.
case $(intention) in
  *TimeLimit) requeue ;;
  COMPLETING* | CANCELLED*) ;;
  *) [ "$is_ended" = yes ] || requeue ;;
esac
exit $rc
)bash";

// The number that all of `text` is; digits only.
std::optional<std::int64_t> digits(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && number >= 0 &&
                         number < 1'000'000 && text.front() != '-';
  return is_number ? std::optional(number) : std::nullopt;
}

}  // namespace

std::string shell_quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

std::optional<std::int64_t> time_limit_s(std::string_view text) {
  std::optional<std::int64_t> days;
  if (const std::size_t dash = text.find('-'); dash != std::string_view::npos) {
    days = dash == 0 ? std::nullopt : digits(text.substr(0, dash));
    if (!days) return std::nullopt;
    text.remove_prefix(dash + 1);
  }
  std::vector<std::int64_t> fields;
  while (true) {
    const std::string_view field = text.substr(0, text.find(':'));
    const auto number = field.empty() ? std::nullopt : digits(field);
    if (!number || fields.size() == 3) return std::nullopt;
    fields.push_back(*number);
    if (field.size() == text.size()) break;
    text.remove_prefix(field.size() + 1);
  }
  // Behind days the first field is of hours; else one or two fields begin with minutes.
  const std::size_t first = days || fields.size() == 3 ? 0 : 1;
  constexpr std::int64_t kUnits[] = {3600, 60, 1};
  std::int64_t seconds = days.value_or(0) * 86'400;
  for (std::size_t i = 0; i < fields.size(); ++i)
    seconds += fields[i] * kUnits[first + i];
  return seconds > 0 ? std::optional(seconds) : std::nullopt;
}

std::string to_text(const SbatchScript& script) {
  std::string text = "#!/bin/bash\n";
  text += fmt::format("{}; submit it with sbatch.\n", kSbatchScriptMark);
  text += directives(script);
  text += '\n';
  text += settings(script);
  text += kBeforeLaunch;
  text += launch(script);
  text += kAfterLaunch;
  return text;
}

}  // namespace limn
