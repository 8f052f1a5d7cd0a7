#!/usr/bin/env python3
"""Compares the speed of limn's encoder with Python's `tokenizers`, on the same text, in turns.

    encode_speed.py PROGRAM TEXTS FOLDER ... [--megabytes N] [--threads T] [--rounds R]

PROGRAM is build/release/tests/encode_bench. TEXTS is a SQuAD-like JSON file, whose paragraphs are repeated, in another
order each time, up to N MB; each FOLDER holds a tokenizer.json. Prints the best of R rounds of each, in MB/s, and limn's
over Python's. Loading, and in Python what makes lists of the tokens, are left out.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))


def paragraphs(path, num_bytes):
    with open(path, encoding="utf-8") as file:
        texts = [paragraph["context"].replace("\n", " ") for article in json.load(file)["data"] for paragraph in article["paragraphs"]]
    rng = random.Random(1)
    result = []
    size = 0
    while size < num_bytes:
        for text in rng.sample(texts, len(texts)):
            result.append(text)
            size += len(text.encode()) + 1
    return result


def time_of_python(tokenizer, lines):
    begin = time.perf_counter()
    num_tokens = 0
    for i in range(0, len(lines), 1000):
        num_tokens += sum(len(encoding) for encoding in tokenizer.encode_batch(lines[i:i + 1000]))
    return time.perf_counter() - begin, num_tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("texts", type=pathlib.Path)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # Read when the package starts its threads.
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    import compare_tokenizers

    lines = paragraphs(arguments.texts, arguments.megabytes * 1_000_000)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.write("".join(line + "\n" for line in lines))
        file.flush()
        megabytes = os.path.getsize(file.name) / 1e6
        for folder in arguments.folders:
            tokenizer = compare_tokenizers.load_json(folder / "tokenizer.json")
            tokenizer.no_truncation()
            tokenizer.no_padding()
            command = [arguments.program, folder, file.name, str(arguments.threads)]
            limn_times, python_times = [], []
            for _ in range(arguments.rounds):
                limn = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                seconds, num_tokens = time_of_python(tokenizer, lines)
                if num_tokens != limn["tokens"]:
                    raise RuntimeError(f"{folder.name}: {num_tokens} tokens in Python, {limn['tokens']} in limn")
                limn_times.append(limn["seconds"])
                python_times.append(seconds)
            limn_speed, python_speed = megabytes / min(limn_times), megabytes / min(python_times)
            print(f"{folder.name}: {megabytes:.0f} MB, {arguments.threads} threads, limn {limn_speed:.1f} MB/s, "
                  f"tokenizers {python_speed:.1f} MB/s, {limn_speed / python_speed:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
