"""Runs one rank of limn and prints the most memory that it took, as one JSON line.

    mpirun -n 2 python3 tests/bench/rank_memory.py FILE build/release/limn run job.toml

Appends to FILE, one line a rank:
    peak_rss_mib   the most memory at once, mapped pages of the checkpoint among it (VmHWM)
    peak_anon_mib  the most memory of its own: weights as they are kept, rows, libraries' heaps
    peak_file_mib  the most pages of mapped files, which the kernel may take back: the checkpoint
    seconds        from the start to the end
The last two peaks are sampled every 20 ms. Exits as the rank does.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

SAMPLE_INTERVAL_S = 0.02
KEYS = {"VmHWM": "peak_rss_mib", "RssAnon": "peak_anon_mib", "RssFile": "peak_file_mib"}


def memory_mib(pid):
    """The values of KEYS; none once the process has ended."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[key].split()[0]) / 1024 for key, name in KEYS.items() if key in fields}


def main():
    path, *command = sys.argv[1:]
    start = time.monotonic()
    process = subprocess.Popen(command)
    peaks = dict.fromkeys(KEYS.values(), 0.0)
    while process.poll() is None:
        for name, value in memory_mib(process.pid).items():
            peaks[name] = max(peaks[name], value)
        time.sleep(SAMPLE_INTERVAL_S)

    line = {"rank": int(os.environ.get("OMPI_COMM_WORLD_RANK", 0)),
            **{name: round(value) for name, value in peaks.items()},
            "seconds": round(time.monotonic() - start, 1)}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
