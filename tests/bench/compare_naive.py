"""Times limn against what one would write by hand: naive AtMan in PyTorch, and Captum.

    compare_naive.py MODEL SQUAD --tokens N --targets T [--units COUNT] [options]
    compare_naive.py MODEL SQUAD --squad N [options]

MODEL is a Hugging Face folder, SQUAD a file in SQuAD v1.1's JSON.

    --tokens  one prompt of N tokens of the file's paragraphs; the T tokens that follow are the target.
              Each token of the prompt is a unit, or COUNT of them, spread evenly
    --squad   N questions, spread evenly over the file, "Context: ...\\nQuestion: ...\\nAnswer:", with
              their first answer as the target and sentences as units

Who is timed, all with --threads threads in turns, --repeat times:

    naive    a whole float32 forward pass of transformers for each perturbation and for the base, with an
             attention function that suppresses: at batch 1 with the logits of all rows, as the published
             code runs; so at its best batch; and at its best batch with the logits of target rows alone.
             The best is what a trial finds among --batches, attention by scaled_dot_product_attention or by
             matrix products, and samples padded to one length or a batch of one sample only
    captum   LLMAttribution with FeatureAblation, float32, sentences as feature masks: as documented (its
             defaults) and in its fastest way. It replaces tokens, it does not suppress attention: its
             values are others, and only its time is compared
    limn     `mpirun -n RANKS LIMN run`, in each arithmetic of --compute

Times are of the computation alone, with the weights in memory: limn's between the lines of its log that
say so. The whole time stands beside it: limn's from its start to its end, the others' with loading. Where
--naive-units K is given, naive and Captum run at least K perturbations, spread evenly, and their time is
scaled to all; the table says so.

First limn's deltas are compared with naive ones: for float32 a difference above 2e-5 and above 1e-5 of
the largest delta ends the bench. Two float32 runs can be so far from each other and both right: with
--float64 limn may also be no more than twice as far from a naive float64 run as naive float32 is, by its
largest error and by the root mean square. In another arithmetic a difference above --reduced-tolerance of
the largest delta makes it exit with 1 at the end. Spearman's coefficient is that of all deltas together.
Prints a table and one JSON line. Needs torch, transformers, h5py, mpirun and captum 0.9 (with matplotlib,
which it imports); without it give --no-captum.
"""

import argparse
import inspect
import json
import math
import os
import pathlib
import shlex
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Callable

import numpy as np
import torch
import transformers
from float64_mode import Float64Mode
from limn_run import facts_of_this_run, logged_compute_seconds, read_explained, run_limn
from prompts import make_record, read_paragraphs, read_questions, spread, write_records
from rank_correlation import spearman
from tokenizers import Tokenizer
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer

FLOAT32_TOLERANCE = 2e-5  # in nats
NAIVE_TOLERANCE = 1e-4  # of log-probabilities, between naive runs
FLOAT32_RELATIVE_TOLERANCE = 1e-5  # of the largest delta
FLOAT32_RATIO = 2  # of limn's distance from float64 to that of naive float32
FEWEST_TRIAL_PERTURBATIONS = 4
CHANGES_OF_LOGITS = ("sliding_window", "softcap", "s_aux", "position_bias")  # keywords of transformers
SUPPRESSIONS = ("log_additive", "multiplicative", "shifted", "shifted_full")


@dataclass
class Timing:
    """One run of one contender, scaled to all perturbations."""

    compute_s: float
    whole_s: float  # with loading


@dataclass
class Contender:
    name: str
    run: Callable[[], Timing]
    note: str = ""


def spread_with(values, total, size):
    """The fewest of the values, evenly spread, whose sizes make the total; all if they do not."""
    candidates = (spread(values, count) for count in range(1, len(values)))
    return next((some for some in candidates if sum(map(size, some)) >= total), values)


# ---- The prompts ----


def token_record(arguments, tokenizer):
    """A prompt of exactly --tokens tokens whose text has just these token ids: Captum wants text."""
    paragraphs = [paragraph["context"] for paragraph in read_paragraphs(arguments.squad_file)]
    num_tokens, num_all = arguments.tokens, arguments.tokens + arguments.targets
    for begin in range(len(paragraphs)):
        # More than enough: English text has four to five characters a token.
        text = "\n".join(paragraphs[begin:])[:20 * num_all]
        ids = tokenizer.encode(text).ids[:num_all]
        if len(ids) == num_all and tokenizer.encode(tokenizer.decode(ids[:num_tokens])).ids == ids[:num_tokens]:
            return {"input_ids": ids[:num_tokens], "target_ids": ids[num_tokens:],
                    "unit_tokens": [[position] for position in
                                    spread(range(num_tokens), arguments.units or num_tokens)]}
    raise SystemExit(f"{arguments.squad_file}: too short for a prompt and target: {num_all} tokens")


def make_records(arguments):
    if arguments.squad:
        return [make_record(*question) for question in read_questions(arguments.squad_file, arguments.squad)]
    return [token_record(arguments, Tokenizer.from_file(str(arguments.model / "tokenizer.json")))]


# ---- limn ----


def timed_limn(arguments, compute, dataset, output):
    start = time.monotonic()
    run_limn(arguments.limn,
             {"model": {"path": str(arguments.model), "compute": compute}, "data": {"path": str(dataset)},
              "explain": {"suppression": arguments.suppression, "factor": arguments.factor,
                          "units": "sentence" if arguments.squad else "given"}},
             output, ranks=arguments.ranks, threads=max(1, arguments.threads // arguments.ranks),
             flags=shlex.split(arguments.limn_flags))
    return Timing(logged_compute_seconds(output), time.monotonic() - start)


# ---- Suppression inside transformers ----


@dataclass
class Suppression:
    """What a forward pass suppresses. Reaches the attention functions through the model's keywords."""

    kind: str
    factors: torch.Tensor  # [batch, 1, 1, keys]
    future: torch.Tensor  # [rows, keys]: true where a row does not see a key
    bias: torch.Tensor | None  # [batch, 1, rows, keys]: of log_additive, -inf where a row does not see a key


def make_suppression(kind, factors):
    num_tokens = factors.shape[-1]
    future = torch.ones(num_tokens, num_tokens, dtype=torch.bool).triu(1)
    bias = factors.log().masked_fill(future, -math.inf) if kind == "log_additive" else None
    return Suppression(kind, factors, future, bias)


def suppressed_logits(logits, suppression):
    """[batch, heads, rows, keys], the future hidden."""
    if suppression.kind == "log_additive":
        return logits.add_(suppression.bias)
    if suppression.kind == "multiplicative":
        return logits.mul_(suppression.factors).masked_fill_(suppression.future, -math.inf)
    seen = logits if suppression.kind == "shifted_full" else logits.masked_fill(suppression.future, math.inf)
    lowest = seen.amin(dim=-1, keepdim=True)
    return torch.lerp(lowest, logits, suppression.factors).masked_fill_(suppression.future, -math.inf)


def whole_heads(module, key, value, keywords):
    """Keys and values, once for each query head."""
    unknown = [name for name in CHANGES_OF_LOGITS if keywords.get(name) is not None]
    if unknown:
        raise SystemExit(f"naive suppression must know all that changes a logit; take a model without: {unknown}")
    repeats = module.num_key_value_groups
    return key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)


def attend_by_matmul(module, query, key, value, _mask, *, scaling, suppression, **keywords):
    key, value = whole_heads(module, key, value, keywords)
    logits = suppressed_logits((query * scaling) @ key.transpose(2, 3), suppression)
    weights = logits.softmax(dim=-1)
    if suppression.bias is not None:
        weights = weights.nan_to_num_(0.0)  # a row whose keys are all hidden attends to nothing
    return (weights @ value).transpose(1, 2).contiguous(), None


def attend_by_sdpa(module, query, key, value, _mask, *, scaling, suppression, **keywords):
    key, value = whole_heads(module, key, value, keywords)
    attended = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=suppression.bias, scale=scaling)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register("suppressed_matmul", attend_by_matmul)
AttentionInterface.register("suppressed_sdpa", attend_by_sdpa)


def load_model(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="suppressed_matmul").eval()


# ---- Naive AtMan ----


@dataclass(frozen=True)
class Perturbation:
    sample: int
    unit: int | None  # None: the base, where nothing is suppressed


@dataclass(frozen=True)
class Way:
    """How the naive forward passes are run."""

    attention: str
    batch: int
    target_logits_only: bool
    padded: bool  # batches may hold several samples, padded at their ends

    def __str__(self):
        return (f"batch {self.batch}, {'target' if self.target_logits_only else 'all'} logits, "
                f"{self.attention.removeprefix('suppressed_')}{', padded' if self.padded else ''}")


class Naive:
    """A model, samples, and the perturbations of all samples, base included."""

    def __init__(self, model, samples, suppression, factor):
        self.model = model
        self.samples = samples
        self.suppression = suppression
        self.factor = factor
        self.perturbations = [Perturbation(sample, unit) for sample, explained in enumerate(samples)
                              for unit in (None, *range(len(explained.units)))]

    def num_tokens(self, perturbation):
        return len(self.samples[perturbation.sample].ids) - 1  # no scored row sees the last token's key

    def batches(self, way, perturbations=None):
        perturbations = perturbations or self.perturbations
        if way.padded:
            groups = [sorted(perturbations, key=self.num_tokens, reverse=True)]
        else:
            groups = [[p for p in perturbations if p.sample == sample] for sample in range(len(self.samples))]
        return [group[i:i + way.batch] for group in groups for i in range(0, len(group), way.batch)]

    def num_rows(self, batches):
        """Padding included."""
        return sum(len(batch) * max(map(self.num_tokens, batch)) for batch in batches)

    def run(self, way, batches):
        """{perturbation: log-probabilities [targets]}"""
        self.model.set_attn_implementation(way.attention)
        return {perturbation: values for batch in batches for perturbation, values in self.forward(way, batch)}

    def some_batches(self, way, num_perturbations):
        """Batches with at least so many perturbations."""
        return spread_with(self.batches(way), num_perturbations, size=len)

    def timed(self, way, batches):
        """Seconds, scaled to all perturbations, and what run() gives."""
        start = time.monotonic()
        values = self.run(way, batches)
        seconds = time.monotonic() - start
        return seconds * self.num_rows(self.batches(way)) / self.num_rows(batches), values

    @torch.inference_mode()
    def forward(self, way, batch):
        samples = [self.samples[perturbation.sample] for perturbation in batch]
        ids = torch.zeros(len(batch), max(map(self.num_tokens, batch)), dtype=torch.int64)  # [batch, rows]
        factors = torch.ones(len(batch), 1, 1, ids.shape[1], dtype=self.model.dtype)
        for i, (perturbation, sample) in enumerate(zip(batch, samples)):
            ids[i, :len(sample.ids) - 1] = torch.from_numpy(sample.ids[:-1].astype(np.int64))
            if perturbation.unit is not None:
                unit = sample.units[perturbation.unit]
                factors[i, 0, 0, unit[unit < len(sample.ids) - 1]] = self.factor

        rows = [torch.from_numpy(sample.target_positions.astype(np.int64)) - 1 for sample in samples]
        kept = torch.cat(rows).unique() if way.target_logits_only else torch.arange(ids.shape[1])
        keywords = {"logits_to_keep": kept} if way.target_logits_only else {}
        logits = self.model(ids, use_cache=False, suppression=make_suppression(self.suppression, factors),
                            **keywords).logits
        return [(perturbation, self.target_log_probs(logits[i, torch.searchsorted(kept, rows[i])], samples[i]))
                for i, perturbation in enumerate(batch)]

    @staticmethod
    def target_log_probs(logits, sample):
        targets = torch.from_numpy(sample.ids[sample.target_positions].astype(np.int64))
        return logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].double().numpy()


def trial(naive, ways):
    """The fastest of the ways, on a few perturbations."""
    def seconds(way):
        return naive.timed(way, naive.some_batches(way, max(way.batch, FEWEST_TRIAL_PERTURBATIONS)))[0]

    return min(ways, key=seconds)


def naive_ways(naive, batch_sizes):
    """{name: way}: as published, at its best, and at its best with less to compute."""
    is_log_additive = naive.suppression == "log_additive"
    attentions = ["suppressed_matmul"] + ["suppressed_sdpa"] * is_log_additive
    # Padding at the end is a future key, which shifted_full's minimum sees.
    paddings = [False] + [True] * (len(naive.samples) > 1 and naive.suppression != "shifted_full")
    first = Way(attentions[0], 1, target_logits_only=False, padded=False)
    naive.run(first, naive.some_batches(first, 1))  # warm-up

    published = trial(naive, [replace(first, attention=attention) for attention in attentions])
    batched = trial(naive, [replace(first, attention=attention, batch=min(4, max(batch_sizes)))
                            for attention in attentions])
    ways = [replace(batched, batch=batch, padded=padded) for batch in sorted({1, *batch_sizes})
            for padded in paddings if batch > 1 or not padded]
    found = {"naive, as published": published, "naive, best batch": trial(naive, ways)}
    if "logits_to_keep" in inspect.signature(naive.model.forward).parameters:
        found["naive, best batch, target logits"] = trial(
            naive, [replace(way, target_logits_only=True) for way in ways])
    return found


def naive_contender(name, way, naive, num_perturbations, load_s, reference):
    num_all = len(naive.perturbations)
    batches = naive.some_batches(way, num_perturbations or num_all)
    num_run = sum(map(len, batches))

    def run():
        seconds, values = naive.timed(way, batches)
        worst = max((np.abs(values[p] - reference[p]).max() for p in values.keys() & reference.keys()), default=0.0)
        if not worst <= NAIVE_TOLERANCE:
            raise SystemExit(f"naive runs must give the same values: {name} ({way}) differs by {worst}")
        return Timing(seconds, load_s + seconds)

    scaled = f"; {num_run} of {num_all} forward passes run, scaled" if num_run < num_all else ""
    return Contender(name, run, f"{way}{scaled}")


# ---- Captum ----


@dataclass
class CaptumInput:
    input: "TextTokenInput"
    target: torch.Tensor  # [targets]
    feature_mask: torch.Tensor  # [1, tokens of the prompt]
    num_forwards: int  # the base and one for each feature
    num_tokens: int


CAPTUM_WAYS = {
    "its defaults: token by token, cached outputs": {},
    "token by token, not cached": {"use_cached_outputs": False},
    "in one sequence": {"forward_in_tokens": False},
    "in one sequence, 4 perturbations a pass": {"forward_in_tokens": False, "perturbations_per_eval": 4},
}


class Captum:
    """The samples as Captum's inputs; at least `num_units` of their units, 0: all."""

    def __init__(self, model, folder, samples, num_units):
        from captum.attr import FeatureAblation, LLMAttribution

        model.set_attn_implementation("sdpa")
        self.model = model
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.attribution = LLMAttribution(FeatureAblation(model), self.tokenizer)
        some = spread_with(samples, num_units or math.inf, size=lambda sample: len(sample.units))
        self.inputs = [self.make_input(sample, num_units if len(samples) == 1 else 0) for sample in some]
        # A forward pass costs about as much as it has tokens.
        self.scale = (sum((1 + len(s.units)) * len(s.ids) for s in samples) /
                      sum(i.num_forwards * i.num_tokens for i in self.inputs))
        self.num_run = sum(i.num_forwards for i in self.inputs)
        self.num_all = sum(1 + len(s.units) for s in samples)

    def make_input(self, sample, num_units):
        from captum.attr import TextTokenInput

        prompt = sample.ids[:sample.target_positions[0]].tolist()
        text_input = TextTokenInput(self.tokenizer.decode(prompt, skip_special_tokens=True), self.tokenizer)
        if text_input.inp_tensor[0].tolist() != prompt:
            raise SystemExit("Captum must see the token ids that the others see; take another prompt")
        # What is in no unit is a feature, too, for Captum knows no tokens without one. The scale takes it out.
        units = spread(sample.units, min(num_units or len(sample.units), len(sample.units)))
        feature_mask = torch.full((1, len(prompt)), len(units))
        for feature, unit in enumerate(units):
            feature_mask[0, unit] = feature
        return CaptumInput(text_input, torch.from_numpy(sample.ids[sample.target_positions].astype(np.int64)),
                           feature_mask, 1 + len(feature_mask.unique()), len(sample.ids))

    @torch.inference_mode()
    def attribute(self, some, way):
        return self.attribution.attribute(some.input, target=some.target, feature_mask=some.feature_mask,
                                          **way).token_attr

    def timed(self, way):
        self.model.set_attn_implementation("sdpa")
        start = time.monotonic()
        for some in self.inputs:
            self.attribute(some, way)
        return (time.monotonic() - start) * self.scale

    def trial_input(self):
        """The first input, cut to a few features."""
        first = self.inputs[0]
        return replace(first, feature_mask=first.feature_mask.clamp(max=FEWEST_TRIAL_PERTURBATIONS - 1))

    def trials(self):
        """{name: (seconds, attributions)} of the ways that work, {name: why} of the others."""
        some, worked, failed = self.trial_input(), {}, {}
        self.model.set_attn_implementation("sdpa")
        self.attribute(some, {"forward_in_tokens": False})  # warm-up
        for name, way in CAPTUM_WAYS.items():
            start = time.monotonic()
            try:
                values = self.attribute(some, way)
                worked[name] = (time.monotonic() - start, values)
            except Exception as error:  # what a way of another library raises is its own affair
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return worked, failed


def captum_contenders(captum, load_s):
    worked, failed = captum.trials()
    for name, why in failed.items():
        print(f"captum, {name}: does not work with this version: {why}")
    fastest = min(worked, key=lambda name: worked[name][0])
    exact = worked["in one sequence"][1]

    def contender(title, name):
        def run():
            seconds = captum.timed(CAPTUM_WAYS[name])
            return Timing(seconds, load_s + seconds)

        note = name
        off = float((worked[name][1] - exact).abs().max())
        if off > 1e-3:
            note += f"; its values differ by {off:.2g} from those in one sequence"
        if captum.num_run != captum.num_all:
            note += f"; {captum.num_run} forward passes run, scaled to {captum.num_all}"
        return Contender(title, run, note)

    documented = next(iter(CAPTUM_WAYS))
    named = {"captum, as documented": documented} if documented in worked else {}
    return [contender(title, name) for title, name in {**named, "captum, fastest": fastest}.items()]


# ---- What is compared ----


def checked_perturbations(naive, num_units):
    """Perturbations, spread evenly, and the bases that they belong to."""
    units = [perturbation for perturbation in naive.perturbations if perturbation.unit is not None]
    units = spread(units, min(num_units or len(units), len(units)))
    return [Perturbation(sample, None) for sample in sorted({p.sample for p in units})] + units


def naive_deltas(values):
    """{perturbation: delta [targets]}"""
    return {p: values[Perturbation(p.sample, None)] - log_probs for p, log_probs in values.items()
            if p.unit is not None}


def limn_deltas(samples, perturbations):
    return {p: samples[p.sample].delta[p.unit].astype(np.float64) for p in perturbations}


def accuracy(deltas, truth):
    ours, theirs = (np.concatenate([of[p] for p in truth]) for of in (deltas, truth))
    off = np.abs(ours - theirs)
    return {"values": off.size, "largest_delta": float(f"{np.abs(theirs).max():.4g}"),
            "largest": float(f"{off.max():.3g}"), "rms": float(f"{np.sqrt(np.mean(off ** 2)):.3g}"),
            "rms_share": float(f"{np.sqrt(np.mean(off ** 2) / np.mean(theirs ** 2)):.3g}"),
            "spearman": round(spearman(ours, theirs), 6)}


def float64_values(arguments, naive, way):
    model = load_model(arguments.model, torch.float64)
    exact = Naive(model, naive.samples, naive.suppression, naive.factor)
    with Float64Mode():
        return exact.run(way, exact.batches(way, checked_perturbations(naive, arguments.naive_units)))


def compare_values(arguments, explained, values, exact_values):
    """{compute: accuracy}; ends the bench where float32 is wrong."""
    truth = naive_deltas(values)
    found = {f"limn {compute}, to naive float32": accuracy(limn_deltas(samples, truth), truth)
             for compute, samples in explained.items()}
    if exact_values:
        exact = naive_deltas(exact_values)
        found["naive float32, to naive float64"] = accuracy(naive_deltas(values), exact)
        for compute, samples in explained.items():
            found[f"limn {compute}, to naive float64"] = accuracy(limn_deltas(samples, exact), exact)
    for compute in explained:
        against = found[f"limn {compute}, to naive float32"]
        share = against["largest"] / against["largest_delta"]
        if compute != "float32":
            against["within_tolerance"] = share <= arguments.reduced_tolerance
            continue
        against["within_tolerance"] = (share <= FLOAT32_RELATIVE_TOLERANCE or against["largest"] <= FLOAT32_TOLERANCE
                                       or (exact_values is not None and is_as_exact(found)))
        if not against["within_tolerance"]:
            raise SystemExit(f"limn's deltas must be the naive ones before their speed is compared: {found}")
    return found


def is_as_exact(found):
    """Whether limn's float32 is about as near to float64 as naive float32 is."""
    ours, theirs = (found[f"{who} float32, to naive float64"] for who in ("limn", "naive"))
    return all(ours[measure] <= FLOAT32_RATIO * theirs[measure] for measure in ("largest", "rms"))


# ---- Timing ----


def measure(contenders, repeat):
    """{name: [Timing]}, in turns; every other round backwards, so that no one always comes first."""
    timings = {contender.name: [] for contender in contenders}
    for i in range(repeat):
        for contender in contenders if i % 2 == 0 else reversed(contenders):
            timing = contender.run()
            print(f"round {i + 1}: {contender.name}: {timing.compute_s:.3f} s", file=sys.stderr, flush=True)
            timings[contender.name].append(timing)
    return timings


def median_and_range(values):
    return {"median": float(f"{statistics.median(values):.4g}"), "lowest": float(f"{min(values):.4g}"),
            "highest": float(f"{max(values):.4g}")}


def summarize(contenders, timings, computes, num_perturbations):
    summary = {}
    for contender in contenders:
        times = timings[contender.name]
        entry = {"compute_s": median_and_range([timing.compute_s for timing in times]),
                 "whole_s": median_and_range([timing.whole_s for timing in times])}
        entry["perturbations_per_s"] = float(f"{num_perturbations / entry['compute_s']['median']:.4g}")
        # Of two runs of the same round.
        entry["to_limn"] = {compute: median_and_range(
            [timing.compute_s / limn.compute_s for timing, limn in zip(times, timings[f"limn {compute}"])])
            for compute in computes}
        summary[contender.name] = {**entry, "note": contender.note}
    return summary


def print_table(summary, computes):
    def told(values):
        return f"{values['median']:g} ({values['lowest']:g} to {values['highest']:g})"

    lines = [["", "computation, s", "whole, s", "perturbations/s", *(f"x limn {compute}" for compute in computes), ""]]
    for name, entry in summary.items():
        lines.append([name, told(entry["compute_s"]), f"{entry['whole_s']['median']:g}",
                      f"{entry['perturbations_per_s']:g}",
                      *(told(entry["to_limn"][compute]) for compute in computes), entry["note"]])
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("squad_file", metavar="squad", type=pathlib.Path)
    workload = parser.add_mutually_exclusive_group(required=True)
    workload.add_argument("--tokens", type=int)
    workload.add_argument("--squad", type=int)
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--units", type=int, default=0, help="with --tokens; 0: every token")
    parser.add_argument("--suppression", choices=SUPPRESSIONS, default="log_additive")
    parser.add_argument("--factor", type=float, default=0.0)
    parser.add_argument("--compute", nargs="+", default=["float32"], help="limn's model.compute")
    parser.add_argument("--threads", type=int, default=2, help="of each side; limn's ranks share them")
    parser.add_argument("--ranks", type=int, default=1, help="limn's")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8, 16], help="that naive tries")
    parser.add_argument("--naive-units", type=int, default=0, help="0: all")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--reduced-tolerance", type=float, default=1e-3, help="share of the largest delta")
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--no-captum", action="store_true")
    parser.add_argument("--limn", default="build/release/limn")
    parser.add_argument("--limn-flags", default="", help='such as "--parallel.batch_tokens 4096"')
    return parser.parse_args()


def workload_facts(arguments, naive):
    samples = naive.samples
    return {**facts_of_this_run(), "torch": torch.__version__,
            "transformers": transformers.__version__,
            "model": arguments.model.name, "threads": arguments.threads, "ranks": arguments.ranks,
            "suppression": arguments.suppression, "factor": arguments.factor, "samples": len(samples),
            "units": sum(len(sample.units) for sample in samples),
            "tokens": sum(len(sample.ids) for sample in samples),
            "targets": sum(len(sample.target_positions) for sample in samples), "repeat": arguments.repeat,
            "load_average_before": os.getloadavg()[0]}


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        dataset = pathlib.Path(folder, "dataset.jsonl")
        write_records(dataset, make_records(arguments))
        outputs = (pathlib.Path(folder, f"run-{i}") for i in range(sys.maxsize))

        def limn_contender(compute):
            return Contender(f"limn {compute}", lambda: timed_limn(arguments, compute, dataset, next(outputs)),
                             arguments.limn_flags)

        def explain(compute):
            output = next(outputs)
            timed_limn(arguments, compute, dataset, output)  # warm-up, too
            return read_explained(output)

        explained = {compute: explain(compute) for compute in arguments.compute}
        start = time.monotonic()
        naive = Naive(load_model(arguments.model), explained[arguments.compute[0]], arguments.suppression,
                      arguments.factor)
        load_s = time.monotonic() - start
        facts = workload_facts(arguments, naive)
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)

        ways = naive_ways(naive, arguments.batches)
        best = list(ways.values())[-1]
        values = naive.run(best, naive.batches(best, checked_perturbations(naive, arguments.naive_units)))
        exact_values = float64_values(arguments, naive, best) if arguments.float64 else None
        accuracies = compare_values(arguments, explained, values, exact_values)
        for name, against in accuracies.items():
            print(f"{name}: {', '.join(f'{key} {value}' for key, value in against.items())}", flush=True)

        contenders = [limn_contender(compute) for compute in arguments.compute]
        contenders += [naive_contender(name, way, naive, arguments.naive_units, load_s, values)
                       for name, way in ways.items()]
        if not arguments.no_captum:
            captum = Captum(naive.model, arguments.model, naive.samples, arguments.naive_units)
            contenders += captum_contenders(captum, load_s)
        timings = measure(contenders, arguments.repeat)

    summary = summarize(contenders, timings, arguments.compute, facts["units"])
    print_table(summary, arguments.compute)
    print(json.dumps({**facts, "accuracy": accuracies, "contenders": summary}))
    return 0 if all(against.get("within_tolerance", True) for against in accuracies.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
