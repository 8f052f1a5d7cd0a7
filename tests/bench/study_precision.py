"""How far the deltas of limn's arithmetics are from the truth, prompt by prompt.

    study_precision.py MODEL DATASET FOLDER [--arithmetics A ...] [--prompts N] [--longest TOKENS]
                       [--token-units N] [--threads N] [--limn build/release/limn]

MODEL is a Hugging Face folder. DATASET is limn's JSON Lines with prompts and targets, or a file in
SQuAD v1.1's JSON (*.json), whose questions become "Context: ...\\nQuestion: ...\\nAnswer:", one a
paragraph. Of those with at most --longest tokens (150) --prompts (24) are taken, spread evenly. A
prompt's units are --token-units (20; 0: all) of its tokens, spread evenly, and all its sentences.
Each is hidden (log_additive, factor 0). An arithmetic is

    COMPUTE             limn with --model.compute COMPUTE
    COMPUTE:DTYPE       the same with --model.dtype DTYPE
    transformers:DTYPE  transformers with everything in DTYPE, the unit's keys masked

The truth is that of transformers in float64: no prefix is shared, every perturbation is a pass of its
own. FOLDER belongs to one model and one selection of prompts. It keeps the truth and the deltas of
transformers, which are computed once, and those of limn's last run of each arithmetic:
plot_precision.py draws them. One JSON line for each prompt and arithmetic goes to
FOLDER/results.jsonl, with the seconds of all its prompts, and a table to the terminal. Its columns,
medians over the prompts where nothing else is said:

    rms error / rms delta   of a prompt, the worst prompt's, and that without units of the first token
    error / delta           the median over a prompt's deltas, without signs
    largest error           of all prompts, in nats
    Spearman                rank correlation of a prompt's deltas, and the worst prompt's
    top 10 kept             mean share of the ten units with the largest sums over targets that stay
                            among the ten; per target by absolute value
    unchanged               prompts all of whose ten stay among the ten
    speed                   of limn in this call, as a multiple of the first of its arithmetics

Below it, of all prompts together: the deltas by their size, with the median error of one delta and the
share whose sign is right; and of each arithmetic the largest errors of a unit, with its first token and
its number of tokens.

Needs torch, transformers, h5py and mpirun; run it from the root of the repository.
"""

import argparse
import json
import pathlib
import re
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from compare_transformers import hiding_mask
from float64_mode import Float64Mode
from limn_run import facts_of_this_run, logged_compute_seconds, read_explained, run_limn
from prompts import make_record, read_paragraphs, spread
from rank_correlation import spearman
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

TOP = 10
TINY = 1e-12  # nats; instead of a delta of 0 as a divisor
PASSES_AT_ONCE = 8
SIZES = [0, 1e-4, 1e-3, 0.01, 0.1, 1, np.inf]  # of deltas, in nats
NUM_LARGEST = 5
ARITHMETICS = ["float32", "bfloat16", "bfloat16_delta", "transformers:bfloat16"]


@dataclass
class Sample:
    """A prompt with its target as tokens, and what is hidden of it."""

    id: str
    ids: list[int]  # prompt, then target
    prompt_length: int
    units: list[list[int]]

    def record(self):
        """The sample in limn's dataset."""
        return {"id": self.id, "input_ids": self.ids[:self.prompt_length],
                "target_ids": self.ids[self.prompt_length:], "unit_tokens": self.units}


# ---- The prompts ----


def read_records(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [make_record(paragraph["context"], question["question"], question["answers"][0]["text"])
            for paragraph in read_paragraphs(path) for question in paragraph["qas"][:1]]


def sentence_tokens(text, starts):
    """The positions of the tokens that begin in each sentence, in a simple sense of the word."""
    ends = [match.end() for match in re.finditer(r"[.?!:]\s+|\n", text)] + [len(text)]
    sentences = [[i for i, start in enumerate(starts) if begin <= start < end]
                 for begin, end in zip([0, *ends], ends)]
    return [tokens for tokens in sentences if tokens]


def first_visible(text, begin, end):
    """The first character that is not white space, or the first if there is none."""
    return next((i for i in range(begin, end) if not text[i].isspace()), begin)


def make_sample(record, tokenizer, num_token_units):
    # The target begins with white space, the prompt does not end with it: they are encoded as one text.
    prompt = record["prompt"]
    whole = tokenizer.encode(prompt + record["target"])
    prompt_length = len(tokenizer.encode(prompt).ids)
    starts = [first_visible(prompt, *characters) for characters in whole.offsets[:prompt_length]]
    tokens = spread(range(prompt_length), num_token_units or prompt_length)
    units = [[token] for token in tokens] + sentence_tokens(prompt, starts)
    return Sample(record.get("id", ""), whole.ids, prompt_length, units)


def choose_samples(arguments):
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    samples = [make_sample(record, tokenizer, arguments.token_units) for record in read_records(arguments.dataset)]
    samples = [sample for sample in samples if len(sample.ids) <= arguments.longest]
    for i, sample in enumerate(samples):
        sample.id = sample.id or str(i)
    return spread(samples, arguments.prompts)


def write_samples(path, samples):
    """Writes limn's dataset; one that is there must be the same, for the truth is kept beside it."""
    text = "".join(json.dumps(sample.record()) + "\n" for sample in samples)
    if path.exists() and path.read_text() != text:
        raise SystemExit(f"{path}: must hold the prompts of this call; take a new folder")
    path.write_text(text)


# ---- transformers ----


def load_model(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    if getattr(model.config, "sliding_window", None):
        raise SystemExit(f"{folder}: the attention mask replaces a sliding window; take a model without one")
    return model.eval()


def target_log_probs(model, sample, masks):
    """[passes, targets] for masks [passes, 1, query, key]"""
    ids = torch.tensor(sample.ids[:-1]).expand(len(masks), -1)
    rows = torch.arange(sample.prompt_length - 1, len(sample.ids) - 1)
    logits = model(ids, attention_mask=masks.to(model.dtype), use_cache=False, logits_to_keep=rows).logits
    targets = torch.tensor(sample.ids[sample.prompt_length:])
    log_probs = logits.float().log_softmax(dim=-1)
    return log_probs.gather(2, targets[None, :, None].expand(len(masks), -1, 1))[..., 0]


def sample_deltas(model, sample):
    """[units, targets]"""
    masks = torch.cat([hiding_mask(len(sample.ids) - 1, torch.tensor(unit, dtype=torch.long))
                       for unit in [[], *sample.units]])
    log_probs = torch.cat([target_log_probs(model, sample, some) for some in masks.split(PASSES_AT_ONCE)])
    return (log_probs[0] - log_probs[1:]).double().numpy()


@torch.inference_mode()
def explain_with_transformers(folder, dtype, samples):
    model = load_model(folder, dtype)
    return [sample_deltas(model, sample) for sample in samples]


# ---- Maps on disk: one [units, targets] for each prompt ----


def read_maps(path):
    with np.load(path) as file:
        return [file[f"prompt_{i}"] for i in range(len(file.files))]


def write_maps(path, maps):
    np.savez_compressed(path, **{f"prompt_{i}": delta for i, delta in enumerate(maps)})


def maps_path(folder, arithmetic):
    return folder / (arithmetic.replace(":", "-") + ".npz")


def kept_maps(path, make):
    """What is in the file, or is made and kept there."""
    if not path.exists():
        write_maps(path, make())
    return read_maps(path)


def read_truth(arguments, samples):
    def make():
        with Float64Mode():
            return explain_with_transformers(arguments.model, torch.float64, samples)

    return kept_maps(arguments.folder / "truth.npz", make)


# ---- limn ----


def run_arithmetic(arguments, arithmetic, output):
    """Explains the folder's samples; returns the seconds of the computation."""
    compute, _, dtype = arithmetic.partition(":")
    run_limn(arguments.limn,
             {"model": {"path": str(arguments.model), "compute": compute, "dtype": dtype or "auto"},
              "data": {"path": str(arguments.folder / "samples.jsonl")}, "explain": {"units": "given"}},
             output, threads=arguments.threads)
    return logged_compute_seconds(output)


def limn_maps(output, samples):
    explained = read_explained(output)
    for sample, ours in zip(samples, explained, strict=True):
        if ours.ids.tolist() != sample.ids or [unit.tolist() for unit in ours.units] != sample.units:
            raise SystemExit(f"{output}: other tokens or units than were given: {sample.id}")
    return [ours.delta.astype(np.float64) for ours in explained]


def explain_with_limn(arguments, arithmetic, samples):
    """The maps, which are kept in the folder, too, and the seconds of the sweeps."""
    with tempfile.TemporaryDirectory() as scratch:
        output = pathlib.Path(scratch, "run")
        seconds = run_arithmetic(arguments, arithmetic, output)
        maps = limn_maps(output, samples)
    write_maps(maps_path(arguments.folder, arithmetic), maps)
    return maps, seconds


# ---- The comparison ----


def share_kept(a, b):
    """How many of the units with the largest values in `a` are among those in `b`. [units] each"""
    largest = [set(np.argsort(-values, kind="stable")[:TOP].tolist()) for values in (a, b)]
    return len(largest[0] & largest[1]) / len(largest[0])


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def compared(sample, truth, delta):
    """The measures of one prompt."""
    error = delta - truth
    # Hiding the first token moves everything in models that park attention there: it alone could
    # make the relative error small.
    spares_first = [0 not in unit for unit in sample.units]
    return {
        "rms_delta": rms(truth),
        "relative_rms_error": rms(error) / rms(truth),
        "relative_rms_error_without_first_token": rms(error[spares_first]) / rms(truth[spares_first]),
        "median_error_of_a_delta": float(np.median(np.abs(error) / np.maximum(np.abs(truth), TINY))),
        "largest_error": float(np.abs(error).max()),
        "spearman": spearman(truth, delta),
        "top_10_kept": share_kept(truth.sum(axis=1), delta.sum(axis=1)),
        "top_10_kept_per_target": float(np.mean([share_kept(*pair) for pair in zip(np.abs(truth).T, np.abs(delta).T)])),
    }


def write_results(arguments, arithmetic, samples, results, seconds):
    facts = {**facts_of_this_run(), "model": arguments.folder.name, "arithmetic": arithmetic, "threads": arguments.threads,
             "seconds": seconds}
    with open(arguments.folder / "results.jsonl", "a", encoding="utf-8") as file:
        for sample, result in zip(samples, results, strict=True):
            shape = {"prompt": sample.id, "tokens": len(sample.ids), "units": len(sample.units),
                     "targets": len(sample.ids) - sample.prompt_length}
            file.write(json.dumps({**facts, **shape, **result}) + "\n")


COLUMNS = "| arithmetic | rms error / rms delta | worst | without first token | error / delta | largest error " \
          "| Spearman | worst | top 10 kept | per target | unchanged | speed |"


def table_row(arithmetic, results, speed):
    def column(name):
        return np.array([result[name] for result in results])

    error, rank = column("relative_rms_error"), column("spearman")
    return (f"| {arithmetic} | {np.median(error):.2g} | {error.max():.2g} "
            f"| {np.median(column('relative_rms_error_without_first_token')):.2g} "
            f"| {np.median(column('median_error_of_a_delta')):.2g} "
            f"| {column('largest_error').max():.2g} | {np.median(rank):.6f} | {rank.min():.6f} "
            f"| {column('top_10_kept').mean():.3f} | {column('top_10_kept_per_target').mean():.3f} "
            f"| {np.sum(column('top_10_kept') == 1)} of {len(results)} | {speed} |")


def all_values(maps):
    return np.concatenate([delta.ravel() for delta in maps])


def print_by_size(truth, maps):
    """`maps` {arithmetic: maps}"""
    exact = all_values(truth)
    columns = "".join(f"| {arithmetic}: error / delta | right sign " for arithmetic in maps)
    print(f"\n| deltas | number {columns}|" + "\n|" + "---|" * (2 + 2 * len(maps)))
    for low, high in zip(SIZES, SIZES[1:]):
        chosen = (np.abs(exact) >= low) & (np.abs(exact) < high)
        if not chosen.any():
            continue
        values = exact[chosen]
        cells = []
        for some in maps.values():
            got = all_values(some)[chosen]
            cells.append(f"{np.median(np.abs(got - values) / np.maximum(np.abs(values), TINY)):.2g} "
                         f"| {np.mean(np.sign(got) == np.sign(values)):.2f}")
        print(f"| {low:g} to {high:g} | {chosen.sum()} | {' | '.join(cells)} |")


def print_largest_errors(samples, truth, maps):
    for arithmetic, some in maps.items():
        errors = [(float(np.abs(got[u] - exact[u]).max()), sample, unit)
                  for sample, exact, got in zip(samples, truth, some, strict=True)
                  for u, unit in enumerate(sample.units)]
        largest = sorted(errors, key=lambda each: -each[0])[:NUM_LARGEST]
        print(f"\nlargest errors of {arithmetic}: " + "; ".join(
            f"{error:.2g} (prompt {sample.id}, from token {unit[0]}, {len(unit)} tokens)"
            for error, sample, unit in largest))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--arithmetics", nargs="+", default=ARITHMETICS)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--longest", type=int, default=150)
    parser.add_argument("--token-units", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limn", default="build/release/limn")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    samples = choose_samples(arguments)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_samples(arguments.folder / "samples.jsonl", samples)
    truth = read_truth(arguments, samples)

    rows, explained, baseline_s = [], {}, None
    for arithmetic in arguments.arithmetics:
        program, _, dtype = arithmetic.partition(":")
        if program == "transformers":
            maps = kept_maps(maps_path(arguments.folder, arithmetic),
                             lambda: explain_with_transformers(arguments.model, getattr(torch, dtype), samples))
            seconds, speed = None, ""
        else:
            maps, seconds = explain_with_limn(arguments, arithmetic, samples)
            baseline_s = baseline_s or seconds
            speed = f"{baseline_s / seconds:.2f}"
        results = [compared(*each) for each in zip(samples, truth, maps, strict=True)]
        write_results(arguments, arithmetic, samples, results, seconds)
        rows.append(table_row(arithmetic, results, speed))
        explained[arithmetic] = maps

    print(f"{len(samples)} prompts of {min(len(s.ids) for s in samples)} to {max(len(s.ids) for s in samples)} tokens, "
          f"{sum(len(s.units) for s in samples)} units, {sum(delta.size for delta in truth)} deltas, "
          f"root mean square {rms(all_values(truth)):.3g}\n\n{COLUMNS}")
    print("|---" * len(COLUMNS.split(" | ")) + "|", *rows, sep="\n")
    print_by_size(truth, explained)
    print_largest_errors(samples, truth, explained)


if __name__ == "__main__":
    main()
