"""What checkpoints cost a run: its rate with parts sealed often against one with nothing sealed before the end.

    checkpointing.py LIMN MODEL DATASET [--ranks R] [--copies N] [--interval SECONDS] [--repeat N] [--token-units]

The dataset N times over, under new ids, sentences as units unless told otherwise, is explained in turns with
checkpoint.interval_s = SECONDS (5) and with one that never comes. Compared is the time from the first batch to the last result
on disk, before the merge, by the log; printed are the medians, and how much longer the one with checkpoints takes: the median
of the ratios of a turn. A small model is the worst case: the most results for each second of computing.
"""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import tempfile

from limn_run import run_limn

NEVER = 1e6


def multiply(dataset, copies, path):
    lines = [json.loads(line) for line in dataset.read_text(encoding="utf-8").splitlines() if line.strip()]
    with path.open("w", encoding="utf-8") as file:
        for copy in range(copies):
            for number, record in enumerate(lines):
                file.write(json.dumps({**record, "id": f"{number}-{copy}"}) + "\n")


def seconds_of_schedule(output):
    """Of the log: from the line that says what there is to do, to the last line of progress."""
    log = (output / "limn.log").read_text(encoding="utf-8")
    begin = re.search(r"^\[([^\]]+)\].*, finished before: 0$", log, re.MULTILINE)
    ends = re.findall(r"^\[([^\]]+)\].*\[info\] (\d+)/\2 samples", log, re.MULTILINE)
    if not begin or not ends:
        raise SystemExit(f"limn's log must say when it began and when all samples were done:\n{log}")
    return (datetime.datetime.fromisoformat(ends[-1][0]) - datetime.datetime.fromisoformat(begin[1])).total_seconds()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("limn")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--interval", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--token-units", action="store_true")
    arguments = parser.parse_args()
    seconds = {arguments.interval: [], NEVER: []}
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        multiply(arguments.dataset, arguments.copies, folder / "data.jsonl")
        for turn in range(arguments.repeat):
            # In both orders, so that neither always comes first.
            for interval in sorted(seconds, reverse=turn % 2 == 1):
                output = folder / f"run-{turn}-{interval}"
                run_limn(arguments.limn, {
                    "model": {"path": str(arguments.model)},
                    "data": {"path": str(folder / "data.jsonl")},
                    "explain": {"units": "token" if arguments.token_units else "sentence"},
                    "checkpoint": {"interval_s": interval},
                }, output, ranks=arguments.ranks)
                seconds[interval].append(seconds_of_schedule(output))
                if interval != NEVER:
                    parts.append(len(list((output / "parts").glob("*.h5"))))
    ratios = [with_parts / without for with_parts, without in zip(*seconds.values())]
    for interval, times in seconds.items():
        print(f"interval {interval:g} s: median {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f}")
    print(f"parts: {statistics.median(parts):g}; longer by {100 * (statistics.median(ratios) - 1):.2f} %"
          f" ({100 * (min(ratios) - 1):.2f} to {100 * (max(ratios) - 1):.2f})")


if __name__ == "__main__":
    main()
