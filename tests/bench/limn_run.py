"""Runs limn for a bench, and reads what it wrote."""

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
from dataclasses import dataclass

import h5py
import numpy as np


@dataclass
class Explained:
    """One sample of a relevance file."""

    ids: np.ndarray  # [tokens], prompt and target
    target_positions: np.ndarray  # [targets]
    log_prob: np.ndarray  # [targets]
    units: list[np.ndarray]  # the positions of each unit
    delta: np.ndarray  # [units, targets]


def run_limn(limn, sections, output, ranks=1, threads=1, flags=()):
    """Runs the job {section: {key: value}} into the folder `output`. `limn` is a command line; `threads` are
    those of a rank. Ends the bench with limn's own words when it fails."""
    job = output.with_suffix(".toml")
    sections = {**sections, "output": {"path": str(output)}}
    job.write_text("\n".join(f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
                             for section, keys in sections.items()))
    # Unbound: mpirun would bind a rank with all its threads to one core.
    command = ["mpirun", "--bind-to", "none", "-n", str(ranks), *shlex.split(limn), "run", job, *flags]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode != 0:
        raise SystemExit(f"limn must explain every sample, but it exits with {done.returncode}:\n{done.stderr}")


def logged_compute_seconds(output):
    """From the line of the log that follows loading to the one that names the finished file."""
    log = (output / "limn.log").read_text(encoding="utf-8")
    begin, end = (re.search(rf"^\[([^\]]+)\] (?:\[rank \d+\] )?\[info\] {said}", log, re.MULTILINE)
                  for said in (r".*, finished before: 0$", r"done: "))
    if not begin or not end:
        raise SystemExit(f"limn's log must say when it began and when it was done:\n{log}")
    return (datetime.datetime.fromisoformat(end[1]) - datetime.datetime.fromisoformat(begin[1])).total_seconds()


def read_explained(output):
    with h5py.File(output / "relevance.h5") as file:
        if file["samples/status"][:].any():
            raise SystemExit(f"{output}: every sample must be explained: {file['samples/message'][:]}")
        return [read_sample(file, i) for i in range(len(file["samples/status"]))]


def read_sample(file, i):
    def rows(group):
        return slice(*file[group]["offset"][i:i + 2])

    units = rows("units")
    bounds = file["units/token_offset"][units.start:units.stop + 1]
    return Explained(
        ids=file["tokens/id"][rows("tokens")],
        target_positions=file["targets/position"][rows("targets")],
        log_prob=file["targets/log_prob"][rows("targets")],
        units=[file["units/token"][begin:end] for begin, end in zip(bounds, bounds[1:])],
        delta=file["relevance/delta"][rows("relevance")].reshape(units.stop - units.start, -1))


def facts_of_this_run():
    """Which limn, on which machine."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {"commit": commit, "device": platform.processor() or platform.machine()}
