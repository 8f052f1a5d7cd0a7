"""Compares limn with transformers: a whole model, real prompts, two tensor-parallel ranks.

    compare_transformers.py MODEL SQUAD [--prompts N] [--deltas N] [--ranks T] [--dtype D] [--limn COMMAND]

MODEL is a Hugging Face folder, SQUAD a file in SQuAD v1.1's JSON. N questions, spread evenly over the
file, become prompts "Context: ...\\nQuestion: ...\\nAnswer:" with their first answer as the target.

    base    log-probabilities of the target tokens of all prompts (--prompts, 50)
    deltas  those of every sentence of the first prompts (--deltas, none). transformers gets them from
            its attention mask: log_additive with the factor 0 is a mask that hides the unit's keys.

transformers computes in float32, with eager attention and one thread; so does limn, on T ranks of one
thread. The prompts' token ids must be those of `tokenizers`. Prints one JSON line with the largest and
the root mean square difference in nats; exits with 1 when ids differ or a base value by more than
--tolerance (1e-3). `--limn "python3 tests/bench/rank_memory.py FILE build/release/limn"` measures
memory on the way. Needs torch, transformers, h5py and mpirun.
"""

import argparse
import json
import math
import pathlib
import sys
import tempfile
import time

import numpy as np
import torch
from limn_run import facts_of_this_run, read_explained, run_limn
from prompts import make_record, read_questions, write_records
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM


# ---- transformers ----


def hiding_mask(num_tokens, hidden):
    """[1, 1, query, key]: 0 where a row sees a key, -inf where it does not."""
    mask = torch.full((num_tokens, num_tokens), -math.inf).triu(1)
    mask[:, hidden[hidden < num_tokens]] = -math.inf
    # A row without any key would be NaN. Its own key is hidden then, so that no other row sees what it
    # becomes: it may as well see itself.
    rows = torch.arange(num_tokens)
    blind = rows[mask.isneginf().all(dim=1)]
    mask[blind, blind] = 0.0
    return mask[None, None]


@torch.inference_mode()
def target_log_probs(model, sample, hidden=None):
    """[targets], with the keys at the positions `hidden` masked."""
    ids = torch.from_numpy(sample.ids[:-1].astype(np.int64))
    positions = torch.from_numpy(sample.target_positions.astype(np.int64))
    mask = None
    if hidden is not None:
        hidden = torch.from_numpy(hidden.astype(np.int64))
        mask = hiding_mask(len(ids), hidden)
        if set(range(int(positions[0]))) <= set(hidden.tolist()):
            raise SystemExit("a unit must leave a token of the prompt in view")
    logits = model(ids[None], attention_mask=mask, use_cache=False).logits[0, positions - 1]
    targets = torch.from_numpy(sample.ids.astype(np.int64))[positions]
    return logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].numpy()


def load_model(folder):
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if getattr(model.config, "sliding_window", None):
        raise SystemExit(f"{folder}: the attention mask replaces a sliding window; take a model without one")
    return model.eval()


# ---- The comparison ----


def num_differing_ids(tokenizer, records, samples):
    # The target begins with white space, the prompt does not end with it: they are encoded as one text.
    return sum(tokenizer.encode(record["prompt"] + record["target"]).ids != sample.ids.tolist()
               for record, sample in zip(records, samples, strict=True))


def differences(pairs):
    difference = np.concatenate([np.ravel(ours - theirs) for ours, theirs in pairs]).astype(np.float64)
    return {"values": difference.size, "largest": float(f"{np.abs(difference).max():.3g}"),
            "rms": float(f"{np.sqrt(np.mean(difference ** 2)):.3g}")}


def compare_base(model, samples):
    return differences([(sample.log_prob, target_log_probs(model, sample)) for sample in samples])


def compare_deltas(model, samples):
    pairs = []
    for sample in samples:
        base = target_log_probs(model, sample)
        pairs += [(delta, base - target_log_probs(model, sample, unit))
                  for unit, delta in zip(sample.units, sample.delta, strict=True)]
    return {"units": len(pairs), **differences(pairs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("squad", type=pathlib.Path)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--deltas", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--dtype", default="auto", help="limn's model.dtype")
    parser.add_argument("--limn", default="build/release/limn")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    arguments = parser.parse_args()

    records = [make_record(*question) for question in read_questions(arguments.squad, arguments.prompts)]
    with tempfile.TemporaryDirectory() as folder:
        def explain(name, some, units):
            dataset, output = pathlib.Path(folder, f"{name}.jsonl"), pathlib.Path(folder, name)
            write_records(dataset, some)
            start = time.monotonic()
            run_limn(arguments.limn,
                     {"model": {"path": str(arguments.model), "dtype": arguments.dtype, "compute": "float32"},
                      "data": {"path": str(dataset)}, "explain": {"units": units},
                      "parallel": {"tensor_parallel": arguments.ranks}}, output, ranks=arguments.ranks)
            return time.monotonic() - start, read_explained(output)

        limn_s, base_samples = explain("base", records, "given")
        delta_samples = explain("deltas", records[:arguments.deltas], "sentence")[1] if arguments.deltas else []

    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    model = load_model(arguments.model)
    start = time.monotonic()
    base = compare_base(model, base_samples)
    transformers_s = time.monotonic() - start

    result = {**facts_of_this_run(), "model": arguments.model.name,
              "dtype": arguments.dtype, "ranks": arguments.ranks, "prompts": len(records),
              "tokens": sum(len(sample.ids) for sample in base_samples),
              "ids_differ": num_differing_ids(tokenizer, records, base_samples), "base": base,
              "base_limn_s": round(limn_s, 1), "base_transformers_s": round(transformers_s, 1)}
    if delta_samples:
        result["deltas"] = compare_deltas(model, delta_samples)
    print(json.dumps(result))
    return 1 if result["ids_differ"] or not base["largest"] <= arguments.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
