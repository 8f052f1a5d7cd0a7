"""A real Slurm on one machine, for tests: munged, slurmctld and some slurmd as "virtual nodes".

All that it makes lies in one folder of its own, which is gone afterwards, as are its processes. It
listens on the loopback address only. It needs Debian's packages munge, slurm-client, slurmctld and
slurmd, and neither systemd nor cgroups; as root or as any other user, whose jobs it then runs.
"""

import ctypes
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ["munged", "munge", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue", "srun"]

# A job that is started again waits so long plus a second: the least that Slurm takes, not its 120 s.
CREDENTIALS_S = 5
# From TERM to KILL; clusters have 30.
KILL_WAIT_S = 6
# A node that does not answer for so long is down.
NODE_TIMEOUT_S = 6

PATIENCE_S = 30

# In the environment of a node's daemon.
NODE_MARK = "LIMN_TEST_DAEMON"


class CannotRun(Exception):
    """This machine lacks what a Slurm needs; the text says what."""


class Partition:
    """Nodes of the bed, named by their numbers, and the partition "high" + name that preempts there."""

    def __init__(self, name, nodes, grace_s=0):
        self.name, self.nodes, self.grace_s = name, nodes, grace_s


def find_programs():
    """Paths by name. Daemons lie in sbin, which is not on everybody's PATH."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    missing = [name for name, place in found.items() if place is None]
    if missing:
        raise CannotRun(
            f"no {', '.join(missing)} here; launch/setup.sh --with-tests installs munge, "
            "slurm-client, slurmctld and slurmd"
        )
    return found


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def end_with_parent():
    """In a child: even a killed test leaves no daemon behind."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def environment_of(pid):
    """As text, empty where the process is gone or somebody else's."""
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def command_of(pid):
    """The program and its arguments; empty where the process is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself


def all_pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


class SlurmBed:
    """Use it as a context: it is up inside."""

    def __init__(self, partitions, num_nodes, cpus_per_node=64):
        self.programs = find_programs()
        self.partitions, self.num_nodes, self.cpus_per_node = partitions, num_nodes, cpus_per_node
        self.host = os.uname().nodename.split(".")[0]
        try:
            socket.gethostbyname(self.host)
        except OSError:
            raise CannotRun(f"the host's own name does not resolve, which Slurm needs: {self.host}")
        self.daemons = {}  # by name, in the order of their start
        self.folder = None

    def __enter__(self):
        # Paths of sockets are short, and Slurm's own parser splits at blanks.
        base = tempfile.gettempdir()
        if len(base) > 40 or " " in base:
            base = "/tmp"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="limn-slurm-", dir=base))
        self.folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._end_jobs()
        for name in reversed(list(self.daemons)):
            self.stop_daemon(name)
        self._kill_what_is_left()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- what tests do

    def environment(self):
        """For commands that talk to this Slurm, and for its jobs."""
        # Values that a Slurm or an Open MPI around this one has set would be taken for this one's.
        plain = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SLURM", "SBATCH", "SRUN", "SQUEUE", "OMPI", "PMIX", "PRTE"))
        }
        return plain | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_btl": "self,vader,tcp",
            "OMPI_MCA_btl_tcp_if_include": "lo",
            "OMPI_MCA_oob_tcp_if_include": "lo",
            "OMPI_MCA_orte_tmpdir_base": str(self.folder / "ompi"),
            "OMPI_MCA_mpi_yield_when_idle": "1",
        }

    def command(self, *arguments, check=True):
        """The output of one of Slurm's commands."""
        done = subprocess.run(
            [self.programs.get(arguments[0], arguments[0]), *map(str, arguments[1:])],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, arguments))}: exit code {done.returncode}: {done.stdout}")
        return done.stdout

    def job(self, job_id):
        """What Slurm knows about a job or a task of an array, by name: JobState, Reason, Restarts, ..."""
        text = self.command("scontrol", "show", "job", job_id, "-o")
        return dict(field.split("=", 1) for field in text.splitlines()[0].split() if "=" in field)

    def ranks_of(self, program, run):
        """Pids of the processes of `program` that work on the folder `run`."""
        commands = {pid: command_of(pid) for pid in all_pids()}
        return [
            pid for pid, words in commands.items() if words[:1] == [str(program)] and str(run) in words
        ]

    def kill_node(self, node):
        """As a machine dies: the daemon and all that jobs have there, at once."""
        daemon = self.daemons.pop(node)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        # The daemon's steps have its environment, what they run that of the job.
        marks = {f"{NODE_MARK}={node}", f"SLURMD_NODENAME={node}"}
        for pid in self._own_pids():
            if marks & set(environment_of(pid).split("\0")):
                kill(pid)

    def start_node(self, node):
        """As a machine boots: what was in its temporary folders is gone."""
        for kind in ["spool", "tmp", "shm"]:
            shutil.rmtree(self.folder / kind / node, ignore_errors=True)
            (self.folder / kind / node).mkdir(parents=True)
        self._start_daemon(node, "slurmd", "-D", "-c", "-N", node, "-f", self.folder / "slurm.conf")

    # ---- starting

    def _start(self):
        for name in ["state", "ompi", "log"]:
            (self.folder / name).mkdir()
        self._write_configuration()
        self._start_munge()
        self._start_daemon("slurmctld", "slurmctld", "-D", "-c", "-f", self.folder / "slurm.conf")
        for node in self.nodes():
            self.start_node(node)
        self._wait("all nodes are idle", self._all_nodes_are_idle)

    def nodes(self):
        return [f"n{i + 1}" for i in range(self.num_nodes)]

    def _start_munge(self):
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        self._start_daemon(
            "munged",
            "munged",
            "--foreground",
            "--force",
            "--num-threads=2",
            f"--key-file={key}",
            f"--seed-file={self.folder}/munge.seed",
            f"--socket={self.folder}/munge.socket",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/log/munged.log",
        )
        socket_of = ["-S", f"{self.folder}/munge.socket", "-n"]
        self._wait("munged answers", lambda: self._succeeds("munge", *socket_of))

    def _write_configuration(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        ports = free_ports(1 + self.num_nodes)
        lines = [
            "ClusterName=limn",
            f"SlurmctldHost={self.host}(127.0.0.1)",
            f"SlurmctldPort={ports[0]}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder}/munge.socket,cred_expire={CREDENTIALS_S}",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool/%n",
            f"TmpFS={self.folder}/tmp/%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/%n.pid",
            f"TaskProlog={self.folder}/task-prolog",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "JobCompType=jobcomp/none",
            "MpiDefault=none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "JobRequeue=1",
            f"KillWait={KILL_WAIT_S}",
            f"SlurmdTimeout={NODE_TIMEOUT_S}",
            "MinJobAge=3600",
            "ReturnToService=2",
            "SlurmdParameters=config_overrides",
            "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
            "MailProg=/bin/true",
        ]
        for node, port in zip(self.nodes(), ports[1:]):
            lines.append(
                f"NodeName={node} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port} "
                f"CPUs={self.cpus_per_node} Boards=1 SocketsPerBoard=1 "
                f"CoresPerSocket={self.cpus_per_node} ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN"
            )
        for partition in self.partitions:
            nodes = ",".join(partition.nodes)
            lines.append(
                f"PartitionName={partition.name} Nodes={nodes} MaxTime=INFINITE DefaultTime=10 State=UP "
                f"PriorityTier=1 PreemptMode=REQUEUE GraceTime={partition.grace_s}"
            )
            lines.append(
                f"PartitionName=high{partition.name} Nodes={nodes} MaxTime=INFINITE DefaultTime=10 State=UP "
                "PriorityTier=10 PreemptMode=OFF"
            )
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        self._write_task_prolog()

    def _write_task_prolog(self):
        # Open MPI names its shared memory by host and rank, and here two nodes are one host. Not in
        # the batch step, whose environment mpirun hands to all nodes.
        prolog = self.folder / "task-prolog"
        prolog.write_text(
            "#!/bin/sh\n"
            "case ${SLURM_STEP_ID:-none} in\n"
            "  none | 42949672*) ;;\n"
            f'  *) echo "export OMPI_MCA_btl_vader_backing_directory={self.folder}/shm/$SLURMD_NODENAME" ;;\n'
            "esac\n"
        )
        prolog.chmod(0o755)

    def _start_daemon(self, name, program, *arguments):
        log = open(self.folder / "log" / f"{name}.out", "ab")
        with log:
            self.daemons[name] = subprocess.Popen(
                [self.programs[program], *map(str, arguments)],
                env=self.environment() | {NODE_MARK: name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
                start_new_session=True,
            )

    def _succeeds(self, *arguments):
        try:
            self.command(*arguments)
            return True
        except (RuntimeError, subprocess.TimeoutExpired):
            return False

    def _all_nodes_are_idle(self):
        try:
            states = self.command("scontrol", "show", "nodes", "-o").splitlines()
        except RuntimeError:
            return False
        return sum(" State=IDLE " in line for line in states) == self.num_nodes

    def _wait(self, what, holds):
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"Slurm does not come up: not so: {what}; ended: {dead}\n{self.logs()}")
            time.sleep(0.1)

    def logs(self):
        """The last lines of all daemons."""
        text = ""
        for log in sorted((self.folder / "log").iterdir()):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            text += f"--- {log.name}\n" + "\n".join(lines) + "\n"
        return text

    # ---- ending

    def stop_daemon(self, name):
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _end_jobs(self):
        if "slurmctld" not in self.daemons:
            return
        jobs = self.command("squeue", "-h", "-o", "%A", check=False).split()
        if not jobs:
            return
        self.command("scancel", *jobs, check=False)
        deadline = time.monotonic() + KILL_WAIT_S
        while time.monotonic() < deadline and self.command("squeue", "-h", check=False):
            time.sleep(0.2)

    def _own_pids(self):
        """All processes that carry this bed's name: daemons, their steps and what jobs run."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf"
        return [pid for pid in all_pids() if pid != os.getpid() and mark in environment_of(pid).split("\0")]

    def _kill_what_is_left(self):
        for pid in self._own_pids():
            kill(pid)
