"""Kills limn again and again, and asks that nothing is lost.

    campaign.py --limn LIMN --mpiexec MPIEXEC --faults LIBRARY --seed S --kills N [--minutes M] [--only ROUND]
    campaign.py ... --every-call ACTION [--stride K]

A round is one run: the same command is started again and again, each start disturbed by what the seed draws
(disturbances.py), until it ends by itself. Then relevance.h5 must equal, bit for bit, that of a run that nobody
disturbed. After every start:

- the exit code is one that docs/design.md gives for what happened;
- every part that was sealed is still there, byte for byte, and no batch is in two parts: none was computed again;
- no process is left.

The number of ranks is drawn anew for each start. A round that fails says so with its number and keeps its folder;
`--only` repeats it: what is drawn is the same, the moments of the operating system are not.

With --every-call a short run suffers ACTION (storage_faults.c) at its first call that writes, another at its second,
and so on, until no call is left.
"""

import argparse
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import disturbances
from run_state import RunState, count_lines, differences, same_file
from settings import SETTINGS, SHORT, SHORT_GENERATING
from start import Fault, Programs, Start, adopt_orphans, make_folder

INTERVAL_S = 0.05
# One part, sealed at the end: the same calls at every start.
INTERVAL_OF_EVERY_CALL_S = 60
# After so many disturbances a round is left alone, so that it ends.
MOST_PER_ROUND = 12
ROOM = 64 << 20


class Failure(Exception):
    pass


class OrdinaryDisk:
    """Whatever the folder lies on."""

    kinds = tuple(kind for kind in disturbances.WEIGHTS if kind is not disturbances.FullDisk)

    def __init__(self, folder):
        self.folder = folder

    def close(self):
        pass


class SmallDisk:
    """A file system in memory, mounted on the run directory, that can be full."""

    kinds = tuple(disturbances.WEIGHTS)

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], check=True)

    def leave_room(self, size):
        room = os.statvfs(self.folder)
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        # Refused when a writer was faster. No room at all: no blocks is no limit.
        subprocess.run(["mount", "-o", f"remount,size={max(used + size, 4096)}", str(self.folder)],
                       stderr=subprocess.DEVNULL, check=False)

    def make_room(self):
        subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(self.folder)], check=True)

    def close(self):
        """What is on it stays, beside it."""
        shutil.copytree(self.folder, self.folder.with_name("run-of-tmpfs"))
        subprocess.run(["umount", str(self.folder)], check=True)


class Reference:
    """A run that nobody disturbs: what a result must equal, and how long one takes."""

    def __init__(self, campaign, setting):
        setting.write_dataset(campaign.folder / f"{setting.name}.jsonl")
        self.folder = make_folder(campaign.folder / f"reference-{setting.name}")
        start = Start(campaign.programs, setting, setting.ranks[0], self.folder, campaign.interval_s,
                      fault=Fault("none", 0))
        if start.wait() != disturbances.DONE:
            raise Failure(f"{setting.name}: fails undisturbed: {start.output()}")
        self.span_s = time.monotonic() - start.began
        self.calls = start.trace.read_text().splitlines()
        self.state = RunState(self.folder / "run")
        check_order(self.calls)

    def expect_same(self, folder):
        run, expected = folder / "run", self.folder / "run"
        if not same_file(run / "relevance.h5", expected / "relevance.h5"):
            found = differences(run / "relevance.h5", expected / "relevance.h5")
            raise Failure(f"relevance.h5: {', '.join(found) or 'other bytes, equal contents'}")
        if self.state.targets and not same_file(run / "targets.jsonl", expected / "targets.jsonl"):
            raise Failure("targets.jsonl has other answers")


def check_order(calls):
    """A file is given its name only after it is synced, and then its folder is, before another is given one."""
    unsynced, nameless = set(), None
    for line in calls:
        _, call, path = line.split(" ")
        if call in ("write", "pwrite", "writev", "ftruncate"):
            unsynced.add(path)
        elif call == "fsync":
            unsynced.discard(path)
            nameless = None if path == nameless else nameless
        elif call in ("rename", "link"):
            temporary, name = path.split(">")
            if name.endswith((".xxh3", "metrics.prom")):
                continue  # A checksum that is lost is made again, and nobody goes on with metrics.
            if temporary in unsynced or nameless is not None:
                raise Failure(f"{name} is given its name before what it needs is on disk")
            nameless = name.rpartition("/")[0]
    if nameless is not None:
        raise Failure(f"{nameless} is not synced after a file in it was given its name")


def place_of(before, after, output, ending):
    """Where the end of a start fell."""
    if ending.code == disturbances.DONE:
        return "after the end"
    for name, place in ((".relevance.h5.tmp", "in the merge"), (".part-", "in a seal"), (".manifest", "at the manifest")):
        if any(name in temporary for temporary in set(after.temporaries) - set(before.temporaries)):
            return place
    if after.has_result:
        return "after the merge"
    if after.batches() - before.batches():
        return "between seals"
    if after.targets > before.targets:
        return "between answers"
    return "before the first seal" if "groups x tensor ranks" in output else "while starting"


class Table:
    """How often which kind hit where."""

    def __init__(self):
        self.counts = collections.Counter()
        self.seconds = collections.Counter()
        self.calls = collections.Counter()

    def add(self, kind, place, seconds):
        self.counts[kind, place] += 1
        self.seconds[kind] += seconds

    def add_call(self, line):
        _, call, path, action = line.split(" ")
        name = path.rpartition(">")[2]
        kinds = {"/parts/": "part", "/epochs/": "claim", "relevance": "result", "manifest": "manifest", "targets": "answers",
                 "metrics": "metrics"}
        kind = next((kind for text, kind in kinds.items() if text in name), name.strip("/") or "run directory")
        self.calls[f"{call} {kind}{' checksum' if '.xxh3' in name else ''}", action] += 1

    def text(self):
        places = sorted({place for _, place in self.counts})
        kinds = sorted({kind for kind, _ in self.counts})
        rows = [["", "all", "s each", *places]]
        for kind in kinds:
            total = sum(self.counts[kind, place] for place in places)
            rows.append([kind, total, f"{self.seconds[kind] / total:.2f}",
                         *(self.counts[kind, place] or "" for place in places)])
        rows.append(["all", sum(self.counts.values()), "",
                     *(sum(self.counts[kind, place] for kind in kinds) for place in places)])
        return lines_of(rows) + "\n\n" + self.text_of_calls()

    def text_of_calls(self):
        actions = sorted({action for _, action in self.calls})
        calls = sorted({call for call, _ in self.calls})
        return lines_of([["at the call", *actions],
                         *([call, *(self.calls[call, action] or "" for action in actions)] for call in calls)])


def lines_of(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(str(cell).rjust(width) if i else str(cell).ljust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


class Campaign:
    def __init__(self, programs, folder, seed, left_out, interval_s):
        self.programs = programs
        self.folder = folder
        self.seed = seed
        self.left_out = left_out  # kinds
        self.interval_s = interval_s
        self.table = Table()
        self.references = {}
        self.num_kills = 0
        (folder / "job.toml").write_text("")

    def reference(self, setting):
        if setting.name not in self.references:
            self.references[setting.name] = Reference(self, setting)
        return self.references[setting.name]

    def round(self, number):
        rng = random.Random(f"{self.seed}/{number}")
        setting = rng.choice(SETTINGS)
        disk_kind = rng.choice((OrdinaryDisk, OrdinaryDisk, SmallDisk))
        reference = self.reference(setting)
        folder = make_folder(self.folder / f"round-{number}")
        if disturbances.FullDisk.kind in self.left_out:
            disk_kind = OrdinaryDisk
        disk = disk_kind(folder / "run")
        scene = disturbances.Scene(folder / "run", disk, reference.span_s, len(reference.calls))
        began = time.monotonic()
        story = []
        try:
            self.suffer(Run(self, setting, folder, scene), rng, story)
            reference.expect_same(folder)
        except (Failure, TimeoutError) as failure:
            raise Failure(f"round {number}, {setting.name}, after {'; '.join(story)}: {failure}\n{tail(folder)}") from None
        finally:
            disk.close()
        print(f"round {number}, {setting.name}, {time.monotonic() - began:.1f} s: {'; '.join(story)}", flush=True)
        shutil.rmtree(folder)

    def suffer(self, run, rng, story):
        """Starts the run, disturbed, until it ends by itself."""
        for _ in range(MOST_PER_ROUND):
            kinds = [kind for kind in run.scene.disk.kinds if kind.kind not in self.left_out]
            chosen = [disturbances.draw(rng, kinds)]
            while not chosen[-1].ends_start:
                chosen.append(disturbances.draw(rng, kinds))
            began = time.monotonic()
            ranks = rng.choice(run.setting.ranks)
            story.append(f"{ranks} ranks: {', '.join(one.kind for one in chosen)}")
            ending, place = run.start(ranks, chosen)
            story[-1] += f" ({place}, {ending.code}, {time.monotonic() - began:.1f} s)"
            self.num_kills += len(chosen)
            for one in chosen:
                self.table.add(one.kind, place, (time.monotonic() - began) / len(chosen))
            for line in ending.faults[:1]:
                self.table.add_call(line)
            if ending.code == disturbances.DONE:
                return
        story.append("left alone")
        run.start(run.setting.ranks[0], [disturbances.Disturbance(rng)])

    def every_call(self, action, stride):
        """At every `stride`-th call of an undisturbed run."""
        for setting in (SHORT, SHORT_GENERATING):
            reference = self.reference(setting)
            number = 1
            while self.hit_call(setting, reference, Fault(action, number)):
                number += stride
            print(f"{action} at calls 1 to {number - 1} of {setting.name}, every {stride}: nothing lost")

    def hit_call(self, setting, reference, fault):
        """Whether there was such a call."""
        folder = make_folder(self.folder / "every-call")
        disk = OrdinaryDisk(folder / "run")
        run = Run(self, setting, folder, disturbances.Scene(folder / "run", disk, 0, 0))
        kind = {"kill": disturbances.KillAtCall, "tear": disturbances.KillAtCall,
                "short": disturbances.ShortCall}.get(fault.action, disturbances.FailedCall)
        disturbance = kind(random.Random(0))
        disturbance.before = lambda scene: set()
        disturbance.fault = fault
        try:
            ending, _ = run.start(1, [disturbance])
            for line in ending.faults[:1]:
                self.table.add_call(line)
            if ending.code != disturbances.DONE:
                run.start(1, [disturbances.Disturbance(random.Random(0))])
            reference.expect_same(folder)
        except (Failure, TimeoutError) as failure:
            raise Failure(f"{setting.name}, {fault.action} at call {fault.call}: {failure}\n{tail(folder)}") from None
        return bool(ending.faults)


class Run:
    """A run directory and what must hold of it from start to start."""

    def __init__(self, campaign, setting, folder, scene):
        self.campaign = campaign
        self.setting = setting
        self.folder = folder
        self.scene = scene
        self.state = RunState(scene.run)
        self.damaged = set()

    def start(self, ranks, chosen):
        """Starts once and disturbs. How it ended, and where that was."""
        for one in chosen:
            self.damaged |= one.before(self.scene)
        before = RunState(self.scene.run, self.state, self.damaged)
        start = Start(self.campaign.programs, self.setting, ranks, self.folder, self.campaign.interval_s,
                      fault=chosen[-1].fault)
        try:
            for one in chosen:
                one.during(start, self.scene)
            code = start.wait()
        except BaseException:
            start.kill_everything()
            raise
        after = RunState(self.scene.run, before, self.damaged)
        ending = disturbances.Ending(
            code=code, committed=bool(after.batches() - before.batches()) or after.targets > before.targets,
            has_result=after.has_result, faults=start.faults_taken())
        place = place_of(before, after, start.output(), ending)
        for one in chosen:
            one.after(self.scene)
        self.check(before, after, ending, place, chosen[-1])
        self.state = after
        return ending, place

    def check(self, before, after, ending, place, disturbance):
        if not disturbance.is_right(ending):
            raise Failure(f"exit code {ending.code} {place}, committed: {ending.committed}, "
                          f"result: {ending.has_result}, faults: {ending.faults}")
        if lost := set(before.missing_from(after)) - self.damaged:
            raise Failure(f"sealed parts are gone or changed: {sorted(lost)}")
        if twice := after.batches_of_two():
            raise Failure(f"batches were computed again: {sorted(twice)}")
        if after.targets < before.targets:
            raise Failure(f"answers were lost: {before.targets} before, {after.targets} now")
        # Who fails on the way to the directory leaves there what earlier starts did.
        known = before.temporaries if ending.code == disturbances.IO else []
        orderly = (disturbances.DONE, disturbances.IO, disturbances.STOPPED)
        if ending.code in orderly and (left := set(after.temporaries) - set(known)):
            raise Failure(f"left behind with exit code {ending.code}: {sorted(left)}")


def tail(folder):
    output = folder / "output"
    text = output.read_text(errors="replace")[-3000:] if output.exists() else ""
    return f"the folder: {folder}\nthe last start said:\n{text}"


def can_mount():
    """In a mount namespace of our own, so that nothing of it outlives us."""
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], stderr=subprocess.DEVNULL,
        check=False).returncode == 0


def enter_mount_namespace():
    """Whether mounting is possible; begins again, once, where it is."""
    if "LIMN_KILL_NAMESPACE" in os.environ:
        return True
    if not can_mount():
        return False
    os.environ["LIMN_KILL_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limn", type=Path, required=True)
    parser.add_argument("--mpiexec", type=Path, required=True)
    parser.add_argument("--faults", type=Path, required=True)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begins no round after so many")
    parser.add_argument("--only", type=int, metavar="ROUND")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="leaves a kind out")
    parser.add_argument("--every-call", metavar="ACTION")
    parser.add_argument("--stride", type=int, default=1)
    return parser.parse_args()


def main():
    options = arguments()
    left_out = set(options.without)
    if not enter_mount_namespace():
        print("skipped: full disks, for nothing can be mounted here")
        left_out.add(disturbances.FullDisk.kind)
    adopt_orphans()
    programs = Programs(options.limn.resolve(), options.mpiexec, options.faults.resolve())
    folder = Path(tempfile.mkdtemp(prefix="limn-kill-"))
    campaign = Campaign(programs, folder, options.seed, left_out, INTERVAL_OF_EVERY_CALL_S if options.every_call else INTERVAL_S)
    began = time.monotonic()
    try:
        if options.every_call:
            campaign.every_call(options.every_call, options.stride)
            print(campaign.table.text_of_calls())
        elif options.only is not None:
            campaign.round(options.only)
        else:
            number = 0
            while campaign.num_kills < options.kills and time.monotonic() < began + 60 * options.minutes:
                campaign.round(number)
                number += 1
    except Failure as failure:
        print(f"FAILED with --seed {options.seed}: {failure}")
        return 1
    if not options.every_call:
        print(campaign.table.text())
    print(f"{campaign.num_kills} disturbances in {time.monotonic() - began:.0f} s, nothing lost")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
