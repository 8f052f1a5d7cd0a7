"""What is run and disturbed: models, datasets and flags, small enough that a start lasts about a second."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
STORIES = SOURCE / "launch/examples/stories260K"
GOLDEN = SOURCE / "tests/data/golden/llama"


@dataclass(frozen=True)
class Setting:
    """One job. What it gives does not depend on the number of ranks of a start, one of `ranks`."""

    name: str
    ranks: tuple[int, ...]
    flags: tuple[str, ...]
    records: tuple[dict, ...]

    @property
    def generates(self):
        return "generate" in self.flags

    def write_dataset(self, path):
        path.write_text("".join(json.dumps(record) + "\n" for record in self.records))


def stories(copies):
    lines = (STORIES / "prompts.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return tuple({**record, "id": f"{record['id']}-{copy}"} for copy in range(copies) for record in records)


def golden_records(count):
    """Tokens at random, for the golden models have no tokenizer and nothing to say."""
    rng = random.Random(0)
    vocabulary = json.loads((GOLDEN / "config.json").read_text())["vocab_size"]
    records = []
    for number in range(count):
        length = rng.randrange(6, 24)
        tokens = [rng.randrange(vocabulary) for _ in range(length)]
        units = [[position] for position in range(length)] + [[0, length - 1]]
        records.append({"id": str(number), "input_ids": tokens[:-3], "target_ids": tokens[-3:],
                        "unit_tokens": [unit for unit in units if unit[-1] < length - 3]})
    return tuple(records)


def of_stories(*more):
    return ("--model.path", str(STORIES / "model"), "--explain.units", "word", *more)


def of_golden(*more):
    return ("--model.path", str(GOLDEN), "--explain.units", "given", *more)


SETTINGS = (
    Setting("stories-tp1", (1, 2, 4), of_stories("--parallel.batch_tokens", "200"), stories(3)),
    Setting("stories-tp2", (2, 4),
            of_stories("--parallel.batch_tokens", "400", "--parallel.tensor_parallel", "2"), stories(1)),
    Setting("golden-tp1", (2, 4), of_golden("--parallel.batch_tokens", "60"), golden_records(300)),
    Setting("golden-tp2", (2, 4),
            of_golden("--parallel.batch_tokens", "120", "--parallel.tensor_parallel", "2"), golden_records(100)),
    Setting("stories-generate", (1, 2),
            of_stories("--parallel.batch_tokens", "200", "--explain.target", "generate",
                       "--explain.max_new_tokens", "12"), stories(3)),
)

# Few calls that write, each of which can be the last: some parts and a result.
SHORT = Setting("short", (1,), of_stories("--parallel.batch_tokens", "1000"), stories(1)[:3])
SHORT_GENERATING = Setting(
    "short-generate", (1,),
    of_stories("--parallel.batch_tokens", "1000", "--explain.target", "generate", "--explain.max_new_tokens", "4"),
    stories(1)[:2])
