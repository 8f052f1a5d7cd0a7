"""One start of limn in a folder of its own, and the processes that it consists of."""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# What a start may take at the very most, on a machine with other things to do.
PATIENCE_S = 120
# How long ranks, and Open MPI's own daemons, may outlive what was started.
ORPHANS_S = {"limn": 20, "": 90}


@dataclass(frozen=True)
class Programs:
    limn: Path
    mpiexec: Path
    faults: Path  # the library of storage_faults.c


@dataclass(frozen=True)
class Fault:
    """What the library does at which call; see storage_faults.c."""

    action: str
    call: int
    name: str = ""


def processes_in(folder):
    """Those whose current folder it is: they share it with their launcher, whatever else they have changed."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:
            pass  # It has ended, and a zombie has no folder.
    return found


def name_of(process):
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def adopt_orphans():
    """Makes this process the parent of those whose own has died: the first process may not care to bury them."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans():
    """Requires: no child is waited for elsewhere."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def rank_of(process):
    """None unless the process is a rank that has become limn."""
    try:
        if Path(os.readlink(f"/proc/{process}/exe")).name != "limn":
            return None
        environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    for variable in environment:
        if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
            return int(variable.split(b"=")[1])
    return 0


def send(processes, number):
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass


class Start:
    """limn run with RUN as `folder`/run, from now until wait() returns."""

    def __init__(self, programs, setting, ranks, folder, interval_s, fault=None, flags=()):
        self.folder = folder
        self.has_launcher = ranks > 1
        self.trace = folder / "trace"
        self.trace.unlink(missing_ok=True)
        self.output_path = folder / "output"
        command = [str(programs.limn), "run", str(folder.parent / "job.toml"), "--data.path",
                   str(folder.parent / f"{setting.name}.jsonl"), "--output.path", "run", "--parallel.device", "cpu",
                   "--checkpoint.interval_s", str(interval_s), *setting.flags, *flags]
        if fault:
            command = ["env", f"LD_PRELOAD={programs.faults}", f"LIMN_FAULT_FOLDER={folder}/run",
                       f"LIMN_FAULT_NAME={fault.name}", f"LIMN_FAULT={fault.action}:{fault.call}",
                       f"LIMN_FAULT_TRACE={self.trace}", *command]
        if self.has_launcher:
            command = [str(programs.mpiexec), "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                       "OMP_NUM_THREADS": "1"}
        self.began = time.monotonic()
        with open(self.output_path, "wb") as output:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def ranks(self):
        """The processes of the ranks that live, by rank."""
        ranks = {}
        for process in processes_in(self.folder):
            rank = rank_of(process)
            if rank is not None:
                ranks[rank] = process
        return dict(sorted(ranks.items()))

    def launcher(self):
        """mpirun, or where there is none the rank itself."""
        return [] if self.has_ended() else [self.process.pid]

    def has_ended(self):
        return self.process.poll() is not None

    def sleep_until(self, moment_s):
        """Until so long after the beginning, or until the end."""
        while not self.has_ended() and time.monotonic() < self.began + moment_s:
            time.sleep(0.005)

    def wait(self):
        """The exit code as a shell shows it, once every process is gone. Throws TimeoutError."""
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end within {PATIENCE_S} s; {self.where_they_are()}") from None
        ended = time.monotonic()
        while left := processes_in(self.folder):
            for process in left:
                patience_s = ORPHANS_S[name_of(process) if name_of(process) in ORPHANS_S else ""]
                if time.monotonic() > ended + patience_s:
                    raise TimeoutError(f"processes are left {patience_s} s after the end: {self.where_they_are()}")
            reap_orphans()
            time.sleep(0.01)
        reap_orphans()
        return 128 - code if code < 0 else code

    def where_they_are(self):
        lines = []
        for process in processes_in(self.folder):
            try:
                state = Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0]
                lines.append(f"{process} {name_of(process)} (rank {rank_of(process)}, state {state})")
            except OSError:
                pass
        return ", ".join(lines)

    def kill_everything(self):
        while left := processes_in(self.folder):
            send(left, signal.SIGKILL)
            time.sleep(0.02)
        self.process.wait()

    def output(self):
        return self.output_path.read_text(errors="replace")

    def faults_taken(self):
        """The lines of the trace where the library did something."""
        if not self.trace.exists():
            return []
        return [line for line in self.trace.read_text().splitlines() if len(line.split(" ")) == 4]


def make_folder(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path.resolve()
