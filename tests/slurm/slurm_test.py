#!/usr/bin/env python3
"""Runs the real program under a real Slurm, disturbs it in every way, and expects the same result.

    slurm_test.py LIMN [SCENARIO...]

Every scenario submits the script that `limn plan --sbatch` writes, does something to the job, and
waits until it is done, by itself where it should be. Then every dataset of relevance.h5 must equal,
bit for bit, that of a run which nobody disturbed, and no batch may have been computed twice. All
scenarios run at the same time. Exit codes: 0, 1 for a failure, 77 where no Slurm can be started.
"""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from slurm_bed import CannotRun, Partition, SlurmBed, kill

SOURCE = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = SOURCE / "launch/examples/stories260K"

# Enough copies of the example's prompts, in small batches, to be interrupted in the middle.
NUM_COPIES = 6
PATIENCE_S = 240
GRACE_S = 6

# Scenarios that empty their nodes have some of their own.
PARTITIONS = [
    Partition("calm", ["n1", "n2"]),
    Partition("frail", ["n3", "n4"]),
    Partition("srunfree", ["n5"]),
    Partition("mpirunfree", ["n6"]),
    Partition("srungrace", ["n7"], grace_s=GRACE_S),
    Partition("mpirungrace", ["n8"], grace_s=GRACE_S),
]


class Failure(Exception):
    """An expectation that does not hold."""


def expect(holds, text):
    if not holds:
        raise Failure(text)


def wait_until(what, holds, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not holds():
        expect(time.monotonic() < deadline, f"in {patience_s} s it did not happen that {what}")
        time.sleep(0.1)


def write_dataset(path):
    lines = (EXAMPLE / "prompts.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.strip()]
    with path.open("w") as file:
        for copy in range(NUM_COPIES):
            for record in records:
                file.write(json.dumps(record | {"id": f"{record['id']}-{copy}"}) + "\n")


class Setting:
    """What a scenario finds: the program, a Slurm, a dataset, and a folder of its own."""

    def __init__(self, limn, bed, dataset, folder, reference):
        self.limn, self.bed, self.dataset, self.folder = limn, bed, dataset, folder
        self.reference = reference  # the relevance file of an undisturbed run
        folder.mkdir()

    def flags(self, run):
        return [
            *("--model.path", EXAMPLE / "model"),
            *("--data.path", self.dataset),
            *("--output.path", run),
            *("--parallel.batch_tokens", 200),
            *("--checkpoint.interval_s", 0.1),
        ]

    def environment(self):
        return self.bed.environment() | {
            # More threads than processors wait for each other most of the time.
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            # Not the script's 10 s, of which mpirun waits through two whenever it is told to end.
            "OMPI_MCA_odls_base_sigkill_timeout": "3",
        }

    def call(self, *command):
        done = subprocess.run(
            list(map(str, command)),
            cwd=SOURCE,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        expect(done.returncode == 0, f"{command[:3]}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def logs(self):
        """The ends of what jobs printed."""
        logs = sorted(self.folder.glob("*.log"))
        return "".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)


class SlurmRun:
    """A run directory and the jobs that work on it, one after the other."""

    def __init__(self, setting, *options):
        self.setting, self.bed = setting, setting.bed
        self.log_path = setting.folder / "job.log"
        # Blanks and quotes, so that every scenario proves that they do no harm.
        folder = setting.folder / "a 'run' of \"$HOME\""
        folder.mkdir()
        self.path = folder / "run"
        self.script = folder / "job.sbatch"
        setting.call(
            *(setting.limn, "plan", EXAMPLE / "job.toml", "--sbatch", self.script),
            *("--option", f"--output={self.log_path}"),
            *setting.flags(self.path),
            *options,
        )
        self.job_id = None

    def submit(self):
        arguments = ["sbatch", "--parsable", str(self.script)]
        self.job_id = self.setting.call(*arguments).strip()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def job(self):
        return self.bed.job(self.job_id)

    def state(self):
        return self.job()["JobState"]

    def sealed_parts(self):
        return len(list(self.path.glob("parts/part-*.h5")))

    def wait_for_seal(self):
        """Until the start that is at work has sealed something."""
        before = self.sealed_parts()
        wait_until("a part was sealed", lambda: self.sealed_parts() > before)
        expect(not (self.path / "relevance.h5").exists(), "the run was over before it was disturbed")

    def ranks(self):
        return self.bed.ranks_of(self.setting.limn, self.path)

    def wait_for_state(self, *states):
        wait_until(f"the job was {' or '.join(states)}", lambda: self.state() in states)

    def expect_done(self, restarts, more_restarts=False):
        """Goes on by itself to the end, started again so many times, or more if that may be."""
        ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"]
        self.wait_for_state(*ended)
        job = self.job()
        state, found = job["JobState"], int(job["Restarts"])
        is_right = found == restarts or (more_restarts and found > restarts)
        expect(
            state == "COMPLETED" and is_right,
            f"{state} with {found} restarts, not COMPLETED with {restarts}",
        )
        self.expect_same_result()

    def expect_same_result(self):
        expect_no_batch_twice(self.path)
        difference = first_difference(self.path / "relevance.h5", self.setting.reference)
        expect(difference is None, f"not the result of an undisturbed run: {difference}")


# ---- Comparing files


def datasets_of(file):
    import h5py

    found = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def first_difference(left_path, right_path, tolerance=None):
    """None if all datasets are the same, bit for bit or, if they are real numbers, within a tolerance."""
    import h5py
    import numpy

    with h5py.File(left_path) as left_file, h5py.File(right_path) as right_file:
        left, right = datasets_of(left_file), datasets_of(right_file)
        if left.keys() != right.keys():
            return f"other datasets: {left.keys() ^ right.keys()}"
        for name in left:
            a, b = left[name][()], right[name][()]
            if a.shape != b.shape:
                return f"{name}: {a.shape} and {b.shape}"
            if tolerance is not None and a.dtype.kind == "f":
                if not numpy.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True):
                    return f"{name}: {numpy.nanmax(numpy.abs(a - b))} apart"
            elif a.dtype.kind == "O":
                if list(a) != list(b):
                    return f"{name}: other texts"
            elif a.tobytes() != b.tobytes():
                return f"{name}: other values"
    return None


def expect_no_batch_twice(run):
    import h5py

    seen = {}
    for part in sorted(run.glob("parts/part-*.h5")):
        with h5py.File(part) as file:
            for batch in file["part/batch_id"][()]:
                earlier = seen.setdefault(int(batch), part.name)
                expect(earlier == part.name, f"batch {batch} is in {earlier} and in {part.name}")


# ---- Scenarios: each a function of the setting and of the launcher

TWO_NODES = ("--partition", "calm", "--nodes", 2, "--ranks-per-node", 1)
ONE_NODE = ("--nodes", 1, "--ranks-per-node", 2)


def warned(setting, launcher):
    """What --signal=USR1@N sends before the limit: the run stops, and the script requeues itself."""
    run = SlurmRun(setting, "--launcher", launcher, *TWO_NODES)
    run.submit()
    run.wait_for_seal()
    setting.bed.command("scancel", "--signal=USR1", run.job_id)
    run.expect_done(restarts=1)


def at_the_time_limit(setting, launcher):
    """The real limit of a minute, and nothing that warns before: TERM, and KILL after a while."""
    run = SlurmRun(setting, "--launcher", launcher, *TWO_NODES, "--time", 1, "--warn", 0)
    run.submit()
    run.wait_for_seal()
    # Asleep until Slurm wakes them to be ended: a minute of computing is nothing that a test needs.
    for pid in run.ranks():
        os.kill(pid, signal.SIGSTOP)
    # On a slow machine the rest takes another minute.
    run.expect_done(restarts=1, more_restarts=True)
    expect("DUE TO TIME LIMIT" in run.log(), "the time limit was not met")


def before_the_time_limit(setting, launcher):
    """limn itself asks Slurm for the end of the job, and stops in time."""
    options = ("--launcher", launcher, *TWO_NODES, "--time", 1, "--warn", 0)
    run = SlurmRun(setting, *options)
    run.submit()
    run.wait_for_seal()
    # Asleep until there is a quarter of a minute left, which is not enough for another batch.
    ranks = run.ranks()
    for pid in ranks:
        os.kill(pid, signal.SIGSTOP)
    started = run.job()["StartTime"]
    seconds_since = lambda: time.time() - time.mktime(time.strptime(started, "%Y-%m-%dT%H:%M:%S"))
    wait_until("the time was nearly over", lambda: seconds_since() > 46)
    for pid in ranks:
        os.kill(pid, signal.SIGCONT)
    run.expect_done(restarts=1, more_restarts=True)
    expect("DUE TO TIME LIMIT" not in run.log(), "it ran into the time limit")
    expect("asked to stop by the" in run.log(), "it did not say that the time was over")


def requeued(setting, launcher):
    run = SlurmRun(setting, "--launcher", launcher, *TWO_NODES)
    run.submit()
    run.wait_for_seal()
    setting.bed.command("scontrol", "requeue", run.job_id)
    run.expect_done(restarts=1)


def preempt(setting, launcher, partition):
    options = ("--launcher", launcher, "--partition", partition, *ONE_NODE)
    run = SlurmRun(setting, *options)
    run.submit()
    run.wait_for_seal()
    setting.bed.command(
        *("sbatch", "-p", f"high{partition}", "-N1", "--exclusive", "-o", "/dev/null"),
        *("--wrap", "sleep 1"),
    )
    run.expect_done(restarts=1)


def preempted(setting, launcher):
    preempt(setting, launcher, f"{launcher}free")


def preempted_with_grace(setting, launcher):
    """Slurm requeues only what still runs at the end of the grace; what stops before must see to itself."""
    preempt(setting, launcher, f"{launcher}grace")


def cancelled(setting, launcher):
    """It stays cancelled; the same script goes on when a person submits it again."""
    run = SlurmRun(setting, "--launcher", launcher, *TWO_NODES)
    run.submit()
    run.wait_for_seal()
    setting.bed.command("scancel", run.job_id)
    run.wait_for_state("CANCELLED")
    wait_until("no rank was left", lambda: not run.ranks())
    time.sleep(2)  # for a script that would requeue itself
    job = run.job()
    expect((job["JobState"], job["Restarts"]) == ("CANCELLED", "0"), f"it came back: {job}")
    expect(not (run.path / "relevance.h5").exists(), "it was not cancelled in the middle")
    run.submit()
    run.expect_done(restarts=0)


def stopped_by_a_person(setting, launcher):
    """By a file `stop` in the run directory: who makes one does not want the job to go on."""
    run = SlurmRun(setting, "--launcher", launcher, *TWO_NODES)
    run.submit()
    run.wait_for_seal()
    (run.path / "stop").touch()
    run.wait_for_state("FAILED", "COMPLETED")
    job = run.job()
    found = (job["ExitCode"], job["Restarts"])
    expect(found == ("75:0", "0"), f"exit code and restarts are {found}")
    run.submit()
    run.expect_done(restarts=0)


def on_a_node_that_fails(setting, launcher):
    """The daemon and the ranks of one node die at once; Slurm notices, and moves the job."""
    options = ("--launcher", launcher, "--partition", "frail", "--nodes", 2, "--ranks-per-node", 1)
    run = SlurmRun(setting, *options)
    run.submit()
    run.wait_for_seal()
    setting.bed.kill_node("n4")
    down = lambda: "DOWN" in setting.bed.command("scontrol", "show", "node", "n4", "-o")
    wait_until("Slurm noticed the dead node", down)
    setting.bed.start_node("n4")
    run.expect_done(restarts=1)


def with_a_rank_killed(setting, launcher):
    """As the kernel does where memory is short."""
    run = SlurmRun(setting, "--launcher", launcher, *TWO_NODES)
    run.submit()
    run.wait_for_seal()
    kill(run.ranks()[-1])
    run.expect_done(restarts=1)


def capped(setting, launcher):
    """After --max-restarts it ends with 75; whoever submits it again goes on."""
    options = ("--launcher", launcher, *TWO_NODES, "--max-restarts", 1)
    run = SlurmRun(setting, *options)
    run.submit()
    for _ in range(2):
        run.wait_for_seal()
        setting.bed.command("scancel", "--signal=USR1", run.job_id)
        wait_until("the start was over", lambda: not run.ranks())
    run.wait_for_state("FAILED")
    job = run.job()
    found = (job["ExitCode"], job["Restarts"])
    expect(found == ("75:0", "1"), f"exit code and restarts are {found}")
    run.submit()
    run.expect_done(restarts=0)


def fruitless(setting, launcher):
    """A start that gets nothing done is repeated once; a second one in a row is the last."""
    options = ("--launcher", launcher, *TWO_NODES, "--checkpoint.interval_s", 1000)
    run = SlurmRun(setting, *options)
    run.submit()
    for _ in range(2):
        wait_until("the ranks were there", lambda: len(run.ranks()) == 2)
        for pid in run.ranks():
            kill(pid)
        wait_until("the start was over", lambda: not run.ranks())
    run.wait_for_state("FAILED", "COMPLETED")
    job = run.job()
    expect((job["JobState"], job["Restarts"]) == ("FAILED", "1"), f"it is {job}")


def mistaken(setting, launcher):
    """What another start would not mend is not started again."""
    options = ("--launcher", launcher, *TWO_NODES, "--data.sample_ids", "nobody")
    run = SlurmRun(setting, *options)
    run.submit()
    run.wait_for_state("FAILED", "COMPLETED")
    job = run.job()
    found = (job["ExitCode"], job["Restarts"])
    expect(found == ("65:0", "0"), f"exit code and restarts are {found}")


def in_an_array(setting, launcher):
    """Shards of the dataset, one of them disturbed: that whose id is also the array's."""
    num_tasks = 3
    options = ("--launcher", launcher, "--partition", "calm", "--array", num_tasks)
    log = ("--option", f"--output={setting.folder}/array-%a.log")
    run = SlurmRun(setting, *options, *log)
    run.submit()
    disturbed = run.path / f"shard-{num_tasks - 1}"
    wait_until("a part was sealed", lambda: list(disturbed.glob("parts/part-*.h5")))
    task_ids = [f"{run.job_id}_{i}" for i in range(num_tasks)]
    setting.bed.command("scancel", "--signal=USR1", task_ids[-1])
    for task_id in task_ids:
        done = lambda: setting.bed.job(task_id)["JobState"] in ("COMPLETED", "FAILED")
        wait_until(f"task {task_id} was done", done)
    jobs = [setting.bed.job(task_id) for task_id in task_ids]
    found = [(job["JobState"], job["Restarts"]) for job in jobs]
    expected = [("COMPLETED", "0")] * (num_tasks - 1) + [("COMPLETED", "1")]
    expect(found == expected, f"states and restarts of the tasks are {found}")

    shards = sorted(run.path.glob("shard-*"), reverse=True)
    for shard in shards:
        expect_no_batch_twice(shard)
    merged = run.path / "relevance.h5"
    setting.call(setting.limn, "merge", merged, *shards)
    difference = first_difference(merged, setting.reference, tolerance=1e-5)
    expect(difference is None, f"not the result of a run without shards: {difference}")


SCENARIOS = {
    f"{scenario.__name__}/{launcher}": (scenario, launcher)
    for scenario, launchers in [
        (at_the_time_limit, ["srun"]),
        (before_the_time_limit, ["mpirun"]),
        (on_a_node_that_fails, ["srun"]),
        (preempted_with_grace, ["srun", "mpirun"]),
        (capped, ["srun"]),
        (cancelled, ["srun", "mpirun"]),
        (in_an_array, ["srun"]),
        (warned, ["srun", "mpirun"]),
        (requeued, ["srun", "mpirun"]),
        (preempted, ["srun", "mpirun"]),
        (with_a_rank_killed, ["srun", "mpirun"]),
        (fruitless, ["srun"]),
        (stopped_by_a_person, ["srun"]),
        (mistaken, ["mpirun"]),
    ]
    for launcher in launchers
}

printing = threading.Lock()


def run_scenario(setting, name):
    """Whether it went as it should; prints what happened."""
    scenario, launcher = SCENARIOS[name]
    started = time.monotonic()
    failure = None
    try:
        scenario(setting, launcher)
    except Exception:  # of whatever kind: the others go on
        failure = traceback.format_exc()
    with printing:
        print(f"[{'FAILED' if failure else 'OK'}] {name} ({time.monotonic() - started:.0f} s)")
        if failure:
            print(failure + setting.logs())
        sys.stdout.flush()
    return failure is None


def make_reference(setting):
    run = setting.folder / "run"
    mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", 2]
    setting.call(*mpirun, setting.limn, "run", EXAMPLE / "job.toml", *setting.flags(run))
    return run / "relevance.h5"


def run_all(limn, names):
    """Runs the scenarios at the same time. The names of those that failed."""
    with (
        tempfile.TemporaryDirectory(prefix="limn-slurm-test-") as folder,
        SlurmBed(PARTITIONS, num_nodes=8) as bed,
        concurrent.futures.ThreadPoolExecutor(len(names)) as threads,
    ):
        folder = pathlib.Path(folder)
        dataset = folder / "stories.jsonl"
        write_dataset(dataset)

        def setting(name, reference):
            return Setting(limn, bed, dataset, folder / name.replace("/", "-"), reference)

        # Before all others: beside them it would take as long as they do.
        reference = make_reference(setting("undisturbed", None))
        running = {
            name: threads.submit(run_scenario, setting(name, reference), name) for name in names
        }
        failed = [name for name, outcome in running.items() if not outcome.result()]
        if failed:
            print(bed.logs())
        return failed


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def main(limn, names):
    try:
        import h5py  # noqa: F401: of the test environment
    except ImportError:
        skip("no h5py; launch/setup.sh --with-tests installs it")
    started = time.monotonic()
    try:
        failed = run_all(pathlib.Path(limn), names or list(SCENARIOS))
    except CannotRun as reason:
        skip(reason)
    print(f"{len(names or SCENARIOS)} scenarios in {time.monotonic() - started:.0f} s, failed: {failed}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
