#!/usr/bin/env python3
"""Writes oracle.json: what suppressing each word of the example's prompts does, in float64.

    make_oracle.py SUPPRESSION_ORACLE.py EXAMPLE_DIR OUT.json

Needs torch and transformers. SUPPRESSION_ORACLE.py defines a suppression and puts it into
transformers' attention; EXAMPLE_DIR holds model/ and prompts.jsonl. Made with

    make_oracle.py ../shared/tools/suppression_oracle.py launch/examples/stories260K \
        tests/data/stories260K/oracle.json

A unit is a word or a punctuation mark of the prompt, with the tokens whose first character that is
not white space lies in it. The units are stored as token positions, so that a reader of the file
needs no rule of its own. Deltas are [unit][target], base - perturbed log-probability.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from torch import Tensor

CASES = (("log_additive", 0.0), ("log_additive", 0.1), ("shifted", 0.1), ("multiplicative", 0.5), ("shifted_full", 0.1))
DIGITS = 9
WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


@dataclass
class Sample:
    """A prompt and its target as tokens, with the words of the prompt."""

    id: str
    input_ids: list[int]  # prompt, then target
    prompt_length: int
    unit_chars: list[tuple[int, int]]
    units: list[list[int]]


def encode(record: dict[str, Any], tokenizer: transformers.PreTrainedTokenizerFast) -> Sample:
    """Encodes prompt and target together and splits where the prompt's own encoding ends."""
    prompt = record["prompt"]
    alone = tokenizer(prompt)["input_ids"]
    together = tokenizer(prompt + record["target"], return_offsets_mapping=True)
    if together["input_ids"][: len(alone)] != alone:
        raise ValueError(f"the target changes the prompt's tokens: {record['id']}")
    starts = [first_visible(prompt, chars[0]) for chars in together["offset_mapping"][: len(alone)]]
    words = [match.span() for match in WORD.finditer(prompt)]
    units = [[i for i, start in enumerate(starts) if i > 0 and begin <= start < end] for begin, end in words]
    return Sample(record["id"], together["input_ids"], len(alone), words, units)


def first_visible(text: str, begin: int) -> int:
    """The first character from `begin` on that is not white space, or `begin` if there is none."""
    return next((i for i in range(begin, len(text)) if not text[i].isspace()), begin)


class Explainer:
    """The model under the oracle's attention."""

    def __init__(self, oracle: ModuleType, model_dir: Path) -> None:
        self.oracle = oracle
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=torch.float64, attn_implementation=oracle.ATTENTION_NAME
        ).eval()

    @torch.no_grad()
    def log_probs(self, sample: Sample, suppression: Any = None) -> Tensor:
        """Log-probability of every target token; the model never sees the last one."""
        with self.oracle.suppress(suppression):
            logits = self.model(torch.tensor([sample.input_ids[:-1]]), use_cache=False).logits[0]
        rows = logits[sample.prompt_length - 1 :].log_softmax(dim=-1)
        targets = torch.tensor(sample.input_ids[sample.prompt_length :])
        return rows.gather(1, targets[:, None])[:, 0]

    def deltas(self, sample: Sample, base: Tensor, semantics: str, factor: float) -> list[list[float]]:
        """How much each target token loses when a unit is suppressed."""
        found = []
        for unit in sample.units:
            key_factors = torch.ones(len(sample.input_ids) - 1, dtype=torch.float64)
            key_factors[unit] = factor
            suppression = self.oracle.Suppression(self.oracle.Semantics(semantics), key_factors)
            found.append(rounded(base - self.log_probs(sample, suppression)))
        return found

    def explain(self, sample: Sample) -> dict[str, Any]:
        """One entry of the file."""
        base = self.log_probs(sample)
        return {
            "id": sample.id, "input_ids": sample.input_ids, "prompt_length": sample.prompt_length,
            "target_ids": sample.input_ids[sample.prompt_length :], "unit_chars": sample.unit_chars,
            "units": sample.units, "base_log_probs": rounded(base),
            "cases": [
                {"semantics": semantics, "factor": factor, "delta": self.deltas(sample, base, semantics, factor)}
                for semantics, factor in CASES
            ],
        }


def rounded(values: Tensor) -> list[float]:
    """Values as they are written."""
    return [round(value, DIGITS) + 0.0 for value in values.tolist()]


def load_module(path: Path) -> ModuleType:
    """Imports a Python file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def write(path: Path, samples: list[dict[str, Any]]) -> None:
    """Writes the file with one sample a line."""
    head = {
        "made_by": "make_oracle.py", "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__, "dtype": "float64", "digits": DIGITS,
    }
    lines = ",\n".join(json.dumps(sample, separators=(",", ":"), allow_nan=False) for sample in samples)
    path.write_text(json.dumps(head)[:-1] + f', "samples": [\n{lines}\n]}}\n')


def main() -> None:
    """Reads the example and writes its answers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("suppression_oracle", type=Path)
    parser.add_argument("example_dir", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()

    oracle = load_module(arguments.suppression_oracle)
    model_dir = arguments.example_dir / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    records = [json.loads(line) for line in (arguments.example_dir / "prompts.jsonl").read_text().splitlines()]
    with oracle.Float64Arithmetic():
        explainer = Explainer(oracle, model_dir)
        write(arguments.out, [explainer.explain(encode(record, tokenizer)) for record in records])


if __name__ == "__main__":
    main()
