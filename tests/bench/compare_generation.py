"""Compares the answers that limn lets a model give with those of transformers.

    compare_generation.py MODEL SQUAD [--prompts N] [--max-new-tokens K] [--ranks T] [--limn COMMAND]

MODEL is a Hugging Face folder, SQUAD a file in SQuAD v1.1's JSON. N questions, spread evenly over the file, become prompts
"Context: ...\\nQuestion: ...\\nAnswer:". limn answers them in float32 on T tensor ranks of one thread, transformers one by
one with generate(do_sample=False) in float32. Prints one JSON line; exits with 1 when an answer differs, and says at which
token and how far apart the two best logits are there. Needs torch, transformers, h5py and mpirun.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import torch
from limn_run import facts_of_this_run, read_explained, run_limn
from prompts import make_record, read_questions, write_records
from transformers import AutoModelForCausalLM


@torch.inference_mode()
def answer(model, prompt_ids, max_new_tokens, end_tokens):
    """The new tokens without the end token, unless that is all there is."""
    prompt = torch.tensor([prompt_ids])
    tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=max_new_tokens,
                            pad_token_id=end_tokens[0])[0, len(prompt_ids):].tolist()
    return tokens[:-1] if len(tokens) > 1 and tokens[-1] in end_tokens else tokens


@torch.inference_mode()
def gap_behind(model, ids):
    """Between the two largest logits of the next token."""
    best = model(torch.tensor([ids])).logits[0, -1].topk(2).values
    return float(best[0] - best[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("squad", type=pathlib.Path)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--limn", default="build/release/limn")
    arguments = parser.parse_args()

    records = [make_record(*question) for question in read_questions(arguments.squad, arguments.prompts)]
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "prompts.jsonl")
        write_records(data, records)
        run_limn(arguments.limn,
                 {"model": {"path": str(arguments.model), "dtype": "float32", "compute": "float32"},
                  "data": {"path": str(data)},
                  "explain": {"units": "given", "target": "generate", "max_new_tokens": arguments.max_new_tokens},
                  "parallel": {"tensor_parallel": arguments.ranks}},
                 pathlib.Path(folder, "run"), ranks=arguments.ranks)
        samples = read_explained(pathlib.Path(folder, "run"))

    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="eager").eval()
    end_tokens = model.generation_config.eos_token_id
    end_tokens = end_tokens if isinstance(end_tokens, list) else [end_tokens]
    num_tokens = num_different = 0
    for sample in samples:
        first = int(sample.target_positions[0])
        prompt, got = sample.ids[:first].tolist(), sample.ids[first:].tolist()
        expected = answer(model, prompt, arguments.max_new_tokens, end_tokens)
        num_tokens += len(expected)
        if got == expected:
            continue
        num_different += 1
        at = next((i for i, pair in enumerate(zip(got, expected)) if pair[0] != pair[1]), min(len(got), len(expected)))
        print(f"token {at}: limn {got[at:at + 4]}, transformers {expected[at:at + 4]}, best two logits"
              f" {gap_behind(model, prompt + expected[:at]):.2g} apart", file=sys.stderr)
    print(json.dumps({**facts_of_this_run(), "model": arguments.model.name, "ranks": arguments.ranks,
                      "prompts": len(samples), "tokens": num_tokens, "different": num_different}))
    return 1 if num_different else 0


if __name__ == "__main__":
    sys.exit(main())
