#!/usr/bin/env python3
"""What keeping the weights in fewer bits does to deltas: one JSON line for each dtype.

    compare_dtypes.py JOB.toml [--ranks 2] [--limn build/release/limn] [--scratch DIR] [FLAG VALUE ...]

Runs the job once with model.dtype = float32 and once with each of bfloat16 and float16 (products are float32 in
all of them), and compares every delta: largest and root mean square difference, Spearman's rank correlation, and
how many of each sample's ten largest deltas (summed over targets) stay among its ten largest. Further flags go to
limn. Needs numpy and h5py; run it from the root of the repository, for example

    compare_dtypes.py launch/examples/stories260K/job.toml
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import h5py
import numpy as np


def run(arguments: argparse.Namespace, further: list[str], dtype: str, directory: Path) -> Path:
    """Explains the job with weights of this dtype and returns the relevance file."""
    command = [
        "mpirun", "--oversubscribe", "-n", str(arguments.ranks), arguments.limn, "run", str(arguments.job),
        "--model.dtype", dtype, "--output.path", str(directory / dtype), *further,
    ]
    subprocess.run(command, check=True)
    return directory / dtype / "relevance.h5"


def maps(path: Path) -> list[np.ndarray]:
    """The relevance map of every sample: [units, targets]."""
    with h5py.File(path) as file:
        rows, units, targets = (file[f"{name}/offset"][:] for name in ("relevance", "units", "targets"))
        delta = file["relevance/delta"][:].astype(np.float64)
    shapes = zip(np.diff(units), np.diff(targets), strict=True)
    return [delta[b:e].reshape(shape) for b, e, shape in zip(rows[:-1], rows[1:], shapes, strict=True)]


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of every value; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def top(sample: np.ndarray) -> set[int]:
    """The units with the ten largest sums over the targets."""
    return set(np.argsort(-sample.sum(axis=1))[:10])


def compared(expected: list[np.ndarray], got: list[np.ndarray]) -> dict[str, float]:
    """How far the maps of two runs are apart."""
    a, b = (np.concatenate([sample.ravel() for sample in maps_]) for maps_ in (expected, got))
    kept = [len(top(x) & top(y)) / len(top(x)) for x, y in zip(expected, got, strict=True)]
    return {
        "deltas": len(a),
        "rms_delta": float(np.sqrt(np.mean(a**2))),
        "largest_difference": float(np.abs(a - b).max()),
        "rms_difference": float(np.sqrt(np.mean((a - b) ** 2))),
        "spearman": float(np.corrcoef(ranks(a), ranks(b))[0, 1]),
        "top_10_kept": float(np.mean(kept)),
    }


def main() -> None:
    """Runs the job in every dtype and prints the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--limn", default="build/release/limn")
    parser.add_argument("--scratch", type=Path, default=None)
    arguments, further = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        expected = maps(run(arguments, further, "float32", Path(scratch)))
        for dtype in ("bfloat16", "float16"):
            got = maps(run(arguments, further, dtype, Path(scratch)))
            print(json.dumps({"dtype": dtype, **compared(expected, got)}), flush=True)


if __name__ == "__main__":
    main()
