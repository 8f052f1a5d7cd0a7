"""What a run directory holds, and whether two of them hold the same."""

import hashlib

import h5py
import numpy as np


class Part:
    def __init__(self, path):
        self.digest = hashlib.sha256(path.read_bytes()).digest()
        with h5py.File(path) as file:
            self.batches = frozenset(file["part/batch_id"][:].tolist())


def part_paths(run):
    return sorted((run / "parts").glob("part-*.h5"))


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


class RunState:
    """Of a directory that nobody works on. Remembers the parts that were read before."""

    def __init__(self, run, before=None, damaged=frozenset()):
        self.parts = {}
        known = before.parts if before else {}
        for path in part_paths(run):
            stat = path.stat()
            key = (path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            try:
                self.parts[key] = known.get(key) or Part(path)
            except (OSError, KeyError, RuntimeError):
                if path.name not in damaged:
                    raise
        self.targets = count_lines(run / "targets.jsonl")
        self.has_result = (run / "relevance.h5").exists()
        self.temporaries = sorted(
            path.relative_to(run).as_posix() for path in run.rglob("*") if path.name.endswith(".tmp"))

    def batches(self):
        return {batch for part in self.parts.values() for batch in part.batches}

    def batches_of_two(self):
        """The batches that more than one part names."""
        seen, twice = set(), set()
        for part in self.parts.values():
            twice |= seen & part.batches
            seen |= part.batches
        return twice

    def missing_from(self, later):
        """The names of the parts that are not there, or not the same, in a later state."""
        digests = {key[0]: part.digest for key, part in later.parts.items()}
        return [key[0] for key, part in self.parts.items() if digests.get(key[0]) != part.digest]


def differences(path, expected_path):
    """Where two relevance files differ, in words. Values are compared by their bits."""
    found = []
    with h5py.File(path) as file, h5py.File(expected_path) as expected:
        contents, expected_contents = contents_of(file), contents_of(expected)
        for name in sorted(contents.keys() ^ expected_contents.keys()):
            found.append(f"only one has {name}")
        for name in contents.keys() & expected_contents.keys():
            if contents[name] != expected_contents[name]:
                found.append(f"{name} differs")
    return found


def contents_of(file):
    contents = {}

    def attributes(name, item):
        for key, value in item.attrs.items():
            # Scales refer to datasets by their place in the file, which says nothing.
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                contents[f"{name}@{key}"] = value_of(value)

    def add(name, item):
        attributes(name, item)
        if isinstance(item, h5py.Dataset):
            contents[name] = (item.dtype.str, item.shape, value_of(item[()]))

    attributes("", file)
    file.visititems(add)
    return contents


def value_of(value):
    value = np.asarray(value)
    return value.tolist() if value.dtype == object else value.tobytes()


def same_file(path, expected_path):
    return path.read_bytes() == expected_path.read_bytes()
