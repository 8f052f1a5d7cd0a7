"""What befalls a run: each kind acts on a start, and says which exit codes are right afterwards.

Exit codes are those of docs/design.md, or 128 + signal.
"""

import random
import signal
import time
from dataclasses import dataclass

from run_state import part_paths
from start import Fault, send

DONE, NO_PROGRESS, IO, STOPPED = 0, 1, 74, 75
KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Scene:
    """Where a disturbance acts."""

    run: object  # the run directory
    disk: object  # what it lies on
    span_s: float  # how long an undisturbed start takes
    num_calls: int  # of an undisturbed start that write below the run directory


@dataclass(frozen=True)
class Ending:
    """How a start went."""

    code: int
    committed: bool  # it made something durable
    has_result: bool
    faults: list  # that the library committed


class Disturbance:
    """Does nothing, so that the run ends."""

    kind = "none"
    ends_start = True  # False: another one follows in the same start
    fault = None  # what the library is told before the start

    def __init__(self, rng: random.Random):
        self.rng = rng

    def before(self, scene):
        """Acts while no process lives. The names of parts that are worth nothing any more."""
        return set()

    def during(self, start, scene):
        pass

    def after(self, scene):
        """Mends what must be mended before another start."""

    def is_right(self, ending):
        return ending.code == DONE

    def wait_for_moment(self, start, scene):
        """Any moment of a start, or one soon after a seal."""
        if self.rng.random() < 0.5:
            start.sleep_until(self.rng.uniform(0, 1.05 * scene.span_s))
            return
        num_parts = len(part_paths(scene.run)) + self.rng.choice((1, 1, 2, 3, 5))
        while not start.has_ended() and len(part_paths(scene.run)) < num_parts:
            time.sleep(0.004)
        time.sleep(self.rng.uniform(0, 0.05))

    def wait_for_ranks(self, start):
        """The ranks, once there are any; none where the start ended before."""
        while not start.has_ended():
            if ranks := start.ranks():
                return ranks
            time.sleep(0.005)
        return {}


class Kill(Disturbance):
    def is_right(self, ending):
        return ending.code == (DONE if ending.code == DONE and ending.has_result else KILLED)


class KillRank(Kill):
    kind = "kill a rank"

    def during(self, start, scene):
        self.wait_for_moment(start, scene)
        ranks = self.wait_for_ranks(start)
        if ranks:
            send([self.rng.choice(list(ranks.values()))], signal.SIGKILL)


class KillNode(Kill):
    """Of a run on nodes of which one fails, launcher apart."""

    kind = "kill half the ranks"

    def during(self, start, scene):
        self.wait_for_moment(start, scene)
        ranks = list(self.wait_for_ranks(start).values())
        send(self.rng.sample(ranks, (len(ranks) + 1) // 2), signal.SIGKILL)


class KillLauncher(Kill):
    kind = "kill mpirun"

    def during(self, start, scene):
        self.wait_for_moment(start, scene)
        send(start.launcher(), signal.SIGKILL)


class Halt(Disturbance):
    kind = "halt and go on"
    ends_start = False

    def during(self, start, scene):
        self.wait_for_moment(start, scene)
        targets = [*start.ranks().values(), *start.launcher()]
        halted = self.rng.sample(targets, self.rng.randint(0, len(targets)))
        send(halted, signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.02, 0.5))
        send(halted, signal.SIGCONT)


class Stop(Disturbance):
    """What asks a run to stop. A signal that comes before the program can take it kills, as it does any program."""

    deadly = ()

    def is_right(self, ending):
        if ending.code == DONE:
            return ending.has_result
        if ending.code in self.deadly:
            return not ending.committed
        return ending.code == (STOPPED if ending.committed else NO_PROGRESS)


class Storm(Stop):
    signals = ()

    def during(self, start, scene):
        self.wait_for_moment(start, scene)
        ranks = self.wait_for_ranks(start)
        self.whom = self.rng.choice(("launcher", "all ranks", "rank 0", "others"))
        targets = {"launcher": start.launcher(), "all ranks": list(ranks.values()),
                   "rank 0": [ranks[rank] for rank in ranks if rank == 0],
                   "others": [ranks[rank] for rank in ranks if rank > 0]}[self.whom]
        for _ in range(self.rng.choice((1, 2, 20, 200))):
            send(targets, self.rng.choice(self.signals))
            time.sleep(self.rng.choice((0, 0, 0.001)))


class StormOfTerms(Storm):
    kind = "SIGTERM, many"
    signals = (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1)
    deadly = (128 + signal.SIGTERM, 128 + signal.SIGUSR1)

    def is_right(self, ending):
        # mpirun itself ends by a code of its own when it is told to, whatever the ranks return.
        if self.whom == "launcher" and ending.code not in (DONE, STOPPED):
            return True
        return super().is_right(ending)


class StormOfUsr1s(Storm):
    kind = "SIGUSR1, many"
    signals = (signal.SIGUSR1,)
    deadly = (128 + signal.SIGUSR1,)


class StopFile(Stop):
    kind = "RUN/stop"

    def during(self, start, scene):
        self.wait_for_moment(start, scene)
        if scene.run.exists():
            (scene.run / "stop").touch()

    def after(self, scene):
        # It came too late to be seen.
        (scene.run / "stop").unlink(missing_ok=True)


class FaultAtCall(Disturbance):
    def before(self, scene):
        most, name = self.rng.choice(((20, ""), (150, ""), (scene.num_calls, ""), (56, "relevance.h5")))
        self.fault = Fault(self.rng.choice(self.actions), self.rng.randint(1, most), name)
        return set()


class KillAtCall(FaultAtCall):
    kind = "kill at a call"
    actions = ("kill", "kill", "tear")

    def is_right(self, ending):
        return ending.code == (KILLED if ending.faults else DONE)


MAY_FAIL = ("/epochs/", "metrics.prom", "events.jsonl", ".xxh3")


class FailedCall(FaultAtCall):
    kind = "failing call"
    actions = ("ENOSPC", "EIO")

    def is_right(self, ending):
        if not ending.faults:
            return ending.code == DONE
        # HDF5 tries to open a file before it creates one, and takes any failure for a sign that it is not there. A sign of
        # life may fail, and what tells of the run.
        is_harmless = all(call == "open" or any(name in path for name in MAY_FAIL)
                          for _, call, path, _ in (fault.split(" ") for fault in ending.faults))
        return ending.code == IO or (is_harmless and ending.code == DONE)


class ShortCall(FaultAtCall):
    kind = "short write"
    actions = ("short",)


class FullDisk(Disturbance):
    kind = "full disk"

    def before(self, scene):
        self.at_once = self.rng.random() < 0.5
        if self.at_once:
            scene.disk.leave_room(self.rng.choice((0, 4096, self.rng.randrange(500_000))))
        return set()

    def during(self, start, scene):
        if not self.at_once:
            self.wait_for_moment(start, scene)
            scene.disk.leave_room(0)

    def after(self, scene):
        scene.disk.make_room()

    def is_right(self, ending):
        return ending.code == (DONE if ending.code == DONE and ending.has_result else IO)


class DamagedPart(Disturbance):
    kind = "damaged part"
    ends_start = False

    def before(self, scene):
        paths = part_paths(scene.run)
        if not paths:
            return set()
        damaged = self.rng.sample(paths, self.rng.randint(1, min(3, len(paths))))
        for path in damaged:
            self.rng.choice((self.delete, self.truncate, self.flip))(path)
        return {path.name for path in damaged}

    def delete(self, path):
        path.unlink()

    def truncate(self, path):
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.truncate(self.rng.choice((0, size - 1, self.rng.randrange(size))))

    def flip(self, path):
        content = bytearray(path.read_bytes())
        content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        path.write_bytes(content)


# How often each is drawn.
WEIGHTS = {KillRank: 4, KillNode: 2, KillLauncher: 3, Halt: 2, StormOfTerms: 3, StormOfUsr1s: 2, StopFile: 2,
           FullDisk: 3, KillAtCall: 6, FailedCall: 4, ShortCall: 1, DamagedPart: 2}


def draw(rng, kinds):
    kind = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
    return kind(random.Random(rng.random()))
